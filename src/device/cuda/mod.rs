//! A GPU by CUDA's driver. The program starts without a driver too: it is loaded when a GPU is asked for.

mod calls;
mod context;
mod devices;
mod libraries;
mod memory;

use std::collections::HashMap;
use std::ffi::CString;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::Mutex;

use cudarc::driver::sys;
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::sys::CUfunction_attribute as FunctionAttribute;

use crate::error::Error;
use crate::error::Result;

use super::Arch;
use super::CuFft;
use super::Driver;
use super::Fft;
use super::Grid;
use super::Identity;
use super::MARKS;
use super::Mark;
use super::Pinned;
use super::Places;
use super::Precision;
use super::STREAMS;
use super::Stream;
use super::cubin;
use calls::check;
use context::Context;
use memory::Region;

pub use devices::devices;
pub use libraries::libraries;
pub use memory::driver_allocations;

/// `cuLaunchKernel`'s names for what follows in a list.
const BUFFER_POINTER: *mut c_void = std::ptr::without_provenance_mut(1);
const BUFFER_SIZE: *mut c_void = 2 as *mut c_void;
const END: *mut c_void = std::ptr::null_mut();

/// A GPU that is in use.
pub struct Cuda {
    region: Option<Region>,
    loaded: Loaded,
    identity: Identity,
}

/// What the driver holds for a device; released together.
struct Loaded {
    context: Arc<Context>,
    module: sys::CUmodule,
    streams: Vec<sys::CUstream>,
    marks: Vec<sys::CUevent>,
    kernels: Mutex<HashMap<&'static str, Kernel>>,
    /// The most shared memory that a block may have.
    shared_bytes: u32,
}

#[derive(Clone, Copy)]
struct Kernel(sys::CUfunction);

// SAFETY: handles of the driver, which takes calls from any thread; the context is made current before each.
unsafe impl Send for Loaded {}
// SAFETY: as above; what changes here is behind a lock.
unsafe impl Sync for Loaded {}
// SAFETY: as above.
unsafe impl Send for Kernel {}

/// Opens the GPU of that uuid, or the first, with its kernels; and what a user should hear about them.
///
/// # Errors
/// No driver, no such GPU, no kernels for it.
pub fn open(uuid: Option<&str>, precision: Precision) -> Result<(Box<dyn Driver>, Vec<String>)> {
    let (cuda, notes) = Cuda::open(uuid, precision)?;
    Ok((Box::new(cuda), notes))
}

impl Cuda {
    /// As [`open`].
    pub fn open(uuid: Option<&str>, precision: Precision) -> Result<(Self, Vec<String>)> {
        let version = calls::start()?;
        let found = devices::choose(uuid)?;
        let device = devices::handle(found.ordinal)?;
        let arch = Arch::of(found.capability);
        let cubin = Places::usual().find(&arch, precision, version / 1000)?;
        let loaded = Loaded::load(device, &found.uuid, &cubin)?;
        let identity = Identity {
            uuid: found.uuid,
            name: found.name,
            capability: found.capability,
            processors: found.processors,
            memory_bytes: found.memory_bytes,
            kernels: format!("{} by {}", cubin::key(&arch, precision), cubin.compiler),
        };
        let notes = [vec![format!("kernels: {}", cubin.from)], cubin.notes].concat();
        Ok((Self { region: None, loaded, identity }, notes))
    }

    /// The stream, on a thread that may use it.
    fn stream(&self, stream: Stream) -> Result<sys::CUstream> {
        self.loaded.context.enter()?;
        Ok(self.loaded.streams[stream as usize])
    }

    fn event(&self, mark: Mark) -> Result<sys::CUevent> {
        self.loaded.marks.get(mark.0).copied().ok_or_else(|| Error::internal(format!("there is no mark {}", mark.0)))
    }

    /// The addresses are of the region.
    fn within(&self, at: u64, bytes: usize, doing: &str) -> Result<()> {
        if self.region.as_ref().is_some_and(|region| region.holds(at, bytes)) {
            return Ok(());
        }
        Err(Error::internal(format!("{doing}: {bytes} bytes at {at:#x} are not in the device's region")))
    }
}

