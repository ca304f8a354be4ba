//! The steps, one kernel or one transform each.

use num_complex::Complex;

use crate::arena::Place;
use crate::device;
use crate::device::Grid;
use crate::device::Stream;
use crate::error::Result;
use crate::expectation::gpu::transform::GainArguments;
use crate::expectation::task::Comparison;
use crate::imaging::ctf;

use super::Part;
use super::Preparation;
use super::Rows;
use super::kernels::CtfArguments;
use super::kernels::DecodeArguments;
use super::kernels::FactorsArguments;
use super::kernels::MaskArguments;
use super::kernels::NoiseArguments;
use super::kernels::PixelsArguments;
use super::kernels::SpectrumArguments;
use super::kernels::WindowArguments;
use super::particle;

/// Threads of a block that treats values one by one.
const THREADS: u32 = 256;

impl Preparation<'_, '_> {
    fn launch<A: Copy>(&self, kernel: &'static str, grid: Grid, arguments: &A) -> Result<()> {
        device::launch(self.driver, Stream::Compute, kernel, grid, arguments)
    }

    /// A grid of `count` values of each particle of a part.
    fn each(part: Part, count: usize) -> Grid {
        let mut grid = Grid::over(count, THREADS);
        grid.blocks[1] = part.count as u32;
        grid
    }

    /// A grid of so many sums of each particle of a part.
    fn sums(part: Part, count: usize) -> Grid {
        Grid { blocks: [count as u32, part.count as u32, 1], threads: [particle::SUM_THREADS, 1, 1], shared_bytes: 0 }
    }

    /// Addresses of the particles and results of a part.
    fn particles_and_results(&self, part: Part) -> (u64, u64) {
        let (particles, results) = (self.memory.particles, self.memory.results);
        let each = self.sizes.results();
        (self.at(particles.part(part.first, part.count)), self.at(results.part(part.first * each, part.count * each)))
    }

    /// All steps for the particles of a part.
    pub(super) fn compute(&self, part: Part, rows: Rows) -> Result<()> {
        let (particles, results) = self.particles_and_results(part);
        let mut grid = Self::sums(part, 1);
        grid.blocks[2] = self.sizes.images as u32;
        let (pixels, result_stride) = (self.sizes.image() as u32, self.sizes.results() as u32);
        self.launch("pixels", grid, &PixelsArguments { particles, results, pixels, result_stride })?;
        // What is reconstructed from first: without a replacement its image serves for the masked one too.
        self.decode(part, self.sizes.images - 1)?;
        self.forward(part)?;
        self.window(part, self.memory.unmasked, particle::UNMASKED_DC)?;
        if self.sizes.images > 1 {
            self.decode(part, 0)?;
        }
        self.mask(part)?;
        self.forward(part)?;
        self.window(part, self.memory.masked, particle::MASKED_DC)?;
        self.spectrum(part)?;
        self.factors(part, rows)
    }

    fn decode(&self, part: Part, which: usize) -> Result<()> {
        let (particles, _) = self.particles_and_results(part);
        let (edge, images) = (self.sizes.edge as u32, self.at(self.memory.pictures));
        let arguments = DecodeArguments { particles, images, edge, which: which as u32 };
        self.launch("decode", Self::each(part, self.sizes.image()), &arguments)
    }

    /// Transforms, corrected for their detector.
    fn forward(&self, part: Part) -> Result<()> {
        let (pictures, halves) = (self.at(self.memory.pictures), self.at(self.memory.halves));
        self.transform.forward(self.driver, pictures, halves, part.count)?;
        if self.memory.detector.is_empty() {
            return Ok(());
        }
        let (gains, coefficients) = (self.at(self.memory.detector), self.sizes.half() as u32);
        let arguments = GainArguments { halves, gains, scale: 1.0, coefficients };
        self.launch("gain", Self::each(part, self.sizes.half()), &arguments)
    }

