//! From images as they were read to the rows that the products take, in batches on a device.
//!
//! `expectation::prepare` and `products::load` are the definition, step by step; here a kernel does a step for all
//! particles in work. All of it is in double precision; only the rows have the scalar of the products.

mod kernels;
mod memory;
mod particle;
mod results;
mod steps;
mod tables;
#[cfg(test)]
mod tests;

use crate::arena::Place;
use crate::device;
use crate::device::Driver;
use crate::device::Precision;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::prepare;
use crate::expectation::products::batch::Record;
use crate::expectation::products::load::Limits;
use crate::expectation::task::Task;
use crate::formats::mrc::PixelFormat;
use crate::imaging::Ctf;
use crate::imaging::random;

use super::Transform;

pub use memory::Memory;
pub use memory::Sizes;
pub use memory::memory;

/// An image as it was read, at an address on the device: there when the compute stream comes to it.
#[derive(Clone, Copy)]
pub struct Image {
    pub address: u64,
    pub format: PixelFormat,
}

/// Addresses of the rows of a batch, by particle: what `products::load` makes.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub masked: u64,
    pub unmasked: u64,
    pub power: u64,
    pub weight: u64,
    /// Values from a row to the next: complex ones of `masked` and `unmasked`, real ones of `power` and `weight`. What
    /// lies between the last pixel and the next row becomes zero.
    pub stride: usize,
}

/// Prepares the particles of one optics group, batch after batch.
pub struct Preparation<'p, 'f> {
    driver: &'p dyn Driver,
    precision: Precision,
    transform: &'p dyn Transform,
    base: u64,
    task: &'p Task<'p>,
    group: &'p Group,
    sizes: Sizes,
    memory: Memory<'f>,
    ctf_flags: u32,
    noise_key: [u32; 2],
    /// Of the batch: what the kernels are told, what they found, and what was wrong with a particle's CTF.
    particles: Vec<[u64; particle::WORDS]>,
    results: Vec<f64>,
    known: Vec<Known>,
}

/// What the host knows about a particle of a batch beforehand.
struct Known {
    offset_pixels: [f64; 2],
    group_scale: f64,
    ctf_dc: f64,
    /// Matters only if the image itself is sound.
    error: Option<Error>,
}

/// A stretch of a batch whose images are in work together.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    count: usize,
}

