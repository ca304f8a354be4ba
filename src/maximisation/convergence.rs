//! When a refinement is finished.

use crate::model::Convergence;

/// Decides, at the start of an iteration, whether it is the last one: the sampling is fine enough, and neither the
/// resolution nor the poses improved in the previous iteration. Records the decision and returns it.
pub fn check(convergence: &mut Convergence) -> bool {
    convergence.has_converged |= convergence.has_fine_enough_sampling
        && convergence.iterations_without_resolution_gain >= 1
        && convergence.iterations_without_large_changes >= 1;
    convergence.has_converged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_conditions_are_needed() {
        for (fine, gain, changes, converged) in
            [(true, 1, 1, true), (true, 3, 2, true), (false, 3, 3, false), (true, 0, 3, false), (true, 3, 0, false)]
        {
            let mut c = Convergence {
                has_fine_enough_sampling: fine,
                iterations_without_resolution_gain: gain,
                iterations_without_large_changes: changes,
                ..Convergence::start()
            };
            assert_eq!(check(&mut c), converged);
        }
    }
}
