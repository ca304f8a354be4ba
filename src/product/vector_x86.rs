//! Vectors of AVX-512 and AVX2. Lane sums add halves until one value is left, as the portable form does.

use std::arch::x86_64::*;

use super::Vector;

#[derive(Clone, Copy)]
pub struct V512f32(__m512);
#[derive(Clone, Copy)]
pub struct V512f64(__m512d);
#[derive(Clone, Copy)]
pub struct V256f32(__m256, __m256);
#[derive(Clone, Copy)]
pub struct V256f64(__m256d, __m256d);

// SAFETY (all blocks below): vectors are made only inside kernels entered through functions with the
// instruction set enabled (`entry!`), and pointers are promised by the callers of `load` and `store`.

#[inline(always)]
fn sum_256f32(v: __m256) -> f32 {
    // SAFETY: see the top of the file.
    unsafe {
        let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
    }
}

#[inline(always)]
fn sum_256f64(v: __m256d) -> f64 {
    // SAFETY: see the top of the file.
    unsafe {
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd::<1>(v));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    }
}

impl Vector for V512f32 {
    type T = f32;
    const LANES: usize = 16;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_setzero_ps() })
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: see the top of the file.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see the top of the file.
        sum_256f32(unsafe { _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0)) })
    }
    #[inline(always)]
    fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
        // SAFETY: see the top of the file.
        unsafe {
            // Halves of two vectors side by side, then quarters of four, then the tree within each quarter.
            let halves = |a, b| {
                _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
            };
            let (ab, cd) = (halves(a.0, b.0), halves(c.0, d.0));
            let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
            let v = _mm512_add_ps(even, _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd));
            let v = _mm512_add_ps(v, _mm512_permute_ps::<0b01_00_11_10>(v));
            let v = _mm512_add_ps(v, _mm512_permute_ps::<0b10_11_00_01>(v));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, v)));
            sums
        }
    }
}

impl Vector for V512f64 {
    type T = f64;
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_setzero_pd() })
    }
    #[inline(always)]
    fn splat(x: f64) -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_set1_pd(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_loadu_pd(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: see the top of the file.
        unsafe { _mm512_storeu_pd(p, self.0) }
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the top of the file.
        Self(unsafe { _mm512_fmadd_pd(a.0, b.0, self.0) })
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: see the top of the file.
        sum_256f64(unsafe { _mm256_add_pd(_mm512_castpd512_pd256(self.0), _mm512_extractf64x4_pd::<1>(self.0)) })
    }
}

impl Vector for V256f32 {
    type T = f32;
    const LANES: usize = 16;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }
    #[inline(always)]
    fn splat(x: f32) -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: see the top of the file.
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: see the top of the file.
        sum_256f32(unsafe { _mm256_add_ps(self.0, self.1) })
    }
}

impl Vector for V256f64 {
    type T = f64;
    const LANES: usize = 8;

    #[inline(always)]
    fn zero() -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_setzero_pd(), _mm256_setzero_pd()) }
    }
    #[inline(always)]
    fn splat(x: f64) -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_set1_pd(x), _mm256_set1_pd(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_loadu_pd(p), _mm256_loadu_pd(p.add(4))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: see the top of the file.
        unsafe {
            _mm256_storeu_pd(p, self.0);
            _mm256_storeu_pd(p.add(4), self.1);
        }
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // SAFETY: see the top of the file.
        unsafe { Self(_mm256_fmadd_pd(a.0, b.0, self.0), _mm256_fmadd_pd(a.1, b.1, self.1)) }
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: see the top of the file.
        sum_256f64(unsafe { _mm256_add_pd(self.0, self.1) })
    }
}
