//! The scalar of the engine: `f32` or `f64`.
#![allow(unsafe_code)]

use super::Coefficients;
use super::Isa;
use super::kernel;

/// A real number the products are compiled for.
pub trait Scalar:
    Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + Into<f64>
    + 'static
{
    /// Values of one vector; rows are padded to multiples of it.
    const LANES: usize;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    /// e^x for x in (-40, 0], within 2 units in the last place; the same bits on every machine.
    fn exp(self) -> Self;

    #[doc(hidden)]
    /// # Safety
    /// Sizes as the function of this name in the room checks them.
    unsafe fn dot(isa: Isa, a: &[Self], a_rows: usize, length: usize, columns: &[&[Self]], out: &mut [Self]);
    #[doc(hidden)]
    /// # Safety
    /// Sizes as the function of this name in the room checks them.
    unsafe fn wide_dot(isa: Isa, rows: &[Self], length: usize, columns: &[&[Self]], out: &mut [Self]);
    #[doc(hidden)]
    /// # Safety
    /// Sizes as the function of this name in the room checks them.
    unsafe fn combine(
        isa: Isa,
        coefficients: Coefficients<'_, Self>,
        terms: &[&[Self]],
        rows: usize,
        length: usize,
        out: &mut [Self],
    );
}

/// e^x = 2^n e^r with n the integer nearest to x / ln 2: `r` loses nothing, as ln 2 comes in two parts of which `n`
/// times the first is exact. The series of e^r, |r| <= 0.35, ends where its terms fall below the rounding error.
macro_rules! exponential {
    ($x:expr, $type:ty, $magic:expr, $ln2:expr, $bias:expr, $mantissa:expr, [$($inverse_factorial:expr),*]) => {{
        const MAGIC: $type = $magic;
        let rounded = $x * std::f64::consts::LOG2_E as $type + MAGIC;
        let n = rounded - MAGIC;
        let r = ($x - n * $ln2[0]) - n * $ln2[1];
        let mut sum: $type = 0.0;
        $(sum = sum * r + (1.0_f64 / $inverse_factorial) as $type;)*
        let exponent = rounded.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add($bias);
        sum * <$type>::from_bits(exponent << $mantissa)
    }};
}

macro_rules! scalar {
    ($type:ty, $lanes:expr, $exponential:expr, $avx512:ident, $avx2:ident, $portable:ident) => {
        impl Scalar for $type {
            const LANES: usize = $lanes;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn exp(self) -> Self {
                $exponential(self)
            }

            unsafe fn dot(isa: Isa, a: &[Self], a_rows: usize, length: usize, columns: &[&[Self]], out: &mut [Self]) {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => kernel::$avx512::dot(a, a_rows, length, columns, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => kernel::$avx2::dot(a, a_rows, length, columns, out),
                    _ => kernel::$portable::dot(a, a_rows, length, columns, out),
                }
            }

            unsafe fn wide_dot(isa: Isa, rows: &[Self], length: usize, columns: &[&[Self]], out: &mut [Self]) {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => kernel::$avx512::wide_dot(rows, length, columns, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => kernel::$avx2::wide_dot(rows, length, columns, out),
                    _ => kernel::$portable::wide_dot(rows, length, columns, out),
                }
            }

            unsafe fn combine(
                isa: Isa,
                coefficients: Coefficients<'_, Self>,
                terms: &[&[Self]],
                rows: usize,
                length: usize,
                out: &mut [Self],
            ) {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => kernel::$avx512::combine(coefficients, terms, rows, length, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => kernel::$avx2::combine(coefficients, terms, rows, length, out),
                    _ => kernel::$portable::combine(coefficients, terms, rows, length, out),
                }
            }
        }
    };
}

#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    exponential!(x, f32, 12_582_912.0, LN2, 127, 23, [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0])
}

#[inline(always)]
fn exp_f64(x: f64) -> f64 {
    const LN2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
    #[rustfmt::skip]
    let e = exponential!(x, f64, 6_755_399_441_055_744.0, LN2, 1023, 52, [
        6_227_020_800.0, 479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0,
        5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0
    ]);
    e
}

scalar!(f32, 16, exp_f32, avx512_f32, avx2_f32, portable_f32);
scalar!(f64, 8, exp_f64, avx512_f64, avx2_f64, portable_f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_two_units_in_the_last_place() {
        for i in 0..400_000 {
            let x = -f64::from(i) * 1e-4;
            let narrow = f64::from(x as f32);
            let error = (f64::from(Scalar::exp(x as f32)) / narrow.exp() - 1.0).abs();
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({narrow}) is off by {error:e}");
            let error = (Scalar::exp(x) / x.exp() - 1.0).abs();
            assert!(error < 2.0 * f64::EPSILON, "exp({x}) is off by {error:e}");
        }
        assert_eq!((Scalar::exp(0.0_f32), Scalar::exp(0.0_f64)), (1.0, 1.0));
    }
}
