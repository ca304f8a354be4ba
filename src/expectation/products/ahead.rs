//! Images are read one batch ahead of the one that is computed: a thread reads, two buffers go to and fro.

use std::collections::VecDeque;
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

use super::half::Next;
use super::shape::ImageBuffers;
use super::shape::Shape;

/// The images of a batch, as they were read.
#[derive(Clone, Copy)]
pub struct Batch<'b> {
    source: &'b dyn ImageSource,
    /// Per particle its image, then the one that replaces it in the reconstruction where there are such.
    bytes: &'b [u8],
    image_bytes: usize,
    images: usize,
}

impl Batch<'_> {
    /// Image `which` of particle `p`, whose name is `image`.
    pub fn decode(&self, p: usize, which: usize, image: ImageName, out: &mut [f32]) {
        let place = (p * self.images + which) * self.image_bytes;
        self.source.decode(image, &self.bytes[place..][..self.image_bytes], out);
    }
}

/// Image that replaces the particle's own in the reconstruction.
pub fn reconstruct_image(dataset: &Dataset, particle: u32) -> ImageName {
    let record = &dataset.particles[particle as usize];
    record.reconstruct_image.unwrap_or(record.image)
}

/// Calls `compute` for the members of every batch and their images, while those of the next batch are read, until it
/// wants to stop. An error of either side ends both.
pub fn each_batch(
    source: &dyn ImageSource,
    dataset: &Dataset,
    shape: &Shape,
    members: &[(usize, u32)],
    buffers: ImageBuffers<'_>,
    mut compute: impl FnMut(&[(usize, u32)], Batch<'_>) -> Result<Next>,
) -> Result<Next> {
    let ImageBuffers { images: both, request } = buffers;
    let (free, filled) = (Queue::new(), Queue::new());
    both.into_iter().for_each(|buffer| free.put(buffer));
    let (image_bytes, images) = (shape.image_bytes, shape.images);
    let read = || {
        let _end = Closing(&filled);
        let mut wanted = Vec::with_capacity(shape.particles * images);
        for batch in members.chunks(shape.particles) {
            let Some(buffer) = free.take() else { return };
            wanted.clear();
            for (_, particle) in batch {
                wanted.push(dataset.particles[*particle as usize].image);
                if images > 1 {
                    wanted.push(reconstruct_image(dataset, *particle));
                }
            }
            filled.put(source.read(&wanted, image_bytes, request, buffer).map(|()| buffer));
        }
    };
    thread::scope(|scope| {
        thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, read).map_err(|cause| {
            Error::new(ExitCode::Memory, "", format!("cannot start a thread: {cause}"), "Raise the limit on threads.")
        })?;
        let _end = Closing(&free);
        for batch in members.chunks(shape.particles) {
            let bytes = filled.take().ok_or_else(|| Error::internal("the reader of images died"))??;
            if compute(batch, Batch { source, bytes, image_bytes, images })? == Next::Stop {
                return Ok(Next::Stop);
            }
            free.put(bytes);
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
