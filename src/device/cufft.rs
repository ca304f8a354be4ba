//! Transforms by cuFFT, in memory that the caller gives.

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::PoisonError;

use cudarc::cufft::result;
use cudarc::cufft::result::CufftError;
use cudarc::cufft::sys;
use cudarc::cufft::sys::cufftType as Kind;
use cudarc::driver;
use cudarc::driver::sys::CUcontext;
use cudarc::driver::sys::CUstream;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::Fft;

/// Plans of both directions for one edge.
pub struct CuFft {
    context: CUcontext,
    images: usize,
    edge: usize,
    /// One call at a time: both plans work in the same memory.
    plans: Mutex<Plans>,
}

// SAFETY: the context is a handle that any thread may make its own; the plans are behind a mutex.
unsafe impl Send for CuFft {}
// SAFETY: as above.
unsafe impl Sync for CuFft {}

impl CuFft {
    /// Plans for `images` images a call or, where these need more than `work_bytes`, for the largest divisor of them
    /// that fits. None where there is no cuFFT.
    ///
    /// # Errors
    /// cuFFT refuses, or not even one image fits.
    ///
    /// # Safety
    /// The context and the stream live longer than the plans, and so do the bytes at `work`, which nothing else uses.
    pub unsafe fn new(
        context: CUcontext,
        stream: CUstream,
        edge: usize,
        images: usize,
        work: u64,
        work_bytes: usize,
    ) -> Result<Option<Self>> {
        // SAFETY: opens a library of the system and closes it again; nothing of it is called.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        make_current(context)?;
        let most = images.max(1);
        for images in (1..=most).rev().filter(|images| most.is_multiple_of(*images)) {
            let plans = [Plan::new(edge, images, Kind::CUFFT_D2Z)?, Plan::new(edge, images, Kind::CUFFT_Z2D)?];
            if plans.iter().any(|plan| plan.work_bytes > work_bytes) {
                continue;
            }
            for plan in &plans {
                // SAFETY: a plan of this context; stream and memory are the caller's promise.
                unsafe {
                    told("give a stream to", sys::cufftSetStream(plan.handle, stream.cast()).result())?;
                    told("give memory to", sys::cufftSetWorkArea(plan.handle, work as *mut _).result())?;
                }
            }
            let [forward, inverse] = plans;
            return Ok(Some(Self { context, images, edge, plans: Mutex::new(Plans { forward, inverse }) }));
        }
        Err(Error::new(
            ExitCode::Memory,
            "cuFFT",
            format!("a transform of one image of {edge} pixels needs more than the {work_bytes} bytes planned for it"),
            "Please report this; images of a box with small prime factors (2, 3, 5, 7) need less.",
        ))
    }
}

impl Fft for CuFft {
    fn images(&self) -> usize {
        self.images
    }

    fn forward(&self, images: u64, halves: u64) -> Result<()> {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        make_current(self.context)?;
        // SAFETY: the plan is alive; the caller of a driver gives addresses of its region, as to a kernel.
        let done = unsafe { result::exec_d2z(plans.forward.handle, images as *mut _, halves as *mut _) };
        told(&format!("transform images of {} pixels by", self.edge), done)
    }

    fn inverse(&self, halves: u64, images: u64) -> Result<()> {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        make_current(self.context)?;
        // SAFETY: as above.
        let done = unsafe { result::exec_z2d(plans.inverse.handle, halves as *mut _, images as *mut _) };
        told(&format!("transform images of {} pixels back by", self.edge), done)
    }
}

struct Plans {
    forward: Plan,
    inverse: Plan,
}

/// One plan, without memory of its own.
struct Plan {
    handle: sys::cufftHandle,
    work_bytes: usize,
}

impl Plan {
    /// In the present context.
    fn new(edge: usize, images: usize, kind: Kind) -> Result<Self> {
        let mut plan = Self { handle: told("start", result::create())?, work_bytes: 0 };
        let edge = edge as c_int;
        let mut edges = [edge, edge];
        // Without embedding a batch lies densely, one transform behind the other.
        let (dense, ignored) = (null_mut(), 0);
        // SAFETY: a plan that was just made; the edges are read during the call only.
        unsafe {
            told("keep from allocating", sys::cufftSetAutoAllocation(plan.handle, 0).result())?;
            let (rank, batch) = (2, images as c_int);
            told(
                "plan with",
                sys::cufftMakePlanMany(
                    plan.handle,
                    rank,
                    edges.as_mut_ptr(),
                    dense,
                    1,
                    ignored,
                    dense,
                    1,
                    ignored,
                    kind,
                    batch,
                    &raw mut plan.work_bytes,
                )
                .result(),
            )?;
        }
        Ok(plan)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once. There is nothing to be done about a refusal.
        let _ = unsafe { result::destroy(self.handle) };
    }
}

fn make_current(context: CUcontext) -> Result<()> {
    // SAFETY: who made the plans promised that the context lives.
    unsafe { driver::result::ctx::set_current(context) }.map_err(|cause| {
        Error::new(
            ExitCode::Unavailable,
            "cuFFT",
            format!("the device's context cannot be used: {cause}"),
            "Look at the device with nvidia-smi, then resume.",
        )
    })
}

/// An error with what was being done.
fn told<T>(doing: &str, result: std::result::Result<T, CufftError>) -> Result<T> {
    result.map_err(|CufftError(cause)| {
        let fix = "Use a cuFFT of the CUDA version that the driver supports (nvidia-smi names it), then resume.";
        Error::new(ExitCode::Unavailable, "cuFFT", format!("cannot {doing} cuFFT: {cause:?}"), fix)
    })
}
