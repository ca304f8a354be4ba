//! RELION's rule for local searches, kept to compare numbers with it.
//!
//! Viewing direction and psi are judged apart: psi of the grid against psi of the particle, whatever the
//! direction and whichever mate is nearest, and the grid as it is without perturbation. Wrong near the poles
//! and across symmetry mates; [`super::LocalPrior`] does it on whole rotations.

use crate::rotation::Euler;
use crate::rotation::PointGroup;
use crate::rotation::direction_of_angles;

use super::local::CUTOFF_SIGMAS;
use super::orientations::Orientations;

#[derive(Clone, Debug)]
pub(super) struct Widths {
    sigma_degrees: [f64; 3],
    /// Unperturbed directions.
    directions: Vec<[f64; 3]>,
}

impl Widths {
    pub(super) fn new(grid: &Orientations, sigma_degrees: [f64; 3]) -> Self {
        let directions = grid.directions().iter().map(|d| direction_of_angles(d.rot_degrees, d.tilt_degrees)).collect();
        Self { sigma_degrees, directions }
    }

    /// As [`super::LocalPrior::near`].
    pub(super) fn near(&self, grid: &Orientations, group: &PointGroup, centre: Euler, out: &mut Vec<(u32, f64)>) {
        let [rot, tilt, psi] = self.sigma_degrees;
        let wanted = direction_of_angles(centre.rot, centre.tilt);
        let off = |v: &[f64; 3]| {
            let mates = group.operators().iter().map(|operator| operator.relion_mate_direction(*v));
            if rot > 0.0 {
                let cosine = mates.map(|m| m[0] * wanted[0] + m[1] * wanted[1] + m[2] * wanted[2]).fold(-1.0, f64::max);
                cosine.min(1.0).acos().to_degrees()
            } else {
                let tilts = mates.map(|m| (m[2].clamp(-1.0, 1.0).acos().to_degrees() - centre.tilt).abs());
                tilts.fold(f64::INFINITY, f64::min)
            }
        };
        let directions = gaussian(self.directions.iter().map(off), rot.max(tilt));
        let turn = |p: &f64| {
            let difference = (p - centre.psi).rem_euclid(360.0);
            difference.min(360.0 - difference)
        };
        let psis = gaussian(grid.psis_degrees().iter().map(turn), psi);
        for (direction, of_direction) in &directions {
            let first = direction * grid.psi_count();
            out.extend(psis.iter().map(|(psi, of_psi)| ((first + psi) as u32, of_direction * of_psi)));
        }
    }
}

/// The entries below the cutoff with Gaussian weights of sum 1; the smallest with weight 1 when there is none;
/// all alike without a width.
fn gaussian(distances: impl ExactSizeIterator<Item = f64>, sigma: f64) -> Vec<(usize, f64)> {
    if sigma <= 0.0 {
        let each = 1.0 / distances.len() as f64;
        return distances.enumerate().map(|(i, _)| (i, each)).collect();
    }
    let all: Vec<(usize, f64)> = distances.enumerate().collect();
    let mut kept: Vec<(usize, f64)> = all
        .iter()
        .filter(|(_, distance)| *distance < CUTOFF_SIGMAS * sigma)
        .map(|(i, distance)| (*i, (-0.5 * (distance / sigma).powi(2)).exp()))
        .collect();
    if kept.is_empty() {
        let nearest = all.into_iter().reduce(|best, next| if next.1 < best.1 { next } else { best });
        return nearest.map(|(i, _)| (i, 1.0)).into_iter().collect();
    }
    let sum: f64 = kept.iter().map(|(_, weight)| weight).sum();
    kept.iter_mut().for_each(|(_, weight)| *weight /= sum);
    kept
}
