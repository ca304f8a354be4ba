//! Transforms of batches of square real images in double precision, in device memory.

use std::sync::Mutex;
use std::sync::PoisonError;

use num_complex::Complex;
use rayon::prelude::*;

use crate::device;
use crate::device::Driver;
use crate::device::Stream;
use crate::error::Result;
use crate::fourier::RealFft2;

/// Images lie one after the other, and so do their half transforms (`fourier` has the layout and the scale). Work is
/// put into [`Stream::Compute`].
pub trait Transform: Send + Sync {
    /// `count` images -> half transforms.
    fn forward(&self, driver: &dyn Driver, images: u64, halves: u64, count: usize) -> Result<()>;
    /// `count` half transforms, whose content is lost, -> images.
    fn inverse(&self, driver: &dyn Driver, halves: u64, images: u64, count: usize) -> Result<()>;
}

/// Bytes on the device that a transform of `images` images of an edge works with, at most.
pub fn work_bytes(edge: usize, images: usize) -> usize {
    WORK_FACTOR * images * edge * (edge / 2 + 1) * size_of::<Complex<f64>>() + WORK_LEAST
}

/// cuFFT asks for a copy of the half transforms for most edges, and for more where an edge has large prime factors.
const WORK_FACTOR: usize = 2;
const WORK_LEAST: usize = 1 << 20;

/// Transforms on the host's threads: for the kernels' twin, and for a device without its library.
pub struct HostTransform {
    plan: RealFft2<f64>,
    /// What comes from the device and goes there.
    buffers: Mutex<(Vec<f64>, Vec<Complex<f64>>)>,
}

impl HostTransform {
    /// For images of an edge.
    pub fn new(edge: usize) -> Self {
        Self { plan: RealFft2::new(edge), buffers: Mutex::default() }
    }

    /// Buffers of at least `count` images.
    fn with_buffers<R>(&self, count: usize, work: impl FnOnce(&mut [f64], &mut [Complex<f64>]) -> R) -> R {
        let (images, halves) = &mut *self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let (image, half) = (self.plan.edge().pow(2), self.plan.half_len());
        images.resize(images.len().max(count * image), 0.0);
        halves.resize(halves.len().max(count * half), Complex::default());
        work(&mut images[..count * image], &mut halves[..count * half])
    }
}

impl Transform for HostTransform {
    fn forward(&self, driver: &dyn Driver, images: u64, halves: u64, count: usize) -> Result<()> {
        let (image, half) = (self.plan.edge().pow(2), self.plan.half_len());
        self.with_buffers(count, |real, complex| {
            device::download(driver, Stream::Compute, images, real)?;
            driver.finish(Stream::Compute)?;
            real.par_chunks_exact(image).zip(complex.par_chunks_exact_mut(half)).for_each_init(
                || self.plan.scratch(),
                |scratch, (image, half)| self.plan.forward(image, half, scratch),
            );
            device::upload(driver, Stream::Compute, halves, complex)?;
            driver.finish(Stream::Compute)
        })
    }

    fn inverse(&self, driver: &dyn Driver, halves: u64, images: u64, count: usize) -> Result<()> {
        let (image, half) = (self.plan.edge().pow(2), self.plan.half_len());
        self.with_buffers(count, |real, complex| {
            device::download(driver, Stream::Compute, halves, complex)?;
            driver.finish(Stream::Compute)?;
            real.par_chunks_exact_mut(image).zip(complex.par_chunks_exact_mut(half)).for_each_init(
                || self.plan.scratch(),
                |scratch, (image, half)| self.plan.inverse(half, image, scratch),
            );
            device::upload(driver, Stream::Compute, images, real)?;
            driver.finish(Stream::Compute)
        })
    }
}
