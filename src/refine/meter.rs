//! How many particles of an iteration are done, told to the progress file about once a second.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::error::Result;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;

use super::images::Images;

/// Shortest time between two words.
const PAUSE: Duration = Duration::from_secs(1);

/// Images that count themselves when they are read.
pub struct Metered<'a> {
    images: &'a Images<'a>,
    total: usize,
    count: Mutex<Count>,
}

struct Count {
    progress: ProgressWriter,
    iteration: u32,
    taken: usize,
    told: Instant,
}

impl<'a> Metered<'a> {
    pub fn new(images: &'a Images<'a>, total: usize, progress: ProgressWriter) -> Self {
        let count = Count { progress, iteration: 0, taken: 0, told: Instant::now() };
        Self { images, total, count: Mutex::new(count) }
    }

    /// An iteration begins to read.
    pub fn start(&self, iteration: u32) -> Result<()> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        (count.iteration, count.taken) = (iteration, 0);
        self.tell(&mut count)
    }

    /// Reads the image of a particle.
    pub fn read(&self, particle: u32, out: &mut [f32]) -> Result<()> {
        self.take(1)?;
        self.images.read(particle, out)
    }

    /// What a message calls the image of a particle.
    pub fn name(&self, particle: u32) -> String {
        self.images.name(particle)
    }

    /// Images are about to be read. A batch is read as a whole and then worked on for longer: what was taken before
    /// this call is done.
    fn take(&self, images: usize) -> Result<()> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if count.taken > 0 && count.told.elapsed() >= PAUSE {
            self.tell(&mut count)?;
        }
        count.taken += images;
        Ok(())
    }

    fn tell(&self, count: &mut Count) -> Result<()> {
        count.told = Instant::now();
        count.progress.write(Event::Batch {
            iteration: count.iteration,
            particles_done: count.taken.min(self.total),
            particles_total: self.total,
        })
    }
}
