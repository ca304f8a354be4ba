//! Memory that the driver gives: one region on the device, and page-locked memory of the host. All of it comes from
//! here, so that it can be counted.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use cudarc::driver::sys;
use cudarc::driver::sys::CUresult;

use crate::error::Result;

use super::super::Pinned;
use super::super::PinnedMemory;
use super::calls::check;
use super::context::Context;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// How often the driver was asked for memory in this process.
pub fn driver_allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

fn allocate(doing: &str, ask: impl FnOnce() -> CUresult) -> Result<()> {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    check(ask(), || match free_bytes() {
        Ok(free) => format!("{doing} ({free} bytes are free on the GPU)"),
        Err(_) => doing.to_string(),
    })
}

/// Free memory of the present device.
pub fn free_bytes() -> Result<u64> {
    let (mut free, mut total) = (0, 0);
    // SAFETY: a context is current.
    check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }, || "asking for free memory".to_string())?;
    Ok(free as u64)
}

/// Memory of the device.
pub struct Region {
    context: Arc<Context>,
    base: u64,
    bytes: u64,
}

impl Region {
    pub fn new(context: &Arc<Context>, bytes: usize, uuid: &str) -> Result<Self> {
        context.enter()?;
        let mut base = 0;
        // The driver refuses to give nothing.
        let size = bytes.max(1);
        // SAFETY: a context is current; `drop` gives it back.
        allocate(&format!("reserving {bytes} bytes on GPU {uuid}"), || unsafe { sys::cuMemAlloc_v2(&mut base, size) })?;
        Ok(Self { context: context.clone(), base, bytes: bytes as u64 })
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn holds(&self, at: u64, bytes: usize) -> bool {
        at >= self.base && at.checked_add(bytes as u64).is_some_and(|end| end <= self.base + self.bytes)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it was allocated in this context and is freed once; the driver waits for work that uses it.
            unsafe { sys::cuMemFree_v2(self.base) };
        }
    }
}

/// Page-locked memory of the host.
struct Locked {
    context: Arc<Context>,
    at: *mut u8,
    bytes: usize,
}

// SAFETY: memory that belongs to this value alone.
unsafe impl Send for Locked {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Locked {}

pub fn pinned(context: &Arc<Context>, bytes: usize) -> Result<Pinned> {
    context.enter()?;
    let mut at = std::ptr::null_mut();
    let size = bytes.max(1);
    // SAFETY: the context is current; `drop` gives the memory back.
    allocate(&format!("locking {bytes} bytes of the host's memory"), || unsafe {
        sys::cuMemHostAlloc(&mut at, size, sys::CU_MEMHOSTALLOC_PORTABLE)
    })?;
    let at: *mut u8 = at.cast();
    // SAFETY: just allocated, this long.
    unsafe { std::ptr::write_bytes(at, 0, size) };
    Ok(Pinned::new(Box::new(Locked { context: context.clone(), at, bytes })))
}

impl PinnedMemory for Locked {
    fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised by `pinned`, this long.
        unsafe { std::slice::from_raw_parts(self.at, self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it was allocated in this context and is freed once.
            unsafe { sys::cuMemFreeHost(self.at.cast()) };
        }
    }
}
