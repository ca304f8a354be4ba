//! How well poses can be told apart: the error at which two projections of the reference differ beyond the noise.
//!
//! The difference grows like the square of a small error. It is sampled at doubling errors, and the error at which
//! it reaches the wanted size is interpolated in log-log; every rotation and translation axis of the image counts
//! alike, so that nothing is drawn at random.

use num_complex::Complex;
use rayon::prelude::*;

use crate::fourier::Real;
use crate::imaging::Geometry;
use crate::imaging::PixelList;
use crate::imaging::ReferenceScale;
use crate::imaging::projector;
use crate::rotation::Euler;
use crate::rotation::Matrix3;

/// -ln 0.01: the squared difference at which a wrong pose has a probability of one per cent.
const DIFFERENCE: f64 = 4.605_170_185_988_091;
/// Smallest and largest errors that are told.
const DEGREES: [f64; 2] = [0.02, 30.0];
const PIXELS: [f64; 2] = [0.02, 10.0];
/// Classes with a smaller share of the particles do not count.
const SMALLEST_SHARE: f64 = 0.01;
/// An accuracy that is not known.
const UNKNOWN: f64 = 999.0;

/// A particle whose pose is tried.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
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

/// Accuracy of rotations and translations, for a reference as the projector holds it: the mean over the trials and
/// over the axes of the image of the error at which sum CTF^2 |difference|^2 / (2 sigma2) reaches -ln 0.01.
pub fn estimate<T: Real>(geometry: &Geometry, data: &[Complex<T>], trials: &[Trial<'_>]) -> Accuracy {
    let shells = geometry.box_pixels / 2 + 1;
    let each: Vec<Accuracy> = trials.par_iter().map(|trial| one(geometry, data, trial, shells)).collect();
    let mut mean = Accuracy { degrees: UNKNOWN, angstrom: UNKNOWN, orientability: vec![0.0; shells] };
    if each.is_empty() {
        return mean;
    }
    let count = each.len() as f64;
    mean.degrees = each.iter().map(|a| a.degrees).sum::<f64>() / count;
    mean.angstrom = each.iter().map(|a| a.angstrom).sum::<f64>() / count;
    for (shell, share) in mean.orientability.iter_mut().enumerate() {
        *share = each.iter().map(|a| a.orientability[shell]).sum();
    }
    let total: f64 = mean.orientability.iter().sum();
    if total > 0.0 {
        mean.orientability.iter_mut().for_each(|share| *share /= total);
    }
    mean
}

/// The best accuracies (degrees, Angstrom) of the classes that hold at least 1 % of the particles.
pub fn best<'a>(classes: impl IntoIterator<Item = (f64, &'a Accuracy)>) -> (f64, f64) {
    classes
        .into_iter()
        .filter(|(share, _)| *share >= SMALLEST_SHARE)
        .fold((UNKNOWN, UNKNOWN), |(d, a), (_, class)| (d.min(class.degrees), a.min(class.angstrom)))
}

/// The error in `range` at which a growing `difference` reaches [`DIFFERENCE`]; the end of the range when it never does.
fn error_at(range: [f64; 2], mut difference: impl FnMut(f64) -> f64) -> f64 {
    let [smallest, largest] = range;
    let (mut low, mut at_low) = (smallest, difference(smallest));
    if at_low >= DIFFERENCE {
        return smallest;
    }
    while low < largest {
        let high = (2.0 * low).min(largest);
        let at_high = difference(high);
        if at_high >= DIFFERENCE {
            if at_low <= 0.0 {
                return high;
            }
            let part = (DIFFERENCE / at_low).ln() / (at_high / at_low).ln();
            return low * (high / low).powf(part);
        }
        (low, at_low) = (high, at_high);
    }
    largest
}

fn one<T: Real>(geometry: &Geometry, data: &[Complex<T>], trial: &Trial<'_>, shells: usize) -> Accuracy {
    let count = trial.pixels.inside;
    let (kx, ky) = (&trial.pixels.kx[..count], &trial.pixels.ky[..count]);
    let model_shell = |i: usize| trial.scale.reference_shell(usize::from(trial.pixels.shell[i]));
    let weight: Vec<f64> = (0..count)
        .map(|i| {
            let sigma2 = trial.noise.get(model_shell(i)).copied().unwrap_or(0.0);
            if sigma2 > 0.0 { trial.ctf[i] * trial.ctf[i] / (2.0 * sigma2) } else { 0.0 }
        })
        .collect();
    let rotation = trial.euler.matrix();
    let slice = |rotation: &Matrix3, out: &mut [Complex<T>]| {
        projector::slice_into(geometry, data, &trial.scale.inverse(rotation), kx, ky, out);
    };
    let mut here = vec![Complex::default(); count];
    let mut there = here.clone();
    slice(&rotation, &mut here);
    let power = |z: Complex<T>| z.re.widen().powi(2) + z.im.widen().powi(2);

    let mut out = Accuracy { degrees: 0.0, angstrom: 0.0, orientability: vec![0.0; shells] };
    for axis in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] {
        let degrees = error_at(DEGREES, |error| {
            slice(&(Matrix3::about_axis(axis, error) * rotation), &mut there);
            (0..count).map(|i| weight[i] * power(here[i] - there[i])).sum()
        });
        out.degrees += degrees / 3.0;
        slice(&(Matrix3::about_axis(axis, degrees) * rotation), &mut there);
        for i in 0..count {
            if let Some(share) = out.orientability.get_mut(model_shell(i)) {
                *share += weight[i] * power(here[i] - there[i]);
            }
        }
    }
    for k in [kx, ky] {
        let pixels = error_at(PIXELS, |error| {
            // A shift by d turns a coefficient by 2 pi k d / N: |1 - exp(i phi)|^2 = 4 sin^2(phi / 2).
            let half_turn = std::f64::consts::PI * error / trial.scale.image_pixels as f64;
            (0..count).map(|i| weight[i] * power(here[i]) * 4.0 * (half_turn * f64::from(k[i])).sin().powi(2)).sum()
        });
        out.angstrom += 0.5 * pixels * trial.pixel_size_angstrom;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quadratic_difference_is_inverted_exactly() {
        for curvature in [0.01, 1.0, 70.0] {
            let wanted = (DIFFERENCE / curvature).sqrt();
            let found = error_at(DEGREES, |e| curvature * e * e);
            assert!((found / wanted - 1.0).abs() < 1e-12, "{found} {wanted}");
        }
    }

    #[test]
    fn errors_stay_in_their_range() {
        assert_eq!(error_at(PIXELS, |_| 0.0), 10.0);
        assert_eq!(error_at(PIXELS, |_| 1e9), 0.02);
    }

    #[test]
    fn rare_classes_do_not_count() {
        let accuracy = |degrees| Accuracy { degrees, angstrom: degrees, orientability: vec![] };
        let (good, rare) = (accuracy(3.0), accuracy(1.0));
        assert_eq!(best([(0.995, &good), (0.005, &rare)]), (3.0, 3.0));
    }
}
