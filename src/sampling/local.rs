//! Local searches: the coarse orientations near a particle's pose, and their prior.

use std::f64::consts::PI;

use crate::error::Error;
use crate::error::Result;
use crate::rotation::Euler;
use crate::rotation::Matrix3;
use crate::rotation::PointGroup;

use super::orientations::Orientations;
use super::relion_local;
use super::tree::DirectionTree;

/// Orientations further than this many standard deviations have no prior.
pub(super) const CUTOFF_SIGMAS: f64 = 3.0;

/// Widths of the prior, in radians; `None` is no restriction.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// Gaussian of the rotation angle between the poses.
    Isotropic { sigma: f64 },
    /// Gaussian of the angle between the viewing directions, times one of the remaining in-plane turn.
    Cone { direction: f64, psi: Option<f64> },
    /// Gaussians of tilt and psi of the pose, whatever its rot (filaments, views from the side).
    Band { tilt: Option<f64>, psi: Option<f64> },
}

/// Prior of a local search on a grid of orientations.
///
/// Distances are between whole rotations: to the nearest symmetry mate of the particle's pose, in-plane angle
/// included, on the grid as perturbed. A rotation angle t splits into the angle b between viewing directions
/// and an in-plane turn p by cos(t/2) = cos(b/2) cos(p/2).
#[derive(Clone, Debug)]
pub struct LocalPrior<'a> {
    grid: &'a Orientations,
    group: &'a PointGroup,
    spread: Spread,
    tree: DirectionTree,
    /// RELION's own rule, for comparison with it.
    relion: Option<relion_local::Widths>,
}

impl<'a> LocalPrior<'a> {
    /// Standard deviations of rot, tilt and psi in degrees; 0 or less is no restriction.
    ///
    /// All three equal: isotropic. rot and tilt given: the larger of them holds for the viewing direction.
    /// tilt or psi alone: a band in which rot is free.
    /// `parity` takes RELION's rule: the direction by its angle, psi independently of it and of the mate.
    ///
    /// # Errors
    /// No positive width, or rot restricted without tilt.
    pub fn new(grid: &'a Orientations, group: &'a PointGroup, sigma_degrees: [f64; 3], parity: bool) -> Result<Self> {
        let given = sigma_degrees.map(|s| (s > 0.0 && s.is_finite()).then(|| s.to_radians()));
        let spread = match given {
            [Some(rot), Some(tilt), Some(psi)] if rot == tilt && tilt == psi => Spread::Isotropic { sigma: psi },
            [Some(rot), Some(tilt), psi] => Spread::Cone { direction: rot.max(tilt), psi },
            [None, tilt, psi] if tilt.is_some() || psi.is_some() => Spread::Band { tilt, psi },
            [None, ..] => {
                return Err(Error::usage(
                    "a local search needs at least one positive width of its prior",
                    "Give a standard deviation in degrees, or search globally.",
                ));
            }
            [Some(_), None, _] => {
                return Err(Error::usage(
                    "a prior on rot alone means nothing near the poles",
                    "Give a width for tilt too (180 for a free tilt).",
                ));
            }
        };
        let pixels: Vec<u32> = grid.directions().iter().map(|d| d.pixel).collect();
        let vectors = grid.coarse_factors().0.iter().map(|base| base.0[2]).collect();
        let relion = parity.then(|| relion_local::Widths::new(grid, sigma_degrees));
        Ok(Self { grid, group, spread, tree: DirectionTree::new(grid.healpix_order(), &pixels, vectors), relion })
    }

    /// Fills `out` with the coarse orientations within three standard deviations of `centre` and their
    /// weights, by ascending index; the weights sum to 1. When none is so near, the nearest has weight 1.
    /// Only a centre that is no number has none.
    pub fn near(&self, centre: Euler, out: &mut Vec<(u32, f64)>) {
        out.clear();
        if let Some(widths) = &self.relion {
            widths.near(self.grid, self.group, centre, out);
            return;
        }
        self.collect(centre, CUTOFF_SIGMAS, out);
        if !out.is_empty() {
            let least = out.iter().map(|sample| sample.1).fold(f64::INFINITY, f64::min);
            out.iter_mut().for_each(|sample| sample.1 = (0.5 * (least - sample.1)).exp());
            let sum: f64 = out.iter().map(|sample| sample.1).sum();
            out.iter_mut().for_each(|sample| sample.1 /= sum);
            return;
        }
        let mut cutoff = CUTOFF_SIGMAS;
        while out.is_empty() && cutoff.is_finite() {
            cutoff *= 2.0;
            self.collect(centre, cutoff, out);
        }
        let nearest = out.iter().copied().reduce(|best, next| if next.1 < best.1 { next } else { best });
        out.clear();
        out.extend(nearest.map(|(orientation, _)| (orientation, 1.0)));
    }

