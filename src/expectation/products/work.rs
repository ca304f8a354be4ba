//! Where the time of a step goes.

use std::ops::AddAssign;
use std::time::Instant;

use super::shape::Shape;

/// Seconds of wall-clock time by phase, and the arithmetic of the coarse search.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Images are prepared: normalised, shifted, masked, transformed, multiplied by their CTF.
    pub images: f64,
    pub coarse: f64,
    /// Energies, posteriors and their thresholds.
    pub fine: f64,
    pub sums: f64,
    /// Floating-point operations of the coarse search's products: those of real poses and translations, two a
    /// multiplication and addition.
    pub coarse_operations: f64,
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.coarse += other.coarse;
        self.fine += other.fine;
        self.sums += other.sums;
        self.coarse_operations += other.coarse_operations;
    }
}

/// Operations of the coarse products of particles that are compared with so many poses together.
pub fn coarse_operations(shape: &Shape, poses: usize) -> f64 {
    // A complex product of which the real part is wanted, for every translation, and a real one.
    poses as f64 * (4 * shape.translations + 2) as f64 * shape.coarse_pixels as f64
}

/// Seconds since `begin`, which becomes now.
pub fn lap(begin: &mut Instant) -> f64 {
    let now = Instant::now();
    (now - std::mem::replace(begin, now)).as_secs_f64()
}
