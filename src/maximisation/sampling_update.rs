//! When and how the grid of poses gets finer.

use crate::model::Convergence;
use crate::model::PriorMode;
use crate::model::SamplingState;
use crate::rotation::healpix;

/// Sampling finer than this share of the accuracy is not needed.
const OF_ACCURACY: f64 = 0.75;
/// Largest fine translation step, in pixels.
const LARGEST_STEP_PIXELS: f64 = 1.5;
/// RELION compares the same number with Angstrom.
const LARGEST_STEP_PARITY_ANGSTROM: f64 = 1.5;
/// Range of translations, in root mean square changes of the last iteration.
const RANGE_PER_CHANGE: f64 = 5.0;
/// Largest growth of the range, and its bounds in steps.
const RANGE_GROWTH: f64 = 1.3;
const SMALLEST_RANGE_STEPS: f64 = 1.5;
const LARGEST_RANGE_STEPS: f64 = 4.0;
/// Width of the orientation prior of a local search, in fine steps.
const SIGMA_STEPS: f64 = 2.0;

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still improving on this grid.
    Kept,
    /// No improvement, and the grid is finer than the accuracy already.
    FineEnough,
    /// The next order; distributions over directions must be made uniform again.
    Refined,
}

/// Prior of a local search on this sampling: sigmas of two fine steps on all three angles.
pub fn local_prior(sampling: &SamplingState) -> PriorMode {
    PriorMode::Local { sigma_degrees: [SIGMA_STEPS * sampling.fine_angular_step_degrees(); 3] }
}

/// Refines the grid when neither resolution nor poses improved, before an E-step (from the second iteration on)
/// and after the accuracies in `convergence` have been estimated for it.
///
/// From `local_search_order` on, searches are local. With `parity` the largest translation step is 1.5 A instead of
/// 1.5 pixels. In the final iteration RELION calls this too; the method does not need it.
pub fn update(
    sampling: &mut SamplingState,
    convergence: &mut Convergence,
    local_search_order: u32,
    pixel_size_angstrom: f64,
    parity: bool,
) -> Outcome {
    let stalled =
        convergence.iterations_without_resolution_gain >= 1 && convergence.iterations_without_large_changes >= 1;
    if !stalled {
        return Outcome::Kept;
    }
    let is_finest = sampling.healpix_order + sampling.oversampling >= healpix::MAXIMUM_ORDER;
    if is_finest || sampling.fine_angular_step_degrees() < OF_ACCURACY * convergence.accuracy_degrees {
        convergence.has_fine_enough_sampling = true;
        return Outcome::FineEnough;
    }
    convergence.has_fine_enough_sampling = false;

    let largest = if parity { LARGEST_STEP_PARITY_ANGSTROM } else { LARGEST_STEP_PIXELS * pixel_size_angstrom };
    let fine = largest.min(OF_ACCURACY * convergence.accuracy_angstrom);
    let mut step = fine * f64::from(1_u32 << sampling.oversampling);
    let mut range = (RANGE_PER_CHANGE * convergence.change_angstrom)
        .min(RANGE_GROWTH * sampling.offset_range_angstrom)
        .max(SMALLEST_RANGE_STEPS * step);
    if range > LARGEST_RANGE_STEPS * step {
        range /= 2.0;
        step = step.max(range / LARGEST_RANGE_STEPS);
    }
    if step <= sampling.offset_step_angstrom {
        sampling.offset_step_angstrom = step;
        sampling.offset_range_angstrom = range;
    }
    sampling.healpix_order += 1;
    sampling.psi_step_degrees = healpix::angular_step_degrees(sampling.healpix_order);
    if sampling.healpix_order >= local_search_order {
        sampling.prior = local_prior(sampling);
    }
    convergence.restart();
    Outcome::Refined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled(accuracy_degrees: f64, accuracy_angstrom: f64, change_angstrom: f64) -> Convergence {
        Convergence {
            iterations_without_resolution_gain: 1,
            iterations_without_large_changes: 2,
            accuracy_degrees,
            accuracy_angstrom,
            change_angstrom,
            ..Convergence::start()
        }
    }

    fn order(healpix_order: u32, range: f64, step: f64) -> SamplingState {
        SamplingState {
            healpix_order,
            psi_step_degrees: healpix::angular_step_degrees(healpix_order),
            offset_range_angstrom: range,
            offset_step_angstrom: step,
            oversampling: 1,
            perturbation: 0.0,
            perturbation_factor: 0.5,
            prior: PriorMode::Global,
            original_healpix_order: healpix_order,
            original_psi_step_degrees: healpix::angular_step_degrees(healpix_order),
            original_offset_range_angstrom: range,
            original_offset_step_angstrom: step,
        }
    }

    #[test]
    fn translations_follow_accuracy_and_changes() {
        // (accuracy A, change A, old range, old step, parity) -> (range, step), pixel 2 A.
        for (accuracy, change, range, step, parity, expected) in [
            (1.6, 0.5, 10.0, 4.0, true, (3.6, 2.4)),    // at least 1.5 steps
            (1.6, 1.5, 10.0, 4.0, true, (7.5, 2.4)),    // five changes
            (1.6, 4.0, 10.0, 4.0, true, (6.5, 2.4)),    // growth by 1.3, then halved
            (1.6, 9.0, 30.0, 9.0, true, (19.5, 4.875)), // halved, then the step follows
            (8.0, 1.0, 10.0, 9.0, true, (5.0, 3.0)),    // cap of 1.5 A
            (8.0, 1.0, 10.0, 9.0, false, (9.0, 6.0)),   // cap of 1.5 pixels
            (8.0, 1.0, 10.0, 2.0, true, (10.0, 2.0)),   // never coarser
        ] {
            let (mut sampling, mut convergence) = (order(2, range, step), stalled(1.0, accuracy, change));
            assert_eq!(update(&mut sampling, &mut convergence, 4, 2.0, parity), Outcome::Refined);
            let found = (sampling.offset_range_angstrom, sampling.offset_step_angstrom);
            assert!((found.0 - expected.0).abs() < 1e-12 && (found.1 - expected.1).abs() < 1e-12, "{found:?}");
            assert_eq!((sampling.healpix_order, sampling.psi_step_degrees), (3, 7.5));
            assert_eq!(convergence.iterations_without_large_changes, 0);
        }
    }

    #[test]
    fn local_searches_start_at_their_order() {
        let (mut sampling, mut convergence) = (order(3, 10.0, 4.0), stalled(1.0, 1.0, 1.0));
        update(&mut sampling, &mut convergence, 4, 2.0, true);
        assert_eq!(sampling.prior, PriorMode::Local { sigma_degrees: [3.75; 3] });
    }

    #[test]
    fn a_grid_finer_than_the_accuracy_is_fine_enough() {
        let (mut sampling, mut convergence) = (order(3, 10.0, 4.0), stalled(5.1, 1.0, 1.0));
        assert_eq!(update(&mut sampling, &mut convergence, 4, 2.0, true), Outcome::FineEnough);
        assert_eq!(sampling, order(3, 10.0, 4.0));
        convergence.accuracy_degrees = 4.9;
        assert_eq!(update(&mut sampling, &mut convergence, 4, 2.0, true), Outcome::Refined);
        assert!(!convergence.has_fine_enough_sampling);
        assert_eq!(update(&mut sampling, &mut convergence, 4, 2.0, true), Outcome::Kept, "counters start anew");
    }
}
