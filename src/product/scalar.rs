//! The scalar of the engine: `f32` or `f64`.

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
    + 'static
{
    /// Values of one vector; rows are padded to multiples of it.
    const LANES: usize;
    /// Name in plans and reports.
    const NAME: &'static str;

    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;

    #[doc(hidden)]
    fn dot(isa: Isa, a: &[Self], a_rows: usize, length: usize, columns: &[&[Self]], out: &mut [Self]);
    #[doc(hidden)]
    fn combine(
        isa: Isa,
        coefficients: Coefficients<'_, Self>,
        terms: &[&[Self]],
        rows: usize,
        length: usize,
        out: &mut [Self],
    );
}

macro_rules! scalar {
    ($type:ty, $lanes:expr, $name:expr, $avx512:ident, $avx2:ident, $portable:ident) => {
        impl Scalar for $type {
            const LANES: usize = $lanes;
            const NAME: &'static str = $name;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn dot(isa: Isa, a: &[Self], a_rows: usize, length: usize, columns: &[&[Self]], out: &mut [Self]) {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => kernel::$avx512::dot(a, a_rows, length, columns, out),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => kernel::$avx2::dot(a, a_rows, length, columns, out),
                    _ => kernel::$portable::dot(a, a_rows, length, columns, out),
                }
            }

            fn combine(
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

scalar!(f32, 16, "single", avx512_f32, avx2_f32, portable_f32);
scalar!(f64, 8, "double", avx512_f64, avx2_f64, portable_f64);
