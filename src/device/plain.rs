//! Values that travel to a device and back as their bytes, and the calls that take them.

use std::mem::MaybeUninit;

use num_complex::Complex;

use crate::error::Result;

use super::Driver;
use super::Grid;
use super::Stream;

/// A value without padding, for which any bytes are a value.
///
/// # Safety
/// Both must be true.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

macro_rules! plain {
    ($($number:ty),*) => {
        // SAFETY: numbers have no padding, and any bytes are a number.
        $(unsafe impl Plain for $number {})*
    };
}

plain!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

// SAFETY: two numbers behind each other.
unsafe impl<T: Plain> Plain for Complex<T> {}
// SAFETY: values behind each other, each without padding.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

pub fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: the bytes of the slice, all of which are initialised: `Plain` has no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

pub fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and any bytes are values of `T`.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// Starts a kernel with its struct of arguments, `repr(C)` as in `kernels/`. An empty grid is no launch.
pub fn launch<A: Copy>(
    driver: &dyn Driver,
    stream: Stream,
    kernel: &'static str,
    grid: Grid,
    arguments: &A,
) -> Result<()> {
    if grid.is_empty() {
        return Ok(());
    }
    // SAFETY: the bytes of one value; padding may be uninitialised, which the type says.
    let bytes =
        unsafe { std::slice::from_raw_parts((&raw const *arguments).cast::<MaybeUninit<u8>>(), size_of::<A>()) };
    driver.launch(stream, kernel, grid, bytes)
}

/// [`Driver::upload`] of values.
pub fn upload<T: Plain>(driver: &dyn Driver, stream: Stream, to: u64, from: &[T]) -> Result<()> {
    driver.upload(stream, to, bytes_of(from))
}

/// [`Driver::download`] of values.
pub fn download<T: Plain>(driver: &dyn Driver, stream: Stream, from: u64, to: &mut [T]) -> Result<()> {
    driver.download(stream, from, bytes_of_mut(to))
}
