//! The device's context, which lives as long as anything that was made in it.

use cudarc::driver::sys;

use crate::error::Result;

use super::super::Absent;
use super::calls::check;
use super::devices::attribute;

pub struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

// SAFETY: a handle that any thread may make its own; the driver guards it.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of the device, the one that libraries use too.
    pub fn retain(device: sys::CUdevice, uuid: &str) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the device is the driver's; `drop` releases it.
        let result = unsafe { sys::cuDevicePrimaryCtxRetain(&mut handle, device) };
        if result != sys::CUresult::CUDA_SUCCESS {
            let mode = attribute(device, sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_MODE);
            if let Some(absent) = mode.ok().and_then(|mode| Absent::refusal(result as u32, mode, uuid)) {
                return Err(absent.error());
            }
        }
        check(result, || format!("opening GPU {uuid}"))?;
        Ok(Self { device, handle })
    }

    pub fn handle(&self) -> sys::CUcontext {
        self.handle
    }

    /// Makes the device the present thread's.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as this.
        check(unsafe { sys::cuCtxSetCurrent(self.handle) }, || "changing to the GPU".to_string())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, released once; nothing can be done about a refusal.
        unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}
