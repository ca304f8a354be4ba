//! The region and its frames.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;
use num_complex::Complex;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::record::{Event, Kind, Layout, Record};

/// Every allocation starts on a cache line (and on a vector of AVX-512).
const ALIGNMENT: usize = 64;
/// On a GPU: what its transactions and its libraries ask for.
const DEVICE_ALIGNMENT: usize = 256;

/// Types for which any bytes are a value.
///
/// # Safety
/// No padding, no invalid bit patterns, no drop, alignment at most [`ALIGNMENT`].
pub unsafe trait Plain: Send + Sync + 'static {}

macro_rules! plain {
    ($($t:ty),*) => { $(
        // SAFETY: a plain number or an array of them.
        unsafe impl Plain for $t {}
    )* };
}
plain!(u8, u16, u32, u64, i16, i32, i64, f32, f64, AtomicU32, AtomicU64, AtomicI64);
// SAFETY: two plain numbers, without padding.
unsafe impl<T: Plain> Plain for Complex<T> {}
// SAFETY: an array of plain values is plain.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// The same bytes as values of another type of the same size and alignment.
pub fn recast<T: Plain, U: Plain>(values: &mut [T]) -> &mut [U] {
    const { assert!(size_of::<T>() == size_of::<U>() && align_of::<T>() == align_of::<U>()) };
    // SAFETY: the place, the length and the alignment stay, any bytes are a value of either type, and the borrow
    // of `values` goes on for as long as the result lives.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<U>(), values.len()) }
}

/// A stretch of a frame whose memory this process does not address itself: it lies on a device, or nowhere.
pub struct Place<'f, T> {
    /// Bytes from the start of the region.
    offset: usize,
    len: usize,
    lifetime: PhantomData<&'f ()>,
    values: PhantomData<Values<T>>,
}

/// As little of a `T` as a function that makes one.
type Values<T> = fn() -> T;

impl<T> Clone for Place<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Place<'_, T> {}

impl<T> Place<'_, T> {
    /// Bytes from the start of the region.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Values.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The part `start..start + len`.
    pub fn part(&self, start: usize, len: usize) -> Self {
        assert!(start <= self.len && len <= self.len - start, "a part lies inside the whole");
        Self { offset: self.offset + start * size_of::<T>(), len, lifetime: PhantomData, values: PhantomData }
    }
}

/// What all frames of an arena share.
struct Shared {
    /// Start of the region; null when counting, and for a device.
    base: *mut u8,
    capacity: usize,
    alignment: usize,
    record: Mutex<Record>,
}

// SAFETY: `base` is only used by frames, each of which owns a disjoint stretch of the region.
unsafe impl Send for Shared {}
// SAFETY: as above; the record is behind a mutex.
unsafe impl Sync for Shared {}

/// One region of memory, reserved once.
pub struct Arena {
    shared: Shared,
    /// Keeps the mapping alive; `None` when counting.
    _memory: Option<MmapMut>,
}

impl Arena {
    /// Reserves `bytes` of address space; pages are taken when first touched.
    pub fn reserve(bytes: usize) -> Result<Self> {
        let bytes = bytes.max(ALIGNMENT);
        let mut memory = MmapMut::map_anon(bytes).map_err(|cause| {
            Error::new(
                ExitCode::Memory,
                "",
                format!("cannot reserve {} MiB of memory: {cause}", bytes >> 20),
                "Give the job more memory, or lower --memory so that the plan works in smaller batches.",
            )
        })?;
        let record = Mutex::new(Record::new());
        let shared = Shared { base: memory.as_mut_ptr(), capacity: bytes, alignment: ALIGNMENT, record };
        Ok(Self { shared, _memory: Some(memory) })
    }

    /// An arena without memory: every slice is empty, every size is recorded.
    pub fn counting() -> Self {
        Self::nowhere(Self::UNLIMITED, ALIGNMENT)
    }

    /// Deals out the `capacity` bytes of a region on a device, by [`Frame::place`]; with [`Self::UNLIMITED`] it
    /// counts what a device will need.
    pub fn of_device(capacity: usize) -> Self {
        Self::nowhere(capacity, DEVICE_ALIGNMENT)
    }

    /// More than any region holds.
    pub const UNLIMITED: usize = usize::MAX / 2;

    fn nowhere(capacity: usize, alignment: usize) -> Self {
        let shared = Shared { base: std::ptr::null_mut(), capacity, alignment, record: Mutex::new(Record::new()) };
        Self { shared, _memory: None }
    }

    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Opens the outermost frame.
    pub fn run<R>(&mut self, work: impl for<'f> FnOnce(&mut Frame<'f>) -> R) -> R {
        self.record().restart();
        Frame::open(&self.shared, Kind::Run, 0, self.shared.capacity, work)
    }

    /// Where everything lay in the latest [`Arena::run`].
    pub fn layout(&self) -> Layout {
        self.record().layout.clone()
    }

    /// Takes the events recorded since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.record().events)
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.shared.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A stretch of the region that grows upwards and is given back as a whole.
///
/// `'f` is invariant and belongs to one call of a closure: no slice of the frame can leave it.
pub struct Frame<'f> {
    shared: &'f Shared,
    kind: Kind,
    top: usize,
    end: usize,
    lifetime: PhantomData<fn(&'f ()) -> &'f ()>,
}

