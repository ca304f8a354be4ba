//! The scalar of the numerical rooms.

use std::iter::Sum;

use realfft::FftNum;
use realfft::num_traits::NumAssign;

/// f32 or f64.
pub trait Real: FftNum + NumAssign + PartialOrd + Default + Sum {
    /// Rounds a double to this precision.
    fn of(x: f64) -> Self;
    /// The same number as a double.
    fn widen(self) -> f64;
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
}
