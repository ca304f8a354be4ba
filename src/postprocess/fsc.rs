//! Fourier shell correlation, and its correction for the mask.

use num_complex::Complex;

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::Map;
use crate::fourier;
use crate::fourier::RealFft3;
use crate::units::shell_of_angstrom;

use super::phases::randomise_phases;

/// FSC of the resolution between half maps (Rosenthal & Henderson 2003).
pub const RESOLUTION_FSC: f64 = 0.143;
/// Shells after the first randomised one in which the masked FSC is still taken as true: the mask smears it.
const SMEARED_SHELLS: usize = 2;
/// Part of the box that a sphere through its faces fills, less what a particle does not: 0.476 as in cisTEM
/// (Grant et al. 2018).
const BOX_TO_SPHERE: f64 = 0.476;
/// Daltons of protein in a cubic Angstrom.
const PROTEIN_DENSITY: f64 = 0.81;

/// How the FSC is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct FscOptions {
    /// Phases are randomised from the first shell (but the zeroth) whose unmasked FSC is below this.
    pub randomise_below_fsc: f64,
    /// Instead, randomise from here on.
    pub randomise_from_angstrom: Option<f64>,
    /// Of the random phases.
    pub seed: u64,
    /// Keep the masked curve even where the unmasked one reaches further.
    pub force_mask: bool,
    /// Mass of the ordered protein, for the second estimate of the part it fills of the box.
    pub molecular_weight_kilodalton: Option<f64>,
}

impl Default for FscOptions {
    fn default() -> Self {
        Self {
            randomise_below_fsc: 0.8,
            randomise_from_angstrom: None,
            seed: 0,
            force_mask: false,
            molecular_weight_kilodalton: None,
        }
    }
}

/// Curves over shells 0..=box/2.
#[derive(Clone, Debug, PartialEq)]
pub struct FscCurves {
    pub unmasked: Vec<f64>,
    pub masked: Option<MaskedCurves>,
    pub of_weight: Option<WeightCurve>,
    /// The curve that decides: corrected for the mask if there is one, else the unmasked one.
    pub deciding: Vec<f64>,
    /// Last shell before `deciding` falls below 0.143.
    pub resolution_shell: usize,
}

/// What a molecular weight adds.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightCurve {
    pub kilodalton: f64,
    /// 0.476 / (part of the box that protein of this weight fills).
    pub box_fraction: f64,
    /// The unmasked curve corrected by `box_fraction`.
    pub part: Vec<f64>,
}

/// What a mask adds.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedCurves {
    pub masked: Vec<f64>,
    /// Of the masked maps whose phases were random from `randomised_from` on.
    pub randomised: Vec<f64>,
    pub randomised_from: usize,
    /// (masked - randomised) / (1 - randomised) where that is due.
    pub corrected: Vec<f64>,
    /// 0.476 / (part of the box where the mask is above 0.5).
    pub box_fraction: f64,
    /// The unmasked curve corrected by `box_fraction`.
    pub part: Vec<f64>,
    /// The unmasked curve reaches further: the mask is wrong, and `deciding` is the unmasked curve.
    pub is_ignored: bool,
}

/// Last shell before the curve falls below 0.143, from shell 0.
pub fn resolution_shell(curve: &[f64]) -> usize {
    match curve.iter().position(|f| *f < RESOLUTION_FSC) {
        Some(first) => first.saturating_sub(1),
        None => curve.len() - 1,
    }
}

/// FSC of the particle alone, from the masked curve m and the one with phases randomised from shell s, n
/// (Chen et al. 2013): m below shell s + 2, then (m - n) / (1 - n); 0 where that is not defined.
pub fn corrected_fsc(masked: &[f64], randomised: &[f64], randomised_from: usize) -> Vec<f64> {
    let correct = |(s, (m, n)): (usize, (&f64, &f64))| {
        if s < randomised_from + SMEARED_SHELLS {
            *m
        } else if *n < 1.0 {
            (m - n) / (1.0 - n)
        } else {
            0.0
        }
    };
    masked.iter().zip(randomised).enumerate().map(correct).collect()
}

/// FSC of a particle that fills 1 / x of the volume that counts: x F / (1 + (x - 1) F).
pub fn part_fsc(unmasked: &[f64], x: f64) -> Vec<f64> {
    unmasked.iter().map(|f| x * f / (1.0 + (x - 1.0) * f)).collect()
}

