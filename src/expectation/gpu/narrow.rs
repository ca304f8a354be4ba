//! Rows for the form that takes FP16: times a power of two that lets the largest value fit.

use crate::device;
use crate::device::Driver;
use crate::device::Grid;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;

/// The largest value becomes at most this; FP16 ends at 65504, and below 2^-14 it loses bits.
const LARGEST_EXPONENT: i32 = 15;
/// Magnitudes beyond so many powers of two are no images.
const LARGEST_SCALE: i32 = 100;
const THREADS: u32 = 256;
/// Blocks that fill any processor; a thread takes the values in turns.
const BLOCKS: u32 = 1024;

#[repr(C)]
#[derive(Clone, Copy)]
struct LargestArguments {
    values: u64,
    count: u64,
    bits: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct NarrowArguments {
    values: u64,
    narrow: u64,
    count: u64,
    scale: f64,
}

/// Puts the bits of the largest magnitude of `count` reals, as an f32, to the four bytes at `bits`.
///
/// # Errors
/// The driver's.
pub fn launch_largest(driver: &dyn Driver, values: u64, count: u64, bits: u64) -> Result<()> {
    driver.zero(Stream::Compute, bits, size_of::<u32>())?;
    let blocks = count.div_ceil(u64::from(THREADS)).min(u64::from(BLOCKS)) as u32;
    let grid = Grid { blocks: [blocks, 1, 1], threads: [THREADS, 1, 1], shared_bytes: 0 };
    device::launch(driver, Stream::Compute, "largest", grid, &LargestArguments { values, count, bits })
}

/// The power of two for values whose largest magnitude has these bits.
///
/// # Errors
/// `Internal` where a value is no number: images and references with such values are refused long before.
pub fn scale_to_fit(largest_bits: u32) -> Result<f64> {
    let largest = f64::from(f32::from_bits(largest_bits));
    if !largest.is_finite() {
        return Err(Error::internal(format!("a row for the coarse pass holds {largest}")));
    }
    if largest == 0.0 {
        return Ok(1.0);
    }
    let exponent = LARGEST_EXPONENT - largest.log2().ceil() as i32;
    Ok(2f64.powi(exponent.clamp(-LARGEST_SCALE, LARGEST_SCALE)))
}

/// FP16 copies of `count` reals, times `scale`, to `narrow`.
///
/// # Errors
/// The driver's.
pub fn launch_narrow(driver: &dyn Driver, values: u64, count: u64, scale: f64, narrow: u64) -> Result<()> {
    let grid = Grid::over(count as usize, THREADS);
    device::launch(driver, Stream::Compute, "narrow", grid, &NarrowArguments { values, narrow, count, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_fits_and_is_not_small() {
        for value in [1e-20_f32, 0.3, 1.0, 1.5, 2.0, 65504.0, 3e9] {
            let scale = scale_to_fit(value.to_bits()).unwrap();
            let scaled = f64::from(value) * scale;
            assert!(scaled <= 32768.0 && scaled > 16383.0, "{value}: {scaled}");
            assert_eq!(scale.log2().fract(), 0.0);
        }
        assert_eq!(scale_to_fit(0).unwrap(), 1.0);
        assert!(scale_to_fit(f32::NAN.to_bits()).is_err());
        assert!(scale_to_fit(f32::INFINITY.to_bits()).is_err());
    }
}
