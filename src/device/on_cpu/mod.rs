//! The kernels on the CPU: a shared library that the system's C++ compiler makes of them and of their twin of CUDA.
//!
//! For tests, and to look for errors in kernels without a GPU. Every call is finished when it returns, unless it is told
//! to be late ([`OnCpu::shuffled`]).

mod build;
mod queue;

use std::ffi::CString;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use libloading::Library;
use libloading::Symbol;
use memmap2::MmapMut;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::Driver;
use super::Fft;
use super::Grid;
use super::Identity;
use super::Mark;
use super::Pinned;
use super::PinnedMemory;
use super::Precision;
use super::STREAMS;
use super::Source;
use super::Stream;
use queue::PinnedRanges;
use queue::Queues;
use queue::Work;

/// What a region holds before anything is written to it; as 32- or 64-bit numbers small, negative and odd.
const UNSPECIFIED: u8 = 0xa5;
/// So many bytes of it at either end of a region; what is between holds zeros.
const UNSPECIFIED_BYTES: usize = 64 << 20;
/// CUDA's limits, held here too so that a launch that works here works there.
const MOST_THREADS: u64 = 1024;
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const MOST_SHARED_BYTES: u32 = 227 << 10;
const MOST_ARGUMENT_BYTES: usize = 4096;

/// Shuffles the order of blocks and threads by a seed; not set or 0: as they are numbered.
const ORDER_VARIABLE: &str = "RELION_RS_KERNEL_ORDER";

/// The struct of that name in `kernels/cuda_on_cpu.h`, as far as it is read here.
#[repr(C)]
struct Kernel {
    _name: *const c_char,
    arguments_size: u64,
}

type Find = unsafe extern "C" fn(*const c_char) -> *const Kernel;
type Start = unsafe extern "C" fn(*const Kernel, *const u32, u64, u64, *const u8);

/// As CUDA aligns memory.
#[derive(Clone, Copy)]
#[repr(C, align(512))]
struct Unit([u8; 512]);

/// The kernels' twin.
pub struct OnCpu {
    find: Find,
    start: Start,
    identity: Identity,
    region: Option<MmapMut>,
    queues: Mutex<Queues>,
    pinned: PinnedRanges,
    /// Seed of the order of blocks and threads.
    order: u64,
    launches: AtomicU64,
}

impl OnCpu {
    /// Compiles the kernels, unless it was done before, and loads them.
    ///
    /// # Errors
    /// There is no C++ compiler, or it refuses.
    pub fn open(precision: Precision) -> Result<Self> {
        Self::open_with(precision, &[])
    }