impl<'f> Frame<'f> {
    fn open<R>(
        shared: &Shared,
        kind: Kind,
        base: usize,
        end: usize,
        work: impl for<'c> FnOnce(&mut Frame<'c>) -> R,
    ) -> R {
        let record = || shared.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        record().open(kind, base);
        let mut frame = Frame { shared, kind, top: base, end, lifetime: PhantomData };
        let result = work(&mut frame);
        record().close(kind, base, frame.top, end);
        result
    }

    /// `len` values of unspecified content (whatever an earlier frame left).
    ///
    /// Fails when the region is full: the plan was made for other sizes.
    pub fn alloc<T: Plain>(&mut self, name: &'static str, len: usize) -> Result<&'f mut [T]> {
        let place = self.place::<T>(name, len)?;
        if self.shared.base.is_null() {
            return Ok(&mut []);
        }
        // SAFETY: the place lies inside the mapping and above everything handed out before; it is handed
        // out once while this frame lives (the top only grows), and the frame's parents cannot allocate while
        // it lives. T accepts any bytes and the start is aligned.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.shared.base.add(place.offset).cast::<T>(), len) })
    }

    /// Where `len` values of unspecified content will lie, for memory that is not addressed from here.
    ///
    /// Fails when the region is full.
    pub fn place<T: Plain>(&mut self, name: &'static str, len: usize) -> Result<Place<'f, T>> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| self.full(name, usize::MAX))?;
        let start = self.top.next_multiple_of(self.shared.alignment);
        let end = start.checked_add(bytes).filter(|end| *end <= self.end).ok_or_else(|| self.full(name, bytes))?;
        self.top = end;
        self.shared
            .record
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .allocation(self.kind, name, start, bytes);
        Ok(Place { offset: start, len, lifetime: PhantomData, values: PhantomData })
    }

    /// `len` zeros.
    pub fn zeroed<T: Plain>(&mut self, name: &'static str, len: usize) -> Result<&'f mut [T]> {
        let slice = self.alloc::<T>(name, len)?;
        // SAFETY: T accepts any bytes, zeros included.
        unsafe { slice.as_mut_ptr().write_bytes(0, slice.len()) };
        Ok(slice)
    }

    /// Opens a child frame at the top; everything it took is given back when `work` returns.
    pub fn child<R>(&mut self, kind: Kind, work: impl for<'c> FnOnce(&mut Frame<'c>) -> R) -> R {
        Frame::open(self.shared, kind, self.top, self.end, work)
    }

    /// Splits the space above the top into `count` lanes of `bytes` each, for as many threads.
    pub fn lanes<R>(
        &mut self,
        kind: Kind,
        count: usize,
        bytes: usize,
        work: impl for<'c> FnOnce(Vec<Frame<'c>>) -> R,
    ) -> Result<R> {
        let bytes = bytes.next_multiple_of(self.shared.alignment);
        let start = self.top.next_multiple_of(self.shared.alignment);
        let whole = count.checked_mul(bytes).and_then(|b| start.checked_add(b)).filter(|end| *end <= self.end);
        let Some(end) = whole else { return Err(self.full("lanes", count.saturating_mul(bytes))) };
        // The last lane is as long as the others, whatever it takes of that.
        self.shared.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner).reach(end);
        let lanes = (0..count)
            .map(|lane| Frame {
                shared: self.shared,
                kind,
                top: start + lane * bytes,
                end: start + (lane + 1) * bytes,
                lifetime: PhantomData,
            })
            .collect();
        Ok(work(lanes))
    }

    /// Bytes left above the top.
    pub fn free(&self) -> usize {
        self.end - self.top
    }

    fn full(&self, name: &str, bytes: usize) -> Error {
        Error::new(
            ExitCode::Memory,
            "",
            format!(
                "the memory arena is full: `{name}` of the {} frame needs {bytes} bytes, {} of {} are left",
                self.kind.name(),
                self.free(),
                self.shared.capacity
            ),
            "The plan was made for other sizes; please report this with the output of `relion-rs plan`.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_child_gives_back_what_it_took() {
        let mut arena = Arena::reserve(1 << 16).unwrap();
        arena.run(|run| {
            let first = run.child(Kind::Batch, |batch| batch.alloc::<u8>("a", 1000).unwrap().as_ptr() as usize);
            let second = run.child(Kind::Batch, |batch| batch.alloc::<u8>("a", 1000).unwrap().as_ptr() as usize);
            assert_eq!(first, second);
        });
        assert_eq!(arena.layout().peak, 1000);
    }

    #[test]
    fn counting_and_real_layouts_are_equal() {
        let layout = |mut arena: Arena| {
            arena
                .run(|run| {
                    run.alloc::<f64>("volume", 100).unwrap();
                    run.child(Kind::Iteration, |iteration| {
                        iteration.alloc::<u8>("odd", 3).unwrap();
                        iteration.alloc::<f32>("images", 50).unwrap();
                        iteration.lanes(Kind::Tile, 2, 1000, |lanes| {
                            for mut lane in lanes {
                                lane.alloc::<f32>("tile", 200).unwrap();
                            }
                        })
                    })
                })
                .unwrap();
            arena.layout()
        };
        let counted = layout(Arena::counting());
        // Not a byte more is needed, although the last allocation of a lane ends before the lane does.
        assert_eq!(counted, layout(Arena::reserve(counted.peak).unwrap()));
        assert_eq!(counted.peak, 1152 + 2 * 1024);
    }

    #[test]
    fn a_layout_is_of_one_run_and_knows_what_was_held_together() {
        let mut arena = Arena::counting();
        for _ in 0..2 {
            arena
                .run(|run| {
                    run.alloc::<u8>("sums", 100)?;
                    run.alloc::<u8>("sums", 100)?;
                    for _ in 0..3 {
                        run.child(Kind::Tile, |tile| tile.alloc::<u8>("work", 50).map(|_| ()))?;
                    }
                    run.lanes(Kind::Tile, 4, 64, |lanes| {
                        lanes.into_iter().try_for_each(|mut lane| lane.alloc::<u8>("rows", 60).map(|_| ()))
                    })?
                })
                .unwrap();
            let layout = arena.layout();
            assert_eq!(layout.placements.len(), 2 + 3 + 4);
            assert_eq!(layout.placements[3], layout.placements[4], "the same place again");
            assert_eq!(layout.most[&(Kind::Run, "sums")], 200);
            assert_eq!(layout.most[&(Kind::Tile, "work")], 50);
            assert_eq!(layout.most[&(Kind::Tile, "rows")], 240);
        }
    }

    #[test]
    fn layouts_that_differ_say_where() {
        let layout = |bytes: [usize; 2]| {
            let mut arena = Arena::counting();
            arena
                .run(|run| {
                    run.alloc::<u8>("sums", 64)?;
                    run.child(Kind::Tile, |tile| {
                        bytes.iter().filter(|b| **b > 0).try_for_each(|b| tile.alloc::<u8>("work", *b).map(|_| ()))
                    })
                })
                .unwrap();
            arena.layout()
        };
        let plan = layout([50, 0]);
        assert_eq!(layout([50, 0]).difference(&plan), None);
        let longer = layout([51, 0]).difference(&plan).unwrap();
        assert_eq!(
            longer,
            "`work` of the tile frame at 64, 51 bytes instead of `work` of the tile frame at 64, 50 bytes"
        );
        assert!(layout([50, 9]).difference(&plan).unwrap().ends_with("9 bytes instead of nothing"));
    }

    #[test]
    fn integers_become_numbers_in_place() {
        let mut arena = Arena::reserve(1 << 12).unwrap();
        arena.run(|run| {
            let integers = run.zeroed::<[i64; 3]>("sums", 5).unwrap();
            integers[4] = [7, 8, 9];
            for v in integers.iter_mut().flatten() {
                *v = (*v as f64 / 2.0).to_bits() as i64;
            }
            let numbers: &mut [[f64; 3]] = recast(integers);
            assert_eq!((numbers.len(), numbers[3], numbers[4]), (5, [0.0; 3], [3.5, 4.0, 4.5]));
        });
    }

    #[test]
    fn a_full_arena_says_what_did_not_fit() {
        let mut arena = Arena::reserve(4096).unwrap();
        let error = arena.run(|run| run.alloc::<f64>("projector", 1 << 20).map(|_| ()).unwrap_err());
        assert_eq!(error.code, ExitCode::Memory);
        assert!(error.problem.contains("projector"), "{error}");
    }

    proptest! {
        /// Slices never overlap, are aligned, and keep what was written while the frame lives.
        #[test]
        fn slices_are_disjoint(sizes in prop::collection::vec(0_usize..300, 1..20)) {
            let mut arena = Arena::reserve(1 << 16).unwrap();
            arena.run(|run| {
                let mut slices: Vec<&mut [u32]> = Vec::new();
                for &size in &sizes {
                    slices.push(run.alloc::<u32>("x", size).unwrap());
                }
                for (i, slice) in slices.iter_mut().enumerate() {
                    assert_eq!(slice.as_ptr() as usize % ALIGNMENT, 0);
                    slice.fill(i as u32);
                }
                for (i, slice) in slices.iter().enumerate() {
                    assert!(slice.iter().all(|v| *v == i as u32));
                }
            });
        }
    }
}
