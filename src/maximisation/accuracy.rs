//! How well poses can be told apart: the error at which two projections of the reference differ beyond the noise.

use std::f64::consts::PI;

use num_complex::Complex;
use rayon::prelude::*;

use crate::fourier::Real;
use crate::imaging::Geometry;
use crate::imaging::PixelList;
use crate::imaging::ReferenceScale;
use crate::imaging::projector;
use crate::imaging::random::Stream;
use crate::rotation::Euler;

/// -ln 0.01: the squared difference at which a wrong pose has a probability of one per cent.
const DIFFERENCE: f64 = 4.605_170_185_988_091;
/// Steps by which errors grow: (up to, step).
const DEGREES: [(f64, f64); 7] =
    [(0.2, 0.05), (1.0, 0.1), (2.0, 0.2), (5.0, 0.5), (10.0, 1.0), (20.0, 2.0), (30.0, 5.0)];
const PIXELS: [(f64, f64); 4] = [(1.0, 0.1), (2.0, 0.2), (5.0, 0.5), (10.0, 1.0)];
/// Classes with a smaller share of the particles do not count.
const SMALLEST_SHARE: f64 = 0.01;
/// An accuracy that is not known.
const UNKNOWN: f64 = 999.0;
/// Purpose number of the random axes.
const RANDOM_AXES: u32 = 0x4143_4353;

/// A particle whose pose is tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// Identity of the particle, for its random axes.
    pub particle: u64,
    pub euler: Euler,
    pub scale: &'a ReferenceScale,
    /// Pixels of the image's window.
    pub pixels: &'a PixelList,
    /// CTF (squared for data multiplied by it) at `pixels`.
    pub ctf: &'a [f64],
    /// Noise variance per shell of the reference.
    pub noise: &'a [f64],
    pub pixel_size_angstrom: f64,
}

/// Means over the trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Accuracy {
    pub degrees: f64,
    pub angstrom: f64,
    /// Share of each shell of the reference in the difference that tells rotations apart; sums to 1.
    pub orientability: Vec<f64>,
}

/// Accuracy of rotations and translations, for a reference as the projector holds it.
///
/// One Euler angle, and one axis of translation, of each particle (chosen at random, by seed and particle) gets a
/// growing error, until sum CTF^2 |difference|^2 / (2 sigma2) over the pixels exceeds -ln 0.01 or the error 30 degrees
/// or 10 pixels. A few hundred slices a trial.
pub fn estimate<T: Real>(geometry: &Geometry, data: &[Complex<T>], trials: &[Trial], seed: u64) -> Accuracy {
    let shells = geometry.box_pixels / 2 + 1;
    let each: Vec<(f64, f64, Vec<f64>)> = trials.par_iter().map(|t| one(geometry, data, t, seed, shells)).collect();
    let mut sum = Accuracy { degrees: 0.0, angstrom: 0.0, orientability: vec![0.0; shells] };
    for (degrees, angstrom, shares) in &each {
        sum.degrees += degrees;
        sum.angstrom += angstrom;
        sum.orientability.iter_mut().zip(shares).for_each(|(a, b)| *a += b);
    }
    if each.is_empty() {
        return Accuracy { degrees: UNKNOWN, angstrom: UNKNOWN, ..sum };
    }
    let total: f64 = sum.orientability.iter().sum();
    if total > 0.0 {
        sum.orientability.iter_mut().for_each(|v| *v /= total);
    }
    let count = each.len() as f64;
    Accuracy { degrees: sum.degrees / count, angstrom: sum.angstrom / count, ..sum }
}

/// The best accuracies (degrees, Angstrom) of the classes that hold at least 1 % of the particles.
pub fn best<'a>(classes: impl IntoIterator<Item = (f64, &'a Accuracy)>) -> (f64, f64) {
    let counted = classes.into_iter().filter(|(share, _)| *share >= SMALLEST_SHARE);
    counted.fold((UNKNOWN, UNKNOWN), |(d, a), (_, class)| (d.min(class.degrees), a.min(class.angstrom)))
}

