//! Vectors as arrays; the compiler vectorises what it can.

use super::Vector;

/// `N` values of `T`.
#[derive(Clone, Copy)]
pub struct Lanes<T, const N: usize>([T; N]);

macro_rules! lanes {
    ($t:ty, $n:literal) => {
        impl Vector for Lanes<$t, $n> {
            type T = $t;
            const LANES: usize = $n;

            #[inline(always)]
            fn zero() -> Self {
                Self([0.0; $n])
            }

            #[inline(always)]
            fn splat(x: $t) -> Self {
                Self([x; $n])
            }

            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self {
                // SAFETY: the caller promises LANES readable values; arrays of T have T's alignment.
                Self(unsafe { *p.cast::<[$t; $n]>() })
            }

            #[inline(always)]
            unsafe fn store(self, p: *mut $t) {
                // SAFETY: as for `load`.
                unsafe { *p.cast::<[$t; $n]>() = self.0 }
            }

            #[inline(always)]
            fn fma(self, a: Self, b: Self) -> Self {
                Self(std::array::from_fn(|i| a.0[i].mul_add(b.0[i], self.0[i])))
            }

            #[inline(always)]
            fn sum(self) -> $t {
                let mut v = self.0;
                let mut half = $n / 2;
                while half > 0 {
                    for i in 0..half {
                        v[i] += v[i + half];
                    }
                    half /= 2;
                }
                v[0]
            }
        }
    };
}

lanes!(f32, 16);
lanes!(f64, 8);