    /// Appends the orientations within `cutoff` standard deviations with their squared distance in standard
    /// deviations, each once, by ascending index.
    fn collect(&self, centre: Euler, cutoff: f64, out: &mut Vec<(u32, f64)>) {
        match self.spread {
            Spread::Isotropic { sigma } => {
                let psi = |half_sine2: f64, half_cosine2: f64| {
                    // cos^2(cutoff/2) = cos^2(b/2) cos^2(p/2) limits p.
                    let limit = (cutoff * sigma).min(PI);
                    let ratio = (0.5 * limit).cos().powi(2) / half_cosine2;
                    let largest = if limit >= PI { PI } else { 2.0 * ratio.min(1.0).sqrt().acos() };
                    let distance2 = move |turn: f64| {
                        let sine2 = half_sine2 + half_cosine2 * (0.5 * turn).sin().powi(2);
                        (2.0 * sine2.min(1.0).sqrt().asin() / sigma).powi(2)
                    };
                    (largest, distance2)
                };
                self.collect_cone(centre, cutoff * sigma, psi, out);
            }
            Spread::Cone { direction, psi } => {
                let psi = |half_sine2: f64, _: f64| {
                    let of_direction = (2.0 * half_sine2.min(1.0).sqrt().asin() / direction).powi(2);
                    let left = (cutoff * cutoff - of_direction).max(0.0).sqrt();
                    let largest = psi.map_or(PI, |psi| (left * psi).min(PI));
                    (largest, move |turn: f64| of_direction + psi.map_or(0.0, |psi| (turn / psi).powi(2)))
                };
                self.collect_cone(centre, cutoff * direction, psi, out);
            }
            Spread::Band { tilt, psi } => self.collect_band(centre, cutoff, tilt, psi, out),
        }
        // Caps around different mates may share orientations: the nearest mate counts.
        out.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        out.dedup_by_key(|sample| sample.0);
    }

    /// Orientations whose direction lies within `radius` of that of a mate. `limits` gives, from sin^2(b/2)
    /// and cos^2(b/2), the largest in-plane turn and the squared distance as a function of the turn.
    fn collect_cone<D: Fn(f64) -> f64>(
        &self,
        centre: Euler,
        radius: f64,
        limits: impl Fn(f64, f64) -> (f64, D),
        out: &mut Vec<(u32, f64)>,
    ) {
        let bases = self.grid.coarse_factors().0;
        let cap = self.tree.cap(radius);
        for mate in self.group.mates(centre.matrix()) {
            let m = &mate.0;
            self.tree.visit(&cap, m[2], &mut |direction, cosine| {
                let b = &bases[direction].0;
                // R_z(psi) B is nearest to the mate at this psi (the maximum of the trace of their quotient).
                let nearest = (dot(b[1], m[0]) - dot(b[0], m[1])).atan2(dot(b[0], m[0]) + dot(b[1], m[1]));
                let (largest, distance2) = limits(0.5 * (1.0 - cosine), 0.5 * (1.0 + cosine));
                self.turns(direction, nearest, largest, |orientation, turn| out.push((orientation, distance2(turn))));
            });
        }
    }

    /// Orientations with a mate of nearly the tilt and psi of `centre`.
    ///
    /// Both are read off the image of the object's z axis, the third column of the pose: turning the grid's
    /// pose in its plane changes psi alone.
    fn collect_band(&self, centre: Euler, cutoff: f64, tilt: Option<f64>, psi: Option<f64>, out: &mut Vec<(u32, f64)>) {
        let (tilt0, psi0) = (centre.tilt.to_radians(), centre.psi.to_radians());
        for (direction, base) in self.grid.coarse_factors().0.iter().enumerate() {
            for operator in self.group.operators() {
                let [x, y, z] = column(&operator.mate(*base));
                let of_tilt = tilt.map_or(0.0, |sigma| (x.hypot(y).atan2(z) - tilt0) / sigma).powi(2);
                let left = cutoff * cutoff - of_tilt;
                if left < 0.0 {
                    continue;
                }
                let largest = psi.map_or(PI, |sigma| (left.sqrt() * sigma).min(PI));
                let nearest = psi0 - y.atan2(-x);
                self.turns(direction, nearest, largest, |orientation, turn| {
                    out.push((orientation, of_tilt + psi.map_or(0.0, |sigma| (turn / sigma).powi(2))));
                });
            }
        }
    }

    /// Calls `found` with each orientation of a direction whose psi lies within `largest` of `nearest`, and
    /// with the turn between them (radians).
    fn turns(&self, direction: usize, nearest: f64, largest: f64, mut found: impl FnMut(u32, f64)) {
        let count = self.grid.psi_count();
        let step = self.grid.psi_step_degrees().to_radians();
        let first = ((nearest - largest) / step).ceil() as i64;
        let last = (((nearest + largest) / step).floor() as i64).min(first + count as i64 - 1);
        for i in first..=last {
            let psi = i.rem_euclid(count as i64) as usize;
            found((direction * count + psi) as u32, i as f64 * step - nearest);
        }
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn column(m: &Matrix3) -> [f64; 3] {
    m.0.map(|row| row[2])
}