    /// The same with more kernels: those of tests.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(precision: Precision, more: &[Source]) -> Result<Self> {
        let built = build::library(precision, more)?;
        let refused = |cause: libloading::Error| {
            Error::new(
                ExitCode::Unavailable,
                built.path.display().to_string(),
                format!("the kernels' library cannot be loaded: {cause}{}", super::reason(&cause)),
                "Remove the file and run the same command again; with a sanitizer, load its library first (LD_PRELOAD).",
            )
        };
        // SAFETY: a library that this program had compiled; loading it runs only C++'s start-up and the kernels' lists.
        let library = unsafe { Library::new(&built.path) }.map_err(refused)?;
        // SAFETY: `kernels/cuda_on_cpu.h` defines both with these types.
        let (find, start) = unsafe {
            let find: Symbol<Find> = library.get("on_cpu_find\0").map_err(refused)?;
            let start: Symbol<Start> = library.get("on_cpu_launch\0").map_err(refused)?;
            (*find, *start)
        };
        // Its threads live as long as the process.
        std::mem::forget(library);
        let identity = Identity {
            uuid: "cpu".to_string(),
            name: "the kernels' twin on the CPU".to_string(),
            capability: (0, 0),
            processors: std::thread::available_parallelism().map_or(1, usize::from) as u32,
            memory_bytes: memory("MemTotal:")?,
            kernels: built.identity,
        };
        let queues = Mutex::new(Queues::new([false; STREAMS]));
        let (region, pinned, launches) = (None, PinnedRanges::default(), AtomicU64::new(0));
        Ok(Self { find, start, identity, region, queues, pinned, order: 0, launches }.shuffled(order()?))
    }

    /// Blocks and threads in an order shuffled by this seed, another one every launch; 0: as they are numbered. Each of
    /// its three lowest bits makes a stream do its work as late as can be.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.order = seed;
        self.queues = Mutex::new(Queues::new([0, 1, 2].map(|stream| seed >> stream & 1 == 1)));
        self
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does work of a stream.
    fn run(&self, work: Work) -> Result<()> {
        // SAFETY: all addresses were found to be within the region or within page-locked memory, which outlives its
        // use; only kernels and copies refer to the region, and they may overlap.
        unsafe {
            match work {
                Work::Upload { to, from: queue::Source::Own(bytes) } => {
                    std::ptr::copy(bytes.as_ptr(), to as *mut u8, bytes.len());
                }
                Work::Upload { to, from: queue::Source::Pinned { address, bytes } } => {
                    std::ptr::copy(address as *const u8, to as *mut u8, bytes);
                }
                Work::Download { from, to, bytes } | Work::Copy { to, from, bytes } => {
                    std::ptr::copy(from as *const u8, to as *mut u8, bytes);
                }
                Work::Zero { at, bytes } => std::ptr::write_bytes(at as *mut u8, 0, bytes),
                Work::Launch { kernel, grid, arguments } => return self.run_kernel(kernel, grid, &arguments),
            }
        }
        Ok(())
    }

    fn put(&self, stream: Stream, work: Work) -> Result<()> {
        self.queues().put(stream, work, &|work| self.run(work))
    }

    fn run_kernel(&self, kernel: &'static str, grid: Grid, arguments: &[MaybeUninit<u8>]) -> Result<()> {
        let name = CString::new(kernel).map_err(|cause| Error::internal(format!("kernel {kernel}: {cause}")))?;
        // SAFETY: a string that ends with 0; what comes back is null or lives as long as the library.
        let found = unsafe { (self.find)(name.as_ptr()).as_ref() };
        let found = found.ok_or_else(|| Error::internal(format!("there is no kernel {kernel}")))?;
        if found.arguments_size != arguments.len() as u64 || arguments.len() > MOST_ARGUMENT_BYTES {
            return Err(Error::internal(format!(
                "kernel {kernel} takes {} bytes of arguments and was given {}",
                found.arguments_size,
                arguments.len()
            )));
        }
        let mut aligned = [Unit([0; 512]); MOST_ARGUMENT_BYTES / size_of::<Unit>()];
        let ([x, y, z], [tx, ty, tz]) = (grid.blocks, grid.threads);
        let shape = [x, y, z, tx, ty, tz];
        // SAFETY: the bytes fit as checked. The kernel takes them for the struct it declares, whose size is theirs; what
        // its addresses point to is the caller's promise, as on a GPU.
        unsafe {
            std::ptr::copy_nonoverlapping(
                arguments.as_ptr().cast(),
                aligned.as_mut_ptr().cast::<u8>(),
                arguments.len(),
            );
            (self.start)(
                found,
                shape.as_ptr(),
                u64::from(grid.shared_bytes),
                self.next_order(),
                aligned.as_ptr().cast(),
            );
        }
        Ok(())
    }

    /// The seed of the next launch.
    fn next_order(&self) -> u64 {
        let launch = self.launches.fetch_add(1, Ordering::Relaxed);
        // Apart from each other for neighbouring seeds, and never 0.
        if self.order == 0 { 0 } else { self.order.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(launch).max(1) }
    }

    fn base(&self) -> u64 {
        self.region.as_ref().map_or(0, |region| region.as_ptr() as u64)
    }

    /// The address as a pointer, if the bytes lie in the region.
    fn within(&self, at: u64, bytes: usize, what: &str) -> Result<*mut u8> {
        let end = at.checked_add(bytes as u64);
        let region_end = self.base() + self.region.as_ref().map_or(0, |region| region.len()) as u64;
        if at < self.base() || end.is_none_or(|end| end > region_end) {
            return Err(Error::internal(format!("{what}: {bytes} bytes at {at:#x} are not in the device's region")));
        }
        Ok(at as *mut u8)
    }
}

impl Driver for OnCpu {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn reserve(&mut self, bytes: usize) -> Result<u64> {
        for stream in [Stream::Compute, Stream::Upload, Stream::Download] {
            self.finish(stream)?;
        }
        // Pages cost memory when they are first written to: of a region of GBs little is used.
        self.region = None;
        let mut region = MmapMut::map_anon(bytes.max(1)).map_err(|cause| {
            Error::new(
                ExitCode::Memory,
                "device memory",
                format!("{bytes} bytes cannot be reserved on the CPU: {cause}"),
                "Ask for less, or end other programs.",
            )
        })?;
        let shown = bytes.min(UNSPECIFIED_BYTES);
        region[..shown].fill(UNSPECIFIED);
        region[bytes - shown..bytes].fill(UNSPECIFIED);
        self.region = Some(region);
        Ok(self.base())
    }