impl Loaded {
    fn load(device: sys::CUdevice, uuid: &str, cubin: &super::Cubin) -> Result<Self> {
        let mut loaded = Self {
            context: Arc::new(Context::retain(device, uuid)?),
            module: std::ptr::null_mut(),
            streams: Vec::with_capacity(STREAMS),
            marks: Vec::with_capacity(MARKS),
            kernels: Mutex::new(HashMap::new()),
            shared_bytes: devices::attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        };
        // SAFETY: the device is the driver's; what is made here is released by `drop`, also after an error.
        unsafe {
            loaded.context.enter()?;
            let result = sys::cuModuleLoadData(&mut loaded.module, cubin.bytes.as_ptr().cast());
            check(result, || format!("loading kernels ({}, {}) into GPU {uuid}", cubin.from, cubin.compiler))?;
            for _ in 0..STREAMS {
                let mut stream = std::ptr::null_mut();
                let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
                check(sys::cuStreamCreate(&mut stream, flags), || "making a stream".to_string())?;
                loaded.streams.push(stream);
            }
            for _ in 0..MARKS {
                let mut event = std::ptr::null_mut();
                let flags = sys::CUevent_flags::CU_EVENT_DEFAULT as u32;
                check(sys::cuEventCreate(&mut event, flags), || "making an event".to_string())?;
                loaded.marks.push(event);
            }
        }
        Ok(loaded)
    }

    /// The function of a kernel, which may have all shared memory there is.
    fn kernel(&self, name: &'static str) -> Result<sys::CUfunction> {
        let mut kernels = self.kernels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(kernel) = kernels.get(name) {
            return Ok(kernel.0);
        }
        let text = CString::new(name).map_err(|cause| Error::internal(format!("kernel {name}: {cause}")))?;
        let mut function = std::ptr::null_mut();
        let mut own = 0;
        // SAFETY: the module is loaded in the present context; the function is the module's.
        unsafe {
            let found = sys::cuModuleGetFunction(&mut function, self.module, text.as_ptr());
            check(found, || format!("looking for the kernel {name}"))?;
            let of_its_own = FunctionAttribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
            check(sys::cuFuncGetAttribute(&mut own, of_its_own, function), || format!("kernel {name}"))?;
            let dynamic = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let most = self.shared_bytes as i32 - own;
            let set = sys::cuFuncSetAttribute(function, dynamic, most);
            check(set, || format!("giving {most} bytes of shared memory to the kernel {name}"))?;
        }
        kernels.insert(name, Kernel(function));
        Ok(function)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return;
        }
        // SAFETY: each was made by `load` and is released once; nothing can be done about a refusal.
        unsafe {
            for event in self.marks.drain(..) {
                sys::cuEventDestroy_v2(event);
            }
            for stream in self.streams.drain(..) {
                sys::cuStreamSynchronize(stream);
                sys::cuStreamDestroy_v2(stream);
            }
            if !self.module.is_null() {
                sys::cuModuleUnload(self.module);
            }
        }
    }
}

impl Driver for Cuda {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn reserve(&mut self, bytes: usize) -> Result<u64> {
        self.loaded.context.enter()?;
        self.region = None;
        let region = Region::new(&self.loaded.context, bytes, &self.identity.uuid)?;
        let base = region.base();
        self.region = Some(region);
        Ok(base)
    }

    fn free_bytes(&self) -> Result<u64> {
        self.loaded.context.enter()?;
        Ok(memory::free_bytes()? + self.region.as_ref().map_or(0, Region::bytes))
    }

