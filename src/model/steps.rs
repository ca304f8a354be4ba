//! Steps of a sampling, and the memory of the controllers before the first iteration.

use crate::rotation::healpix;

use super::Convergence;
use super::SamplingState;
use super::Sizes;

/// A change or an accuracy that is not known yet, as the files write it.
const UNKNOWN: f64 = 999.0;
/// The same for a share of particles.
const UNKNOWN_CLASSES: f64 = 9_999_999.0;
/// Shells above the resolution that the first E-step sees.
const FIRST_INCREMENT: usize = 10;

impl SamplingState {
    /// Step of the coarse orientation grid.
    pub fn angular_step_degrees(&self) -> f64 {
        healpix::angular_step_degrees(self.healpix_order)
    }

    /// Step of the oversampled orientation grid.
    pub fn fine_angular_step_degrees(&self) -> f64 {
        healpix::angular_step_degrees(self.healpix_order + self.oversampling)
    }

    /// Step of the oversampled translations.
    pub fn fine_offset_step_angstrom(&self) -> f64 {
        self.offset_step_angstrom / f64::from(1_u32 << self.oversampling)
    }
}

impl Convergence {
    /// Nothing is known yet.
    pub fn start() -> Self {
        Self {
            iterations_without_resolution_gain: 0,
            iterations_without_large_changes: 0,
            change_degrees: UNKNOWN,
            change_angstrom: UNKNOWN,
            change_classes: UNKNOWN_CLASSES,
            smallest_change_degrees: UNKNOWN,
            smallest_change_angstrom: UNKNOWN,
            smallest_change_classes: UNKNOWN_CLASSES,
            accuracy_degrees: UNKNOWN,
            accuracy_angstrom: UNKNOWN,
            has_fine_enough_sampling: false,
            has_converged: false,
        }
    }

    /// Forgets the history of changes and of resolution: a finer sampling starts anew.
    pub fn restart(&mut self) {
        self.iterations_without_resolution_gain = 0;
        self.iterations_without_large_changes = 0;
        self.smallest_change_degrees = UNKNOWN;
        self.smallest_change_angstrom = UNKNOWN;
        self.smallest_change_classes = UNKNOWN_CLASSES;
    }
}

impl Sizes {
    /// Before any resolution is known.
    pub fn start() -> Self {
        Self {
            current_resolution_per_angstrom: 0.0,
            best_resolution_per_angstrom: 0.0,
            current_size: 0,
            coarse_size: 0,
            increment: FIRST_INCREMENT,
            has_high_fsc_at_limit: false,
        }
    }
}