    fn free_bytes(&self) -> Result<u64> {
        memory("MemAvailable:")
    }

    fn upload(&self, stream: Stream, to: u64, from: &[u8]) -> Result<()> {
        self.within(to, from.len(), "upload")?;
        let address = from.as_ptr() as u64;
        let is_pinned = self.pinned.holds(address, from.len()) || self.queues().is_prompt(stream);
        let source = if is_pinned {
            queue::Source::Pinned { address, bytes: from.len() }
        } else {
            queue::Source::Own(from.to_vec())
        };
        self.put(stream, Work::Upload { to, from: source })
    }

    fn download(&self, stream: Stream, from: u64, to: &mut [u8]) -> Result<()> {
        self.within(from, to.len(), "download")?;
        let address = to.as_mut_ptr() as u64;
        self.put(stream, Work::Download { from, to: address, bytes: to.len() })?;
        // Into ordinary memory the copy is done when the call returns.
        if self.pinned.holds(address, to.len()) { Ok(()) } else { self.finish(stream) }
    }

    fn copy(&self, stream: Stream, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.within(to, bytes, "copy")?;
        self.within(from, bytes, "copy")?;
        self.put(stream, Work::Copy { to, from, bytes })
    }

    fn zero(&self, stream: Stream, at: u64, bytes: usize) -> Result<()> {
        self.within(at, bytes, "zero")?;
        self.put(stream, Work::Zero { at, bytes })
    }

    fn launch(&self, stream: Stream, kernel: &'static str, grid: Grid, arguments: &[MaybeUninit<u8>]) -> Result<()> {
        check(kernel, &grid)?;
        self.put(stream, Work::Launch { kernel, grid, arguments: arguments.to_vec() })
    }

    fn mark(&self, stream: Stream, mark: Mark) -> Result<()> {
        self.queues().mark(stream, mark, &|work| self.run(work))
    }

    fn wait_for(&self, stream: Stream, mark: Mark) -> Result<()> {
        self.queues().wait_for(stream, mark, &|work| self.run(work))
    }

    fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        self.queues().seconds(from, to)
    }

    fn finish(&self, stream: Stream) -> Result<()> {
        self.queues().finish(stream, &|work| self.run(work))
    }

    fn fft(&self, _: usize, _: usize, _: u64, _: usize) -> Result<Option<Box<dyn Fft + '_>>> {
        Ok(None)
    }

    fn pinned(&self, bytes: usize) -> Result<Pinned> {
        let units = vec![Unit([0; 512]); bytes.div_ceil(size_of::<Unit>())];
        self.pinned.add(units.as_ptr() as u64, bytes);
        Ok(Pinned::new(Box::new(Heap { units, bytes, pinned: self.pinned.clone() })))
    }
}

/// Refuses what a GPU would.
fn check(kernel: &str, grid: &Grid) -> Result<()> {
    let threads: u64 = grid.threads.iter().map(|n| u64::from(*n)).product();
    let fits = grid.blocks.iter().zip(MOST_BLOCKS).all(|(blocks, most)| (1..=most).contains(blocks));
    if fits && (1..=MOST_THREADS).contains(&threads) && grid.threads[2] <= 64 && grid.shared_bytes <= MOST_SHARED_BYTES
    {
        return Ok(());
    }
    Err(Error::internal(format!("kernel {kernel} cannot be launched as {grid:?}")))
}

fn order() -> Result<u64> {
    let Ok(text) = std::env::var(ORDER_VARIABLE) else { return Ok(0) };
    text.parse()
        .map_err(|_| Error::usage(format!("{ORDER_VARIABLE}={text}: not a number"), "Give it a seed, such as 1."))
}

struct Heap {
    units: Vec<Unit>,
    bytes: usize,
    pinned: PinnedRanges,
}

impl Drop for Heap {
    fn drop(&mut self) {
        self.pinned.remove(self.units.as_ptr() as u64);
    }
}

impl PinnedMemory for Heap {
    fn bytes(&self) -> &[u8] {
        // SAFETY: units are bytes without padding, and these are no more than there are.
        unsafe { std::slice::from_raw_parts(self.units.as_ptr().cast(), self.bytes) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.units.as_mut_ptr().cast(), self.bytes) }
    }
}

/// A line of /proc/meminfo, in bytes.
fn memory(key: &str) -> Result<u64> {
    let path = Path::new("/proc/meminfo");
    let text = std::fs::read_to_string(path).map_err(|cause| Error::reading(path, &cause))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| Error::internal(format!("/proc/meminfo has no line {key}")))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;
