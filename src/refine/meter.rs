//! How many particles of an iteration are done, told to the progress file about once a second.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::dataset::ImageName;
use crate::error::Result;
use crate::expectation::ImageSource;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;

use super::images::Images;

/// Shortest time between two words.
const PAUSE: Duration = Duration::from_secs(1);

/// Images that count themselves when they are used.
pub struct Metered<'a> {
    images: &'a Images<'a>,
    particles: usize,
    count: Mutex<Count>,
}

struct Count {
    progress: ProgressWriter,
    iteration: u32,
    /// Images of a particle, and those taken so far.
    of_particle: usize,
    taken: usize,
    told: Instant,
    /// What came of the latest word, until somebody asks.
    outcome: Result<()>,
}

impl<'a> Metered<'a> {
    pub fn new(images: &'a Images<'a>, particles: usize, progress: ProgressWriter) -> Self {
        let count = Count { progress, iteration: 0, of_particle: 1, taken: 0, told: Instant::now(), outcome: Ok(()) };
        Self { images, particles, count: Mutex::new(count) }
    }

    /// An iteration begins, which uses so many images of each particle.
    pub fn start(&self, iteration: u32, of_particle: usize) -> Result<()> {
        self.told()?;
        let mut count = self.count();
        (count.iteration, count.of_particle, count.taken) = (iteration, of_particle, 0);
        self.tell(&mut count)
    }

    /// The same images, without counting.
    pub fn uncounted(&self) -> &'a Images<'a> {
        self.images
    }

    /// What a message calls the image of a particle.
    pub fn name(&self, particle: u32) -> String {
        self.images.name(particle)
    }

    /// What came of the latest word.
    pub fn told(&self) -> Result<()> {
        std::mem::replace(&mut self.count().outcome, Ok(()))
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, count: &mut Count) -> Result<()> {
        count.told = Instant::now();
        count.progress.write(Event::Batch {
            iteration: count.iteration,
            particles_done: (count.taken / count.of_particle).min(self.particles),
            particles_total: self.particles,
        })
    }
}

impl ImageSource for Metered<'_> {
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()> {
        self.told()?;
        self.images.read(wanted, stride, request, out)
    }

    /// A batch is decoded as a whole and then worked on for longer: what was taken before this call is done.
    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]) {
        {
            let mut count = self.count();
            if count.taken > 0 && count.told.elapsed() >= PAUSE && count.outcome.is_ok() {
                count.outcome = self.tell(&mut count);
            }
            count.taken += 1;
        }
        self.images.decode(image, place, out);
    }
}
