//! The forms in which a device makes the coarse pass's products, and what each of them costs in accuracy.

use crate::device::Precision;
use crate::error::Error;
use crate::error::Result;

/// How the products of projections with shifted images are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A block of threads a projection and an image, through the cache: RELION 2's way.
    Direct,
    /// Tiles of 32 x 32 in shared memory.
    Tile,
    /// A matrix product from registers.
    Product,
    /// Matrix units: factors rounded to TF32.
    Tf32,
    /// Matrix units: factors rounded to FP16, sums in FP32.
    Fp16,
    /// Matrix units: each factor in two numbers of TF32, three products.
    ThreeTf32,
}

/// The first architecture whose matrix units take TF32 and whose copies need no registers.
const MATRIX_UNITS: (u32, u32) = (8, 0);
/// Significance is widened by so many times the error's rms.
const WIDENING: f64 = 4.0;

impl Form {
    pub const ALL: [Self; 6] = [Self::Direct, Self::Tile, Self::Product, Self::Tf32, Self::Fp16, Self::ThreeTf32];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tile => "tile",
            Self::Product => "product",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
            Self::ThreeTf32 => "3xtf32",
        }
    }

    /// # Errors
    /// `Usage` for a name that is none.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|form| form.name()).collect();
            Error::usage(format!("no form of the coarse pass is called `{name}`"), format!("Use {}.", names.join(", ")))
        })
    }

    pub fn needs_matrix_units(self) -> bool {
        matches!(self, Self::Tf32 | Self::Fp16 | Self::ThreeTf32)
    }

    /// Takes FP16 copies of rows and columns.
    pub fn is_narrow(self) -> bool {
        self == Self::Fp16
    }

    /// Whether a device of this compute capability (0.0: the twin on the CPU, which does all) has the form.
    pub fn available(self, capability: (u32, u32), precision: Precision) -> bool {
        let has_units = capability == (0, 0) || capability >= MATRIX_UNITS;
        !self.needs_matrix_units() || (has_units && precision == Precision::Single)
    }

    /// As exact as its precision: squared differences within `1e-3 + 2e-6 (|term 1| + |term 2|)` in single.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::Tf32 | Self::Fp16)
    }

    /// The exact form to use where none is asked for. Three products of TF32 beat one of FP32 on the processors of
    /// data centres (8.0, 9.0, 10.0: TF32 at eight times the rate of FP32 by their data sheets); on the others
    /// TF32 is no more than twice as fast.
    pub fn fastest_exact(capability: (u32, u32), precision: Precision) -> Self {
        let many_units = matches!(capability, (8, 0) | (9, 0) | (10, 0));
        if many_units && precision == Precision::Single { Self::ThreeTf32 } else { Self::Product }
    }

    /// Error of a product `sum a_k b_k`, rms, over `sqrt(sum (a_k b_k)^2)`.
    ///
    /// Rounding to 11 bits errs by 2^-12 to 2^-11 at most, 2.1e-4 rms over evenly spread logarithms; two factors make
    /// 2.9e-4, and 4e-4 where the few terms that count lie just above a power of two. The exact forms only round sums:
    /// a few units in the last place over thousands of terms. The tests measure all of them.
    pub fn relative_rms(self, precision: Precision) -> f64 {
        match (self, precision) {
            (Self::Tf32 | Self::Fp16, _) => 4e-4,
            (_, Precision::Single) => 2e-6,
            (_, Precision::Double) => 4e-15,
        }
    }

    /// What is added to the exponent at which a coarse sample stops being significant: four times the rms of its energy's
    /// error. `spread` is the sample's (`coarse_spread`): the root of the sum of its product's squared terms. None
    /// for exact forms, whose errors are those of the precision that was asked for.
    pub fn widening(self, precision: Precision, spread: f64) -> f64 {
        if self.is_exact() { 0.0 } else { WIDENING * self.relative_rms(precision) * spread }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_a_name() {
        for form in Form::ALL {
            assert_eq!(Form::parse(form.name()).unwrap(), form);
        }
        assert!(Form::parse("int8").unwrap_err().fix.contains("3xtf32"));
    }

    #[test]
    fn matrix_units_come_with_8_0_and_take_no_doubles() {
        for form in [Form::Tf32, Form::Fp16, Form::ThreeTf32] {
            assert!(!form.available((7, 5), Precision::Single));
            assert!(form.available((8, 0), Precision::Single));
            assert!(form.available((0, 0), Precision::Single));
            assert!(!form.available((9, 0), Precision::Double));
        }
        for form in [Form::Direct, Form::Tile, Form::Product] {
            assert!(form.available((7, 0), Precision::Double));
        }
    }

    #[test]
    fn the_usual_form_is_exact_and_there() {
        for capability in [(0, 0), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)] {
            for precision in [Precision::Single, Precision::Double] {
                let form = Form::fastest_exact(capability, precision);
                assert!(form.is_exact() && form.available(capability, precision));
            }
        }
    }

    #[test]
    fn only_rounded_factors_widen() {
        assert_eq!(Form::ThreeTf32.widening(Precision::Single, 1e4), 0.0);
        let widened = Form::Tf32.widening(Precision::Single, 20.0);
        assert!((0.03..0.035).contains(&widened), "{widened}");
    }
}
