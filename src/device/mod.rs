//! A device that runs the kernels of `kernels/`: a GPU, or their twin on the CPU.
//!
//! One region of memory is reserved for the life of a [`Driver`]; where things lie in it is an arena's business
//! ([`crate::arena::Arena::of_device`]), addresses are `base + offset`. Work is put into [`Stream`]s, each in order.
//! A kernel takes one argument, a plain struct; `kernels/README.md` lists them.

#![allow(unsafe_code)]

mod ahead;
mod arch;
#[cfg(test)]
pub mod both;
mod cache;
mod cubin;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod cufft;
mod found;
mod nvrtc;
mod on_cpu;
mod plain;
mod seen;
mod source;

use std::fmt::Debug;
use std::mem::MaybeUninit;

use crate::error::Result;

pub use ahead::Built;
pub use ahead::build;
pub use arch::Arch;
pub use cubin::Cubin;
pub use cubin::Places;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
#[cfg(feature = "cuda")]
pub use cuda::devices;
#[cfg(feature = "cuda")]
pub use cuda::driver_allocations;
#[cfg(feature = "cuda")]
pub use cuda::libraries;
#[cfg(feature = "cuda")]
pub use cuda::open;
#[cfg(feature = "cuda")]
pub use cufft::CuFft;
pub use found::Absent;
pub use found::Found;
pub use found::Library;
#[cfg(not(feature = "cuda"))]
pub use found::devices;
#[cfg(not(feature = "cuda"))]
pub use found::libraries;
#[cfg(not(feature = "cuda"))]
pub use found::open;
pub use nvrtc::Compiled;
pub use nvrtc::Nvrtc;
pub use nvrtc::Usage;
pub use on_cpu::OnCpu;
pub use plain::Plain;
pub use plain::bytes_of;
pub use plain::bytes_of_mut;
pub use plain::download;
pub use plain::launch;
pub use plain::upload;
pub use seen::can_compute;
pub use seen::needed_libraries;
pub use seen::open_seen;
pub use seen::seen;
pub use source::Precision;
pub use source::Source;

/// A queue of work; work of different streams may overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Kernels.
    Compute = 0,
    /// What goes to the device.
    Upload = 1,
    /// What comes back.
    Download = 2,
}

/// Number of streams.
pub const STREAMS: usize = 3;

/// Marks a point of a stream that another one waits for; a device has so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub usize);

/// Marks of a device.
pub const MARKS: usize = 64;

/// How a kernel is spread out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub blocks: [u32; 3],
    pub threads: [u32; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

impl Grid {
    /// One dimension: `count` items, `threads` a block.
    pub fn over(count: usize, threads: u32) -> Self {
        Self { blocks: [count.div_ceil(threads as usize) as u32, 1, 1], threads: [threads, 1, 1], shared_bytes: 0 }
    }

    /// Nothing to do: not launched.
    pub fn is_empty(&self) -> bool {
        self.blocks.contains(&0)
    }
}

/// What a device is, for plans, logs and the numerical identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `GPU-...`, `MIG-...`, or `cpu` for the twin.
    pub uuid: String,
    pub name: String,
    /// Compute capability; 0.0 for the twin.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub processors: u32,
    pub memory_bytes: u64,
    /// Digest of the kernels' sources, and what compiled them.
    pub kernels: String,
}

/// What both kinds of device do. Addresses are the device's.
///
/// # Errors
/// All of them: the device or its driver refused, with the driver's words.
pub trait Driver: Send + Sync {
    fn identity(&self) -> &Identity;
    /// Reserves the region, in place of an earlier one; returns its address. Its content is unspecified.
    fn reserve(&mut self, bytes: usize) -> Result<u64>;
    /// Bytes that could be reserved now.
    fn free_bytes(&self) -> Result<u64>;
    /// Copies to the device; the source must stay as it is until the stream is waited for if it is pinned.
    fn upload(&self, stream: Stream, to: u64, from: &[u8]) -> Result<()>;
    /// Copies from the device; `to` holds it when the stream has been waited for.
    fn download(&self, stream: Stream, from: u64, to: &mut [u8]) -> Result<()>;
    /// Copies within the device.
    fn copy(&self, stream: Stream, to: u64, from: u64, bytes: usize) -> Result<()>;
    fn zero(&self, stream: Stream, at: u64, bytes: usize) -> Result<()>;
    /// Starts a kernel. `arguments`: the bytes of its struct, padding included; [`launch`] takes the struct.
    fn launch(&self, stream: Stream, kernel: &'static str, grid: Grid, arguments: &[MaybeUninit<u8>]) -> Result<()>;
    /// Puts a mark behind what is in the stream.
    fn mark(&self, stream: Stream, mark: Mark) -> Result<()>;
    /// Lets what follows in the stream wait for a mark.
    fn wait_for(&self, stream: Stream, mark: Mark) -> Result<()>;
    /// Seconds between two marks that have passed.
    fn seconds(&self, from: Mark, to: Mark) -> Result<f64>;
    /// Waits here until all work of a stream is done; reports what went wrong in it.
    fn finish(&self, stream: Stream) -> Result<()>;
    /// Transforms of up to `images` images of an edge a call, by a library of the device that works within `work_bytes`
    /// at `work`; none where it has no such library.
    fn fft(&self, edge: usize, images: usize, work: u64, work_bytes: usize) -> Result<Option<Box<dyn Fft + '_>>>;
    /// Host memory that copies need not stage; the device's own until it is dropped.
    fn pinned(&self, bytes: usize) -> Result<Pinned>;
}

/// Transforms of square real images in double precision, on [`Stream::Compute`]. Images lie one after the other, and so
/// do their half transforms: rows of `edge / 2 + 1` coefficients. Neither direction scales.
pub trait Fft: Send + Sync {
    /// Images done by a call; a divisor of those that were asked for.
    fn images(&self) -> usize;
    fn forward(&self, images: u64, halves: u64) -> Result<()>;
    /// What `halves` hold is lost.
    fn inverse(&self, halves: u64, images: u64) -> Result<()>;
}

/// Page-locked host memory, zeroed.
pub struct Pinned {
    memory: Box<dyn PinnedMemory>,
}

/// What a driver gives for [`Pinned`].
pub trait PinnedMemory: Send + Sync {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl Pinned {
    pub fn new(memory: Box<dyn PinnedMemory>) -> Self {
        Self { memory }
    }

    pub fn bytes(&self) -> &[u8] {
        self.memory.bytes()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.bytes_mut()
    }
}

/// What the loader of libraries said.
fn reason(cause: &dyn std::error::Error) -> String {
    cause.source().map(|source| format!(": {source}")).unwrap_or_default()
}

impl Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pinned({} bytes)", self.bytes().len())
    }
}