impl<'p, 'f> Preparation<'p, 'f> {
    /// Uploads the tables of the group. `base` is the region's address; `precision` is that of the rows.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        driver: &'p dyn Driver,
        precision: Precision,
        transform: &'p dyn Transform,
        base: u64,
        task: &'p Task<'p>,
        group: &'p Group,
        sizes: Sizes,
        memory: Memory<'f>,
    ) -> Result<Self> {
        tables::upload(driver, base, group, &sizes, &memory)?;
        let optics = &task.dataset.optics[group.optics];
        let options = task.options.ctf.filter(|_| !optics.ctf_corrected);
        Ok(Self {
            driver,
            precision,
            transform,
            base,
            task,
            group,
            sizes,
            memory,
            ctf_flags: particle::ctf_flags(options, optics.ctf_premultiplied),
            noise_key: random::Stream::key(prepare::noise_seed(task), prepare::MASK_NOISE),
            particles: Vec::with_capacity(sizes.particles),
            results: vec![0.0; sizes.particles * sizes.results()],
            known: Vec::with_capacity(sizes.particles),
        })
    }

    /// Tells the device about particles of the data set, whose images come particle by particle, [`Sizes::images`] of
    /// each: a batch.
    ///
    /// # Errors
    /// Those of the device.
    pub fn note(&mut self, particles: impl ExactSizeIterator<Item = u32>, images: &[Image]) -> Result<()> {
        let Sizes { particles: most, images: each, .. } = self.sizes;
        let count = particles.len();
        assert!(count <= most && images.len() == count * each, "a batch of the planned size");
        self.particles.clear();
        self.known.clear();
        for (index, images) in particles.zip(images.chunks_exact(each)) {
            self.introduce(index, images);
        }
        device::upload(self.driver, Stream::Compute, self.at(self.memory.particles), &self.particles)
    }

    /// Starts to prepare the batch. Rows of particles that are set aside are of no use until [`Self::finish`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn start(&mut self, rows: Rows) -> Result<()> {
        assert!(rows.stride >= self.sizes.pixels, "rows hold all pixels");
        let (count, at_once) = (self.known.len(), self.sizes.at_once);
        for first in (0..count).step_by(at_once.max(1)) {
            self.compute(Part { first, count: at_once.min(count - first) }, rows)?;
        }
        Ok(())
    }

    /// Offset of particle `p` of the batch as it was before, in pixels.
    pub fn offset_pixels(&self, p: usize) -> [f64; 2] {
        self.known[p].offset_pixels
    }

    /// Waits for what was started, and fills the records of its particles, in the same order. Rows of those that are
    /// set aside become zero.
    ///
    /// # Errors
    /// Those of the device; an image that spreads too widely; a CTF or a scale that makes no sense.
    pub fn finish(&mut self, rows: Rows, limits: Limits, records: &mut [Record]) -> Result<()> {
        assert_eq!(records.len(), self.known.len(), "records of the batch that was started");
        let count = records.len() * self.sizes.results();
        device::download(self.driver, Stream::Compute, self.at(self.memory.results), &mut self.results[..count])?;
        self.driver.finish(Stream::Compute)?;
        for (p, record) in records.iter_mut().enumerate() {
            self.fill(p, limits, record)?;
            if record.set_aside.is_some() {
                self.clear_rows(p, rows)?;
            }
        }
        Ok(())
    }

    fn at<T>(&self, place: Place<'_, T>) -> u64 {
        self.base + place.offset() as u64
    }

    /// Address of a table that may not be there: null then.
    fn table<T>(&self, place: Place<'_, T>) -> u64 {
        if place.is_empty() { 0 } else { self.at(place) }
    }

    /// Notes what the host knows about a particle.
    fn introduce(&mut self, index: u32, images: &[Image]) {
        let (task, group) = (self.task, self.group);
        let record = &task.dataset.particles[index as usize];
        let start = prepare::start(task, group, index);
        let addressed = [0, images.len() - 1].map(|which| (images[which].address, images[which].format));
        let mut error = None;
        let group_scale = prepare::group_scale(task, record).unwrap_or_else(|cause| {
            error = Some(cause);
            1.0
        });
        let ctf: Option<Ctf> = prepare::ctf_of(task, group, record).unwrap_or_else(|cause| {
            error.get_or_insert(cause);
            None
        });
        let gamma = group.gamma_offsets.as_ref().map_or(0.0, |offsets| offsets[group.window.dc()]);
        let dc = ctf.map_or(1.0, |ctf| ctf.at(0.0, 0.0, gamma));
        let is_squared = ctf.is_some() && task.dataset.optics[group.optics].ctf_premultiplied;
        self.known.push(Known {
            offset_pixels: start.offset_pixels,
            group_scale,
            ctf_dc: if is_squared { dc * dc } else { dc } * group_scale,
            error,
        });
        self.particles.push(particle::words(record, &start, group.box_pixels, addressed, ctf.as_ref(), group_scale));
    }

    /// Bytes of a row of complex values and of one of real ones.
    fn row_bytes(&self, rows: Rows) -> [u64; 2] {
        let scalar = match self.precision {
            Precision::Single => size_of::<f32>(),
            Precision::Double => size_of::<f64>(),
        };
        [2, 1].map(|parts| (parts * rows.stride * scalar) as u64)
    }

    /// No row of a particle that is set aside may hold what is no number.
    fn clear_rows(&self, p: usize, rows: Rows) -> Result<()> {
        let [complex, real] = self.row_bytes(rows);
        for (address, bytes) in
            [(rows.masked, complex), (rows.unmasked, complex), (rows.power, real), (rows.weight, real)]
        {
            self.driver.zero(Stream::Compute, address + p as u64 * bytes, bytes as usize)?;
        }
        Ok(())
    }
}
