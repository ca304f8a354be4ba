//! The scalar of the product engine.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;

use crate::arena::Plain;
use crate::device;
use crate::fourier;
use crate::product;
use crate::weights::Cell;

/// `f32` (`precision = single`) or `f64` (`precision = double`).
pub trait Scalar: product::Scalar + fourier::Real + Plain + device::Plain {
    /// A shared place for one value.
    type Cell: Cell<Value = Self> + Plain;
    /// What kernels are compiled for.
    const PRECISION: device::Precision;
    /// Bits of the mantissa.
    const DIGITS: u32;
    const INFINITY: Self;
}

impl Scalar for f32 {
    type Cell = AtomicU32;
    const PRECISION: device::Precision = device::Precision::Single;
    const DIGITS: u32 = f32::MANTISSA_DIGITS;
    const INFINITY: Self = f32::INFINITY;
}

impl Scalar for f64 {
    type Cell = AtomicU64;
    const PRECISION: device::Precision = device::Precision::Double;
    const DIGITS: u32 = f64::MANTISSA_DIGITS;
    const INFINITY: Self = f64::INFINITY;
}