    fn upload(&self, stream: Stream, to: u64, from: &[u8]) -> Result<()> {
        self.within(to, from.len(), "upload")?;
        let stream = self.stream(stream)?;
        // SAFETY: the target is in the region; the caller keeps a pinned source until the stream is done, another one
        // is read before the call returns.
        let result = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len(), stream) };
        check(result, || format!("copying {} bytes to the GPU", from.len()))
    }

    fn download(&self, stream: Stream, from: u64, to: &mut [u8]) -> Result<()> {
        self.within(from, to.len(), "download")?;
        let stream = self.stream(stream)?;
        // SAFETY: the source is in the region; the caller leaves a pinned target alone until the stream is done, another
        // one is written before the call returns.
        let result = unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, to.len(), stream) };
        check(result, || format!("copying {} bytes from the GPU", to.len()))
    }

    fn copy(&self, stream: Stream, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.within(to, bytes, "copy")?;
        self.within(from, bytes, "copy")?;
        let stream = self.stream(stream)?;
        // SAFETY: both are in the region.
        check(unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream) }, || format!("copying {bytes} bytes"))
    }

    fn zero(&self, stream: Stream, at: u64, bytes: usize) -> Result<()> {
        self.within(at, bytes, "zero")?;
        let stream = self.stream(stream)?;
        // SAFETY: in the region.
        check(unsafe { sys::cuMemsetD8Async(at, 0, bytes, stream) }, || format!("clearing {bytes} bytes"))
    }

    fn launch(&self, stream: Stream, kernel: &'static str, grid: Grid, arguments: &[MaybeUninit<u8>]) -> Result<()> {
        let stream = self.stream(stream)?;
        let function = self.loaded.kernel(kernel)?;
        let mut size = arguments.len();
        let mut extra = [BUFFER_POINTER, arguments.as_ptr() as *mut c_void, BUFFER_SIZE, (&raw mut size).cast(), END];
        let ([x, y, z], [tx, ty, tz]) = (grid.blocks, grid.threads);
        // SAFETY: the driver copies the arguments before it returns, and refuses a size that is not the kernel's. What
        // the addresses in them point to is the caller's promise.
        let result = unsafe {
            let none = std::ptr::null_mut();
            sys::cuLaunchKernel(function, x, y, z, tx, ty, tz, grid.shared_bytes, stream, none, extra.as_mut_ptr())
        };
        check(result, || format!("starting the kernel {kernel} as {grid:?} with {size} bytes of arguments"))
    }

    fn mark(&self, stream: Stream, mark: Mark) -> Result<()> {
        let (stream, event) = (self.stream(stream)?, self.event(mark)?);
        // SAFETY: both are this device's.
        check(unsafe { sys::cuEventRecord(event, stream) }, || format!("putting mark {}", mark.0))
    }

    fn wait_for(&self, stream: Stream, mark: Mark) -> Result<()> {
        let (stream, event) = (self.stream(stream)?, self.event(mark)?);
        // SAFETY: both are this device's.
        check(unsafe { sys::cuStreamWaitEvent(stream, event, 0) }, || format!("waiting for mark {}", mark.0))
    }

    fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        self.loaded.context.enter()?;
        let (start, end) = (self.event(from)?, self.event(to)?);
        let mut milliseconds = 0.0f32;
        // SAFETY: both are this device's.
        let result = unsafe { sys::cuEventElapsedTime(&mut milliseconds, start, end) };
        check(result, || format!("the time from mark {} to mark {}", from.0, to.0))?;
        Ok(f64::from(milliseconds) / 1000.0)
    }

    fn finish(&self, stream: Stream) -> Result<()> {
        let handle = self.stream(stream)?;
        // SAFETY: the stream is this device's.
        check(unsafe { sys::cuStreamSynchronize(handle) }, || format!("waiting for the stream {stream:?}"))
    }

    fn fft(&self, edge: usize, images: usize, work: u64, work_bytes: usize) -> Result<Option<Box<dyn Fft + '_>>> {
        self.within(work, work_bytes, "transforms")?;
        let stream = self.stream(Stream::Compute)?;
        // SAFETY: context and stream live as long as this device, and so does what is returned; the caller leaves the
        // memory of the region to it.
        let fft = unsafe { CuFft::new(self.loaded.context.handle(), stream, edge, images, work, work_bytes) }?;
        Ok(fft.map(|fft| Box::new(fft) as Box<dyn Fft>))
    }

    fn pinned(&self, bytes: usize) -> Result<Pinned> {
        self.loaded.context.enter()?;
        memory::pinned(&self.loaded.context, bytes)
    }
}