/// All curves of two checked half maps.
pub(super) fn curves(
    n: usize,
    half1: &Map,
    half2: &Map,
    mask: Option<&Map>,
    options: &FscOptions,
) -> Result<FscCurves> {
    let plan = RealFft3::<f64>::new(n);
    let transform = |map: &Map| plan.forward(map.data.iter().map(|v| f64::from(*v)));
    let mut halves = [transform(half1), transform(half2)];
    let unmasked = fsc(&halves, n);
    let of_weight = match options.molecular_weight_kilodalton {
        Some(weight) if !(weight > 0.0 && weight.is_finite()) => {
            return Err(Error::usage(format!("a molecular weight of {weight} kDa"), "Give a weight above 0."));
        }
        Some(weight) => {
            let edge = n as f64 * half1.pixel_size_angstrom;
            let box_fraction = BOX_TO_SPHERE * edge.powi(3) * PROTEIN_DENSITY / (1000.0 * weight);
            Some(WeightCurve { kilodalton: weight, box_fraction, part: part_fsc(&unmasked, box_fraction) })
        }
        None => None,
    };
    let masked = match mask {
        None => None,
        Some(mask) => {
            let randomised_from = first_random_shell(&unmasked, n, half1.pixel_size_angstrom, options)?;
            for (half, index) in halves.iter_mut().zip(0_u32..) {
                randomise_phases(half, n, randomised_from, options.seed, index);
                plan.inverse_in_place(half);
                apply_mask(half, mask, n);
                plan.forward_in_place(half);
            }
            let randomised = fsc(&halves, n);
            drop(halves);
            let masked_transform =
                |map: &Map| plan.forward(map.data.iter().zip(&mask.data).map(|(v, m)| f64::from(*v) * f64::from(*m)));
            let masked = fsc(&[masked_transform(half1), masked_transform(half2)], n);
            let corrected = corrected_fsc(&masked, &randomised, randomised_from);
            let inside = mask.data.iter().filter(|m| **m > 0.5).count();
            let box_fraction = BOX_TO_SPHERE * mask.data.len() as f64 / inside as f64;
            let part = part_fsc(&unmasked, box_fraction);
            let is_ignored = !options.force_mask && resolution_shell(&unmasked) > resolution_shell(&corrected);
            Some(MaskedCurves { masked, randomised, randomised_from, corrected, box_fraction, part, is_ignored })
        }
    };
    let deciding = match &masked {
        Some(curves) if !curves.is_ignored => curves.corrected.clone(),
        _ => unmasked.clone(),
    };
    let resolution_shell = resolution_shell(&deciding);
    Ok(FscCurves { unmasked, masked, of_weight, deciding, resolution_shell })
}

/// FSC, 1 in shell 0 when the means have opposite signs.
fn fsc(halves: &[Vec<Complex<f64>>; 2], n: usize) -> Vec<f64> {
    let mut curve = fourier::fsc(&halves[0], &halves[1], n);
    if curve[0] <= 0.0 {
        curve[0] = 1.0;
    }
    curve
}

fn first_random_shell(unmasked: &[f64], n: usize, pixel_size: f64, options: &FscOptions) -> Result<usize> {
    if let Some(d) = options.randomise_from_angstrom {
        let shell = if d > 0.0 && d.is_finite() { shell_of_angstrom(d, n, pixel_size) } else { 0 };
        return match usize::try_from(shell) {
            Ok(shell) if (1..unmasked.len()).contains(&shell) => Ok(shell),
            _ => Err(Error::usage(
                format!("random phases from {d} A"),
                format!("Give a resolution between {} and {} A.", 2.0 * pixel_size, n as f64 * pixel_size),
            )),
        };
    }
    let limit = options.randomise_below_fsc;
    unmasked.iter().skip(1).position(|f| *f < limit).map(|s| s + 1).ok_or_else(|| {
        Error::usage(
            format!("the unmasked FSC never falls below {limit}: there is no shell to randomise phases from"),
            "Check that the half maps are independent; or say from which resolution on, or leave out the mask.",
        )
    })
}

/// Multiplies a packed volume (two voxels of a row in each complex number) by a mask.
fn apply_mask(packed: &mut [Complex<f64>], mask: &Map, n: usize) {
    for (row, weights) in packed.chunks_exact_mut(n / 2 + 1).zip(mask.data.chunks_exact(n)) {
        for (pair, weight) in row.iter_mut().zip(weights.chunks_exact(2)) {
            *pair = Complex::new(pair.re * f64::from(weight[0]), pair.im * f64::from(weight[1]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolution_is_before_the_first_fall() {
        assert_eq!(resolution_shell(&[1.0, 0.9, 0.1, 0.9, 0.0]), 1);
        assert_eq!(resolution_shell(&[1.0, 0.9, 0.5]), 2);
        assert_eq!(resolution_shell(&[0.1, 0.9]), 0);
    }

    #[test]
    fn the_correction_starts_two_shells_late_and_is_always_a_number() {
        let corrected = corrected_fsc(&[1.0, 0.8, 0.6, 0.5, 0.4], &[1.0, 0.5, 0.5, 0.25, 1.0], 1);
        assert_eq!(corrected, [1.0, 0.8, 0.6, 0.25 / 0.75, 0.0]);
    }
}
