//! How many shells the next E-step sees.

use std::f64::consts::PI;

use crate::model::SamplingState;
use crate::model::Sizes;
use crate::units;

/// FSC of half maps at the resolution of their average, and of the halves themselves (Rosenthal & Henderson 2003).
const FSC_OF_SUM: f64 = 0.143;
const FSC_OF_HALVES: f64 = 0.5;
/// Shells beyond the two crossings.
const MARGIN_SHELLS: i64 = 5;
/// An FSC at the edge of the window above this asks for a larger window.
const HIGH_FSC: f64 = 0.2;
/// Mean largest probability above which poses are certain enough for a large step.
const CERTAIN_PROBABILITY: f64 = 0.1;
/// The large step, as a share of Nyquist.
const LARGE_STEP: f64 = 0.25;
/// How much finer than the arc between neighbouring orientations at the particle's edge the first pass looks.
const COARSE_FACTOR: f64 = 1.2;
/// Rounding that must not add a shell.
const SLACK: f64 = 1e-9;

/// Learns from this iteration's gold-standard FSC (box/2 + 1 shells, from sums of window `sizes.current_size`)
/// how far beyond the resolution the next window must reach.
///
/// A curve that never falls below a threshold crosses it beyond the last shell; with `parity` it crosses at
/// shell -1. A high FSC at the edge of the window counts for the next iteration; with `parity` for all later ones.
pub fn learn_from_fsc(sizes: &mut Sizes, fsc: &[f64], parity: bool) {
    let never = if parity { -1 } else { fsc.len() as i64 };
    let crossing = |threshold: f64| fsc.iter().position(|f| *f < threshold).map_or(never, |s| s as i64);
    let wanted = crossing(FSC_OF_SUM) - crossing(FSC_OF_HALVES) + MARGIN_SHELLS;
    sizes.increment = sizes.increment.max(wanted.max(0) as usize);
    let at_limit = (sizes.current_size / 2).checked_sub(1).and_then(|s| fsc.get(s)).is_some_and(|f| *f > HIGH_FSC);
    sizes.has_high_fsc_at_limit = at_limit || (parity && sizes.has_high_fsc_at_limit);
}

/// Window of the next E-step: the resolved shells and some beyond, even, at most the box.
pub fn next_current_size(
    sizes: &Sizes,
    average_max_probability: f64,
    box_pixels: usize,
    pixel_size_angstrom: f64,
) -> usize {
    let extent = box_pixels as f64 * pixel_size_angstrom;
    let resolved = units::round_half_away(sizes.current_resolution_per_angstrom * extent).max(0) as usize;
    let more = if average_max_probability > CERTAIN_PROBABILITY && sizes.has_high_fsc_at_limit {
        units::round_half_away(LARGE_STEP * (box_pixels / 2) as f64) as usize
    } else {
        sizes.increment
    };
    box_pixels.min(2 * (resolved + more))
}

