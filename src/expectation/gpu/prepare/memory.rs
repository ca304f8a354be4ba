//! Sizes of what preparing images needs on a device, and the one place where it is allocated.

use num_complex::Complex;

use crate::arena::Frame;
use crate::arena::Place;
use crate::error::Result;
use crate::expectation::gpu::transform;
use crate::expectation::group::Group;
use crate::expectation::task::Task;

use super::particle;

/// Sizes for one optics group in one iteration; they follow from the plan only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Particles of a batch.
    pub particles: usize,
    /// Particles whose images are in work together.
    pub at_once: usize,
    /// Images read for a particle: one, or two with another for the reconstruction.
    pub images: usize,
    /// Most bytes of an image as it is read.
    pub image_bytes: usize,
    pub edge: usize,
    /// Pixels of the products.
    pub pixels: usize,
    has_noise: bool,
    has_detector: bool,
    has_correction: bool,
    has_gamma_offsets: bool,
}

impl Sizes {
    /// For batches of `particles`, of which no more than `at_once` are in work together.
    pub fn new(task: &Task<'_>, group: &Group, particles: usize, at_once: usize, image_bytes: usize) -> Self {
        // Parts of equal length.
        let parts = particles.div_ceil(at_once.max(1)).max(1);
        Self {
            particles,
            at_once: particles.div_ceil(parts),
            images: if task.reconstruct_images { 2 } else { 1 },
            image_bytes,
            edge: group.box_pixels,
            pixels: group.count(),
            has_noise: !task.options.zero_mask,
            has_detector: group.mtf_gain.is_some(),
            has_correction: group.correction.is_some(),
            has_gamma_offsets: group.gamma_offsets.is_some(),
        }
    }

    /// Particles whose images can be in work together in so many bytes; one always can.
    pub fn at_once(task: &Task<'_>, group: &Group, bytes: usize) -> usize {
        let one = Self::new(task, group, 1, 1, 0);
        let pictures = if one.has_noise { 2 } else { 1 } * one.image() * size_of::<f64>();
        let transforms = (one.half() + 2 * one.pixels) * size_of::<Complex<f64>>();
        let each = pictures + transforms + one.pixels * size_of::<f64>();
        let by_call = transform::images_a_call(one.edge);
        // Whole calls of the transforms, whose work area comes first.
        (bytes.saturating_sub(transform::work_bytes(one.edge)) / each / by_call * by_call).max(1)
    }

    /// Pixels of an image.
    pub fn image(&self) -> usize {
        self.edge * self.edge
    }

    /// Coefficients of a half transform.
    pub fn half(&self) -> usize {
        self.edge * (self.edge / 2 + 1)
    }

    /// Shells of an image, 0..=box/2.
    pub fn shells(&self) -> usize {
        self.edge / 2 + 1
    }

    /// Numbers of a particle's results.
    pub fn results(&self) -> usize {
        particle::SHELLS + 2 * self.shells()
    }
}

/// Where everything lies on the device.
#[derive(Clone, Copy)]
pub struct Memory<'f> {
    // Tables, uploaded once.
    pub outside: Place<'f, f64>,
    pub sigmas: Place<'f, f64>,
    pub detector: Place<'f, f64>,
    pub kx: Place<'f, i16>,
    pub ky: Place<'f, i16>,
    pub correction: Place<'f, Complex<f64>>,
    pub gamma_offsets: Place<'f, f64>,
    pub noise_weights: Place<'f, f64>,
    /// Coefficients of a half transform by shell, and where each shell begins; then the same of the products' pixels.
    pub shell_order: Place<'f, u32>,
    pub shell_starts: Place<'f, u32>,
    pub pixel_starts: Place<'f, u32>,
    // Of a batch.
    pub particles: Place<'f, [u64; particle::WORDS]>,
    pub results: Place<'f, f64>,
    /// Images as they were read, those that are not resident.
    pub raw: Place<'f, u8>,
    // Of the particles in work.
    pub pictures: Place<'f, f64>,
    pub noise: Place<'f, f64>,
    pub halves: Place<'f, Complex<f64>>,
    pub masked: Place<'f, Complex<f64>>,
    pub unmasked: Place<'f, Complex<f64>>,
    pub ctfs: Place<'f, f64>,
    pub transform: Place<'f, u8>,
}

/// Allocates everything that [`super::Preparation`] needs.
pub fn memory<'f>(frame: &mut Frame<'f>, sizes: &Sizes) -> Result<Memory<'f>> {
    let (image, half, pixels, shells) = (sizes.image(), sizes.half(), sizes.pixels, sizes.shells());
    let work = sizes.at_once.next_multiple_of(transform::images_a_call(sizes.edge));
    let only_if = |is_needed: bool, len: usize| if is_needed { len } else { 0 };
    Ok(Memory {
        outside: frame.place("mask", image)?,
        sigmas: frame.place("noise spectrum", only_if(sizes.has_noise, shells))?,
        detector: frame.place("detector", only_if(sizes.has_detector, half))?,
        kx: frame.place("kx", pixels)?,
        ky: frame.place("ky", pixels)?,
        correction: frame.place("aberrations", only_if(sizes.has_correction, pixels))?,
        gamma_offsets: frame.place("even aberrations", only_if(sizes.has_gamma_offsets, pixels))?,
        noise_weights: frame.place("noise weights", pixels)?,
        shell_order: frame.place("coefficients by shell", half)?,
        shell_starts: frame.place("shells", shells + 1)?,
        pixel_starts: frame.place("shells of pixels", shells + 1)?,
        particles: frame.place("particles to prepare", sizes.particles)?,
        results: frame.place("prepared results", sizes.particles * sizes.results())?,
        raw: frame.place("images as read", sizes.particles * sizes.images * sizes.image_bytes)?,
        pictures: frame.place("images in work", work * image)?,
        noise: frame.place("noise images", only_if(sizes.has_noise, work * image))?,
        halves: frame.place("transforms", work * half)?,
        masked: frame.place("masked transforms", work * pixels)?,
        unmasked: frame.place("unmasked transforms", work * pixels)?,
        ctfs: frame.place("CTFs", work * pixels)?,
        transform: frame.place("transform work", transform::work_bytes(sizes.edge))?,
    })
}