fn one<T: Real>(
    geometry: &Geometry,
    data: &[Complex<T>],
    trial: &Trial,
    seed: u64,
    shells: usize,
) -> (f64, f64, Vec<f64>) {
    let count = trial.pixels.inside;
    let (kx, ky) = (&trial.pixels.kx[..count], &trial.pixels.ky[..count]);
    let shell: Vec<usize> =
        trial.pixels.shell[..count].iter().map(|s| trial.scale.reference_shell(usize::from(*s))).collect();
    let weight: Vec<f64> = (0..count)
        .map(|i| match trial.noise.get(shell[i]) {
            Some(sigma2) if *sigma2 > 0.0 && shell[i] < shells => trial.ctf[i].powi(2) / (2.0 * sigma2),
            _ => 0.0,
        })
        .collect();
    let slice = |euler: Euler, out: &mut [Complex<T>]| {
        projector::slice_into(geometry, data, &trial.scale.inverse(&euler.matrix()), kx, ky, out);
    };
    let mut stream = Stream::new(seed, RANDOM_AXES, trial.particle);
    let (angle, axis) = ((3.0 * stream.uniform()) as usize, stream.uniform() < 0.5);

    let mut here = vec![Complex::default(); count];
    let mut there = here.clone();
    slice(trial.euler, &mut here);
    let power = |f: Complex<T>| f.re.widen().powi(2) + f.im.widen().powi(2);
    let degrees = grow(&DEGREES, |error| {
        let mut euler = trial.euler;
        *[&mut euler.rot, &mut euler.tilt, &mut euler.psi][angle] += error;
        slice(euler, &mut there);
        (0..count).map(|i| weight[i] * power(here[i] - there[i])).sum()
    });
    let mut shares = vec![0.0; shells];
    let differences: Vec<f64> = (0..count).map(|i| weight[i] * power(here[i] - there[i])).collect();
    if differences.iter().sum::<f64>() > DIFFERENCE {
        shell.iter().zip(&differences).for_each(|(s, d)| shares[(*s).min(shells - 1)] += d);
    }

    let k = if axis { kx } else { ky };
    let pixels = grow(&PIXELS, |error| {
        // |1 - exp(i phi)|^2 = 4 sin^2(phi / 2)
        let half = PI * error / trial.scale.image_pixels as f64;
        (0..count).map(|i| weight[i] * power(here[i]) * 4.0 * (half * f64::from(k[i])).sin().powi(2)).sum()
    });
    (degrees, pixels * trial.pixel_size_angstrom, shares)
}

/// The first error on the ladder whose difference is large enough, or the first one beyond the ladder.
fn grow(ladder: &[(f64, f64)], mut difference: impl FnMut(f64) -> f64) -> f64 {
    let (limit, last_step) = ladder[ladder.len() - 1];
    let mut error = 0.0;
    loop {
        error += ladder.iter().find(|(end, _)| error < *end).map_or(last_step, |(_, step)| *step);
        // The negation takes a difference that is not a number for too small.
        if error > limit || difference(error) > DIFFERENCE {
            return error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::Projector;

    #[test]
    fn errors_grow_by_the_ladder() {
        assert!((grow(&DEGREES, |e| if e > 0.99 { 10.0 } else { 0.0 }) - 1.0).abs() < 1e-9);
        assert!(grow(&DEGREES, |_| 0.0) > 30.0);
        assert!(grow(&PIXELS, |_| f64::NAN) > 10.0);
        assert!((grow(&PIXELS, |_| 9.0) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn less_noise_means_better_accuracy() {
        let n = 32;
        let mut stream = Stream::new(1, 0, 0);
        let mut voxels: Vec<f32> = (0..n * n * n).map(|_| stream.gaussian() as f32).collect();
        crate::imaging::mask::multiply_by_sphere(&mut voxels, n, 8.0, 3.0);
        let reference = Projector::<f64>::new(&voxels, n, 2.0, 24);
        let scale = ReferenceScale { ratio: 1.0, magnification: [[1.0, 0.0], [0.0, 1.0]], image_pixels: n };
        let pixels = PixelList::new(24);
        let ctf = vec![1.0; pixels.len()];
        let accuracy = |sigma2: f64| {
            let noise = vec![sigma2; n / 2 + 1];
            let trials: Vec<Trial> = (0..30)
                .map(|particle| Trial {
                    particle,
                    euler: Euler::new(37.0 * particle as f64, 5.0 * particle as f64, 11.0 * particle as f64),
                    scale: &scale,
                    pixels: &pixels,
                    ctf: &ctf,
                    noise: &noise,
                    pixel_size_angstrom: 2.0,
                })
                .collect();
            estimate(&reference.geometry, &reference.data, &trials, 7)
        };
        let power = reference.power[8];
        let (fine, coarse, none) = (accuracy(0.03 * power), accuracy(3.0 * power), accuracy(1e9 * power));
        assert!(fine.degrees < 0.5 * coarse.degrees && fine.angstrom < 0.5 * coarse.angstrom, "{fine:?} {coarse:?}");
        assert!((fine.orientability.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(none.degrees > 30.0 && none.angstrom > 20.0);
        assert_eq!(best([(0.005, &fine), (0.5, &coarse), (0.495, &none)]), (coarse.degrees, coarse.angstrom));
        assert_eq!(accuracy(3.0 * power), coarse);
    }
}