    fn mask(&self, part: Part) -> Result<()> {
        let pixels = self.sizes.image();
        let arguments = MaskArguments {
            images: self.at(self.memory.pictures),
            noise: self.table(self.memory.noise),
            outside: self.at(self.memory.outside),
            outside_sum: self.group.mask.outside_sum(),
            pixels: pixels as u32,
        };
        if self.memory.noise.is_empty() {
            // A mask without an outside replaces nothing.
            let count = usize::from(self.group.mask.outside_sum() > 0.0);
            return self.launch("mask_with_mean", Self::sums(part, count), &arguments);
        }
        let (particles, _) = self.particles_and_results(part);
        let halves = self.at(self.memory.halves);
        let (sigmas, edge, key) = (self.at(self.memory.sigmas), self.sizes.edge as u32, self.noise_key);
        let noise = NoiseArguments { particles, sigmas, halves, edge, key };
        self.launch("noise", Self::each(part, self.sizes.half()), &noise)?;
        self.transform.inverse(self.driver, halves, self.at(self.memory.noise), part.count)?;
        self.launch("mask_with_noise", Self::each(part, pixels), &arguments)
    }

    fn window(&self, part: Part, out: Place<'_, Complex<f64>>, result: usize) -> Result<()> {
        let (particles, results) = self.particles_and_results(part);
        let arguments = WindowArguments {
            particles,
            halves: self.at(self.memory.halves),
            kx: self.at(self.memory.kx),
            ky: self.at(self.memory.ky),
            correction: self.table(self.memory.correction),
            out: self.at(out),
            results,
            edge: self.sizes.edge as u32,
            pixels: self.sizes.pixels as u32,
            result_stride: self.sizes.results() as u32,
            result: result as u32,
        };
        self.launch("window", Self::each(part, self.sizes.pixels), &arguments)
    }

    /// Power of the masked images per shell.
    fn spectrum(&self, part: Part) -> Result<()> {
        let (_, results) = self.particles_and_results(part);
        let arguments = SpectrumArguments {
            halves: self.at(self.memory.halves),
            values: 0,
            order: self.at(self.memory.shell_order),
            starts: self.at(self.memory.shell_starts),
            results,
            stride: self.sizes.half() as u32,
            result_stride: self.sizes.results() as u32,
            result: particle::SHELLS as u32,
        };
        self.launch("spectrum", Self::sums(part, self.sizes.shells()), &arguments)
    }

    /// CTFs, and the rows with them.
    fn factors(&self, part: Part, rows: Rows) -> Result<()> {
        let (particles, results) = self.particles_and_results(part);
        let optics = &self.task.dataset.optics[self.group.optics];
        let (pixels, result_stride) = (self.sizes.pixels as u32, self.sizes.results() as u32);
        let ctfs = self.at(self.memory.ctfs);
        let arguments = CtfArguments {
            particles,
            kx: self.at(self.memory.kx),
            ky: self.at(self.memory.ky),
            gamma_offsets: self.table(self.memory.gamma_offsets),
            out: ctfs,
            frequency: ctf::frequency_matrix(optics),
            pixels,
            options: self.ctf_flags,
        };
        self.launch("ctf", Self::each(part, self.sizes.pixels), &arguments)?;
        if optics.ctf_premultiplied {
            let arguments = SpectrumArguments {
                halves: 0,
                values: ctfs,
                order: 0,
                starts: self.at(self.memory.pixel_starts),
                results,
                stride: pixels,
                result_stride,
                result: (particle::SHELLS + self.sizes.shells()) as u32,
            };
            self.launch("spectrum", Self::sums(part, self.sizes.shells()), &arguments)?;
        }
        let ([complex, real], from) = (self.row_bytes(rows), part.first as u64);
        let arguments = FactorsArguments {
            particles,
            masked_images: self.at(self.memory.masked),
            unmasked_images: self.at(self.memory.unmasked),
            ctfs,
            noise_weights: self.at(self.memory.noise_weights),
            masked: rows.masked + from * complex,
            unmasked: rows.unmasked + from * complex,
            power: rows.power + from * real,
            weight: rows.weight + from * real,
            results,
            pixels,
            stride: rows.stride as u32,
            result_stride,
            is_premultiplied: u32::from(optics.ctf_premultiplied),
            is_weighed: u32::from(self.task.comparison == Comparison::Likelihood),
        };
        self.launch("factors", Self::sums(part, 1), &arguments)
    }
}
