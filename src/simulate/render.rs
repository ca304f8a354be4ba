//! Images from truth.

use num_complex::Complex;
use rayon::prelude::*;

use crate::error::Result;
use crate::fourier;
use crate::fourier::RealFft2;
use crate::fourier::Scratch;
use crate::imaging::Ctf;
use crate::imaging::PixelList;
use crate::imaging::Projector;
use crate::imaging::ReferenceScale;
use crate::imaging::aberrations;
use crate::imaging::mask;
use crate::imaging::random::Stream;
use crate::imaging::shift;
use crate::model::Volume;

use super::Options;
use super::Truth;
use super::noise::Resolved;

/// Purpose of the noise streams.
const NOISE: u32 = 3;
/// Images whose variance stands for that of all.
const SAMPLE: usize = 100;

/// What all images of one optics group share.
struct Group {
    scale: ReferenceScale,
    gamma_offsets: Option<Vec<f64>>,
    phases: Option<Vec<Complex<f64>>>,
}

/// Working memory of one thread.
struct Work {
    slice: Vec<Complex<f64>>,
    phases: Vec<Complex<f64>>,
    ctf: Vec<f64>,
    half: Vec<Complex<f64>>,
    image: Vec<f64>,
    noise: Vec<f64>,
    scratch: Scratch<f64>,
}

pub(super) struct Renderer<'a> {
    truth: &'a Truth,
    options: &'a Options,
    projector: Projector<f64>,
    pixels: PixelList,
    plan: RealFft2<f64>,
    groups: Vec<Group>,
}

impl<'a> Renderer<'a> {
    pub fn new(map: &Volume, truth: &'a Truth, options: &'a Options) -> Result<Self> {
        let n = map.box_pixels;
        let pixels = PixelList::new(n);
        let groups = truth
            .optics
            .iter()
            .map(|optics| Group {
                scale: ReferenceScale::new(optics, n, map.pixel_size_angstrom),
                gamma_offsets: aberrations::gamma_offsets(optics, &pixels.kx, &pixels.ky),
                phases: aberrations::phase_errors(optics, &pixels.kx, &pixels.ky)
                    .map(|phi| aberrations::phase_factors(&phi)),
            })
            .collect();
        let projector = Projector::new(&map.data, n, options.padding, n);
        Ok(Self { truth, options, projector, pixels, plan: RealFft2::new(n), groups })
    }

    fn work(&self) -> Work {
        let (n, len) = (self.plan.edge(), self.pixels.len());
        let zero = Complex::new(0.0, 0.0);
        Work {
            slice: vec![zero; len],
            phases: vec![zero; len],
            ctf: vec![0.0; len],
            half: vec![zero; self.plan.half_len()],
            image: vec![0.0; n * n],
            noise: vec![0.0; n * n],
            scratch: self.plan.scratch(),
        }
    }

    /// Transform of particle i without noise, on the pixel list, in `work.slice`.
    fn signal(&self, i: usize, work: &mut Work) -> Result<()> {
        let particle = &self.truth.particles[i];
        let optics = &self.truth.optics[particle.optics as usize];
        let group = &self.groups[particle.optics as usize];
        let (kx, ky) = (&self.pixels.kx, &self.pixels.ky);
        let inverse = group.scale.inverse(&particle.euler.matrix());
        self.projector.slice(&inverse, kx, ky, &mut work.slice);
        let [dx, dy] = particle.offset_angstrom.map(|v| -v / optics.pixel_size_angstrom);
        shift::phase_factors(kx, ky, dx, dy, optics.box_pixels, &mut work.phases);
        if optics.ctf_corrected {
            work.ctf.fill(1.0);
        } else {
            let ctf = Ctf::new(optics, &particle.ctf, self.options.ctf)?;
            ctf.fill(kx, ky, group.gamma_offsets.as_deref(), &mut work.ctf);
        }
        let gain = self.truth.gains[particle.micrograph as usize];
        for (i, value) in work.slice.iter_mut().enumerate() {
            let transfer = if optics.ctf_premultiplied { work.ctf[i] * work.ctf[i] } else { work.ctf[i] };
            *value = *value * work.phases[i] * (gain * transfer);
            if let Some(phases) = &group.phases {
                *value *= phases[i];
            }
        }
        Ok(())
    }

    /// Mean variance of noise-free images, from an even sample.
    pub fn signal_variance(&self) -> Result<f64> {
        let len = self.truth.particles.len();
        let count = len.min(SAMPLE);
        let mut work = self.work();
        let mut sum = 0.0;
        for i in 0..count {
            self.signal(i * len / count, &mut work)?;
            let half_plane = &work.slice[..self.pixels.dc()];
            sum += 2.0 * half_plane.iter().map(|f| f.norm_sqr()).sum::<f64>();
        }
        Ok(sum / count as f64)
    }

    /// Images first, first + 1, ... into `images`, everything multiplied by `gain`.
    pub fn render(&self, noise: &Resolved, gain: f64, first: usize, images: &mut [f32]) -> Result<()> {
        let n = self.plan.edge();
        images.par_chunks_exact_mut(n * n).enumerate().try_for_each_init(
            || self.work(),
            |work, (i, image)| {
                self.one(noise, first + i, work)?;
                for (out, (signal, noise)) in image.iter_mut().zip(work.image.iter().zip(&work.noise)) {
                    *out = ((signal + noise) * gain) as f32;
                }
                Ok(())
            },
        )
    }

    fn one(&self, noise: &Resolved, i: usize, work: &mut Work) -> Result<()> {
        self.signal(i, work)?;
        let n = self.plan.edge();
        let width = n / 2 + 1;
        work.half.fill(Complex::new(0.0, 0.0));
        for (i, value) in work.slice.iter().enumerate() {
            work.half[self.pixels.index_in_half(i, n)] = *value;
        }
        for row in 1..n / 2 {
            work.half[(n - row) * width] = work.half[row * width].conj();
        }
        fourier::checkerboard_2d(&mut work.half, n);
        self.plan.inverse(&mut work.half, &mut work.image, &mut work.scratch);

        let particle = &self.truth.particles[i];
        let mut stream = Stream::new(self.options.seed, NOISE, i as u64);
        match noise {
            Resolved::None => work.noise.fill(0.0),
            Resolved::White { sigma } => work.noise.iter_mut().for_each(|v| *v = sigma * stream.gaussian()),
            Resolved::Coloured { .. } => {
                let sigma2 = noise.spectrum(particle.optics, particle.micrograph).expect("coloured noise has spectra");
                let Work { half, noise, scratch, .. } = work;
                mask::noise_image(&self.plan, |s| sigma2[s], &mut stream, half, noise, scratch);
            }
        }
        Ok(())
    }
}
