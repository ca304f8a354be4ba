//! Images are read one batch ahead of the one that is computed: a thread reads, two buffers go to and fro.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use crate::dataset::Dataset;
use crate::dataset::ImageName;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::images::ImageSource;
use crate::formats::mrc::PixelFormat;

use super::half::Next;
use super::shape::ImageBuffers;
use super::shape::Shape;

/// The place of an image that was not read.
const NOT_READ: u32 = u32::MAX;

/// The images of a batch, as they were read.
#[derive(Clone, Copy)]
pub struct Batch<'b> {
    source: &'b dyn ImageSource,
    bytes: &'b [u8],
    /// Per particle the places of its image, then of the one that replaces it in the reconstruction where there are
    /// such.
    places: &'b [u32],
    image_bytes: usize,
    images: usize,
}

impl<'b> Batch<'b> {
    /// Image `which` of particle `p`, whose name is `image`. It was read.
    pub fn decode(&self, p: usize, which: usize, image: ImageName, out: &mut [f32]) {
        let place = self.places[p * self.images + which] as usize * self.image_bytes;
        self.source.decode(image, &self.bytes[place..][..self.image_bytes], out);
    }

    /// Place of image `which` of particle `p`, if it was read.
    pub fn place(&self, p: usize, which: usize) -> Option<usize> {
        let place = self.places[p * self.images + which];
        (place != NOT_READ).then_some(place as usize)
    }

    /// Images of some places, one behind the other, each in as many bytes as the longest takes.
    pub fn bytes(&self, places: Range<usize>) -> &'b [u8] {
        &self.bytes[places.start * self.image_bytes..places.end * self.image_bytes]
    }

    pub fn format(&self, image: ImageName) -> PixelFormat {
        self.source.format(image)
    }
}

/// Image that replaces the particle's own in the reconstruction.
pub fn reconstruct_image(dataset: &Dataset, particle: u32) -> ImageName {
    let record = &dataset.particles[particle as usize];
    record.reconstruct_image.unwrap_or(record.image)
}

/// The particles of an optics group, and where those of the next batch come from.
pub struct Members<'m> {
    /// Place among the task's particles, and index into the data set, in canonical order.
    pub all: &'m [(usize, u32)],
    pub block_particles: usize,
    /// Puts the numbers of the next batch's blocks, at most so many, into an empty list; none: there is no other batch.
    pub next: &'m (dyn Fn(usize, &mut Vec<u32>) -> Result<()> + Sync),
    /// Particles whose own images are where they are needed: they are not read.
    pub has: &'m (dyn Fn(u32) -> bool + Sync),
}

/// A batch: its images, and its particles.
struct Slot<'b> {
    bytes: &'b mut [u8],
    members: Vec<(usize, u32)>,
    places: Vec<u32>,
}

/// Calls `compute` for the members of every batch and their images, while those of the next batch are read, until it
/// wants to stop. An error of either side ends both.
pub fn each_batch(
    source: &dyn ImageSource,
    dataset: &Dataset,
    shape: &Shape,
    group: &Members<'_>,
    buffers: ImageBuffers<'_>,
    mut compute: impl FnMut(&[(usize, u32)], Batch<'_>) -> Result<Next>,
) -> Result<Next> {
    let ImageBuffers { images: both, request } = buffers;
    let (free, filled) = (Queue::new(), Queue::new());
    let (image_bytes, images) = (shape.image_bytes, shape.images);
    both.into_iter().for_each(|bytes| {
        let members = Vec::with_capacity(shape.particles);
        free.put(Slot { bytes, members, places: Vec::with_capacity(shape.particles * images) });
    });
    let most = (shape.particles / group.block_particles).max(1);
    let read = || {
        let _end = Closing(&filled);
        let mut wanted = Vec::with_capacity(shape.particles * images);
        let mut blocks = Vec::with_capacity(most);
        while let Some(Slot { bytes, mut members, mut places }) = free.take() {
            blocks.clear();
            if let Err(error) = (group.next)(most, &mut blocks) {
                filled.put(Err(error));
                return;
            }
            if blocks.is_empty() {
                return;
            }
            members.clear();
            for block in &blocks {
                let from = *block as usize * group.block_particles;
                members.extend_from_slice(&group.all[from..group.all.len().min(from + group.block_particles)]);
            }
            wanted.clear();
            places.clear();
            for (_, particle) in &members {
                if (group.has)(*particle) {
                    places.push(NOT_READ);
                } else {
                    places.push(wanted.len() as u32);
                    wanted.push(dataset.particles[*particle as usize].image);
                }
                if images > 1 {
                    places.push(wanted.len() as u32);
                    wanted.push(reconstruct_image(dataset, *particle));
                }
            }
            filled.put(source.read(&wanted, image_bytes, request, bytes).map(|()| Slot { bytes, members, places }));
        }
    };
    thread::scope(|scope| {
        thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, read).map_err(|cause| {
            Error::new(ExitCode::Memory, "", format!("cannot start a thread: {cause}"), "Raise the limit on threads.")
        })?;
        let _end = Closing(&free);
        // Were the reader to die, the end of the scope would tell.
        while let Some(slot) = filled.take() {
            let slot = slot?;
            let images = Batch { source, bytes: &*slot.bytes, places: &slot.places, image_bytes, images };
            if compute(&slot.members, images)? == Next::Stop {
                return Ok(Next::Stop);
            }
            free.put(slot);
        }
        Ok(Next::GoOn)
    })
}

/// Things on their way from one thread to another; at most two. (The channels of the standard library allocate while
/// they wait.)
struct Queue<T> {
    /// What is there, and whether more may come.
    state: Mutex<(VecDeque<T>, bool)>,
    changed: Condvar,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { state: Mutex::new((VecDeque::with_capacity(2), true)), changed: Condvar::new() }
    }

    fn put(&self, thing: T) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.push_back(thing);
        self.changed.notify_one();
    }

    /// Waits for the next thing; none when the queue was closed.
    fn take(&self) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut (VecDeque<T>, bool)| state.0.is_empty() && state.1;
        self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner).0.pop_front()
    }
}

/// Closes a queue when its user leaves, however that comes: nobody may wait for ever.
struct Closing<'q, T>(&'q Queue<T>);

impl<T> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = false;
        self.0.changed.notify_one();
    }
}
