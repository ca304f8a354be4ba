//! The resolution of a model: up to which shell the data outweigh the prior.

use crate::model::Convergence;
use crate::model::Sizes;
use crate::units;

/// Lowest shell that may be the resolution; lower shells are not regularised either.
pub const LOWEST_SHELL: usize = 5;
/// A second range of good shells counts when it ends this far above the first bad one.
const DIP_SHELLS: usize = 3;
/// Gains below this, in 1/Angstrom, are none.
const SMALLEST_GAIN_PER_ANGSTROM: f64 = 1e-4;

/// The resolution of a set of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Last shell whose data outweigh the prior, at least [`LOWEST_SHELL`].
    pub shell: usize,
    /// The data-versus-prior ratio falls below 1 and rises again: usually a sign of a tight mask or of aliasing.
    pub has_dip: bool,
}

/// Resolution from the data-versus-prior ratios of the classes (box/2 + 1 shells each): the last shell before
/// the ratio first falls below 1, of the best class.
///
/// With half sets (`skip_dips`) a dip is ignored when the ratio is above 1 again more than three shells higher.
pub fn resolved_shell<'a>(ssnr: impl IntoIterator<Item = &'a [f64]>, skip_dips: bool) -> Resolved {
    let mut best = Resolved { shell: LOWEST_SHELL, has_dip: false };
    for ratio in ssnr {
        let end = ratio.len().saturating_sub(1);
        let last_good = (1..end).find(|s| ratio[*s] < 1.0).unwrap_or(end.max(1)) - 1;
        let highest_good = (last_good..end).rev().find(|s| ratio[*s] > 1.0).unwrap_or(last_good);
        let has_dip = skip_dips && highest_good > last_good + DIP_SHELLS;
        let shell = if has_dip { highest_good } else { last_good };
        if shell > best.shell {
            best = Resolved { shell, has_dip };
        }
    }
    best
}

/// Shell of the initial low-pass filter, which is the resolution before the first iteration (and after a first
/// iteration by cross-correlation): ROUND(N a / d), at least 1.
pub fn shell_of_initial_filter(ini_high_angstrom: f64, box_pixels: usize, pixel_size_angstrom: f64) -> usize {
    units::shell_of_angstrom(ini_high_angstrom, box_pixels, pixel_size_angstrom).clamp(1, box_pixels as i64 / 2)
        as usize
}

/// Records the resolution of this iteration, and whether it is a gain.
pub fn record(
    shell: usize,
    box_pixels: usize,
    pixel_size_angstrom: f64,
    sizes: &mut Sizes,
    convergence: &mut Convergence,
) {
    let resolution = shell as f64 / (box_pixels as f64 * pixel_size_angstrom);
    if resolution <= sizes.current_resolution_per_angstrom + SMALLEST_GAIN_PER_ANGSTROM {
        convergence.iterations_without_resolution_gain += 1;
    } else {
        convergence.iterations_without_resolution_gain = 0;
    }
    sizes.current_resolution_per_angstrom = resolution;
    sizes.best_resolution_per_angstrom = sizes.best_resolution_per_angstrom.max(resolution);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ratio of 33 shells that is 10 below `end` and 0.5 from there, except 2 in `again`.
    fn ratio(end: usize, again: std::ops::Range<usize>) -> Vec<f64> {
        (0..33)
            .map(|s| {
                if s < end {
                    10.0
                } else if again.contains(&s) {
                    2.0
                } else {
                    0.5
                }
            })
            .collect()
    }

    #[test]
    fn last_shell_before_the_first_bad_one_of_the_best_class() {
        let resolved = |curves: &[Vec<f64>], skip| resolved_shell(curves.iter().map(Vec::as_slice), skip).shell;
        assert_eq!(resolved(&[ratio(12, 0..0)], true), 11);
        assert_eq!(resolved(&[ratio(12, 0..0), ratio(17, 0..0), ratio(9, 0..0)], false), 16);
        assert_eq!(resolved(&[ratio(2, 0..0)], true), LOWEST_SHELL);
        assert_eq!(resolved(&[ratio(33, 0..0)], true), 31, "the Nyquist shell is never used");
        assert_eq!(resolved(&[ratio(12, 15..20)], false), 11);
    }

    #[test]
    fn a_dip_is_skipped_with_half_sets_only_when_it_ends_far_enough() {
        let one = |curve: Vec<f64>| resolved_shell([curve.as_slice()], true);
        assert_eq!(one(ratio(12, 13..20)), Resolved { shell: 19, has_dip: true });
        assert_eq!(one(ratio(12, 14..15)), Resolved { shell: 11, has_dip: false });
        assert_eq!(one(ratio(12, 15..16)), Resolved { shell: 15, has_dip: true });
    }

    #[test]
    fn gains_are_counted() {
        let (mut sizes, mut convergence) = (Sizes::start(), Convergence::start());
        let mut counts = Vec::new();
        for shell in [6, 7, 6, 7, 7, 9] {
            record(shell, 48, 4.75, &mut sizes, &mut convergence);
            counts.push(convergence.iterations_without_resolution_gain);
        }
        assert_eq!(counts, [0, 0, 1, 0, 1, 0]);
        assert_eq!(sizes.best_resolution_per_angstrom, 9.0 / 228.0);
    }
}