/// Window of the first pass, for images of the reference's box and pixel size; scale it as `current_size` for others.
///
/// The resolution at which a coarse angular step moves the particle's edge noticeably:
/// d = step/360 pi D / 1.2, and the window is 2 CEIL(N a / d). `angular_step_degrees` is the coarse step of the
/// coming E-step. (RELION takes the step before that iteration's sampling update: for parity call this first.)
pub fn coarse_size(
    sampling: &SamplingState,
    current_size: usize,
    diameter_angstrom: f64,
    box_pixels: usize,
    pixel_size_angstrom: f64,
) -> usize {
    if sampling.oversampling == 0 {
        return current_size;
    }
    let resolution_angstrom = sampling.angular_step_degrees() / 360.0 * PI * diameter_angstrom / COARSE_FACTOR;
    let shells = (box_pixels as f64 * pixel_size_angstrom / resolution_angstrom - SLACK).ceil().max(1.0);
    current_size.min(2 * shells as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PriorMode;

    fn at(current_size: usize) -> Sizes {
        Sizes { current_size, ..Sizes::start() }
    }

    /// 1 below shell `half`, 0.3 below `sum`, 0 above.
    fn curve(half: usize, sum: usize, box_pixels: usize) -> Vec<f64> {
        (0..=box_pixels / 2)
            .map(|s| {
                if s < half {
                    1.0
                } else if s < sum {
                    0.3
                } else {
                    0.0
                }
            })
            .collect()
    }

    #[test]
    fn the_increment_follows_the_width_of_the_fall_and_never_shrinks() {
        let mut sizes = at(64);
        learn_from_fsc(&mut sizes, &curve(10, 13, 128), true);
        assert_eq!(sizes.increment, 10);
        learn_from_fsc(&mut sizes, &curve(10, 19, 128), true);
        assert_eq!(sizes.increment, 14);
        learn_from_fsc(&mut sizes, &curve(10, 11, 128), true);
        assert_eq!(sizes.increment, 14);
    }

    #[test]
    fn curves_that_never_cross() {
        let (flat, half_only) = (curve(65, 65, 128), curve(40, 65, 128));
        for (fsc, parity, increment) in
            [(&flat, true, 10), (&flat, false, 10), (&half_only, true, 10), (&half_only, false, 30)]
        {
            let mut sizes = at(128);
            learn_from_fsc(&mut sizes, fsc, parity);
            assert_eq!(sizes.increment, increment, "parity {parity}");
        }
    }

    #[test]
    fn a_high_fsc_at_the_edge_is_remembered_only_with_parity() {
        let mut fsc = curve(10, 13, 128);
        fsc[31] = 0.21;
        for parity in [true, false] {
            let mut sizes = at(64);
            learn_from_fsc(&mut sizes, &fsc, parity);
            assert!(sizes.has_high_fsc_at_limit);
            learn_from_fsc(&mut sizes, &curve(10, 13, 128), parity);
            assert_eq!(sizes.has_high_fsc_at_limit, parity);
        }
    }

    #[test]
    fn next_sizes() {
        // (resolved shell, increment, high FSC, mean Pmax) -> window, for a box of 100.
        for (shell, increment, high, pmax, window) in [
            (10.0, 10, false, 0.9, 40),
            (10.0, 12, true, 0.05, 44),
            (10.0, 10, true, 0.1, 40),
            (10.0, 10, true, 0.11, 46),
            (45.0, 10, false, 0.0, 100),
            (5.0, 14, false, 0.0, 38),
        ] {
            let sizes = Sizes {
                current_resolution_per_angstrom: shell / 150.0,
                increment,
                has_high_fsc_at_limit: high,
                ..Sizes::start()
            };
            assert_eq!(next_current_size(&sizes, pmax, 100, 1.5), window);
        }
    }

    #[test]
    fn coarse_windows() {
        let mut sampling = SamplingState {
            healpix_order: 1,
            psi_step_degrees: 30.0,
            offset_range_angstrom: 10.0,
            offset_step_angstrom: 2.0,
            oversampling: 1,
            perturbation: 0.0,
            perturbation_factor: 0.0,
            prior: PriorMode::Global,
            original_healpix_order: 1,
            original_psi_step_degrees: 30.0,
            original_offset_range_angstrom: 10.0,
            original_offset_step_angstrom: 2.0,
        };
        // 32 pixels of 7 A, diameter 200 A: d = 43.6 A, 5.13 shells.
        assert_eq!(coarse_size(&sampling, 28, 200.0, 32, 7.0), 12);
        assert_eq!(coarse_size(&sampling, 10, 200.0, 32, 7.0), 10);
        sampling.healpix_order = 3;
        assert_eq!(coarse_size(&sampling, 200, 200.0, 32, 7.0), 42);
        sampling.oversampling = 0;
        assert_eq!(coarse_size(&sampling, 28, 200.0, 32, 7.0), 28);
    }
}
