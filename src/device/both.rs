//! The same tests on the twin and on the first GPU.

use super::Driver;
use super::OnCpu;
use super::Precision;

/// Opens a device. A seed shuffles the twin ([`OnCpu::shuffled`]); a GPU has an order of its own.
pub type Open = fn(Precision, u64) -> Box<dyn Driver>;

pub fn twin(precision: Precision, order: u64) -> Box<dyn Driver> {
    Box::new(OnCpu::open(precision).expect("a compiler").shuffled(order))
}

pub fn gpu(precision: Precision, _: u64) -> Box<dyn Driver> {
    super::open(None, precision).expect("a GPU").0
}

/// Makes two tests of each function, which takes an [`Open`].
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_twin {
            $(#[test]
            fn $name() {
                super::$name($crate::device::both::twin);
            })*
        }

        mod on_gpu {
            $(#[test]
            #[ignore = "needs a GPU"]
            fn $name() {
                super::$name($crate::device::both::gpu);
            })*
        }
    };
}

pub(crate) use on_both;
