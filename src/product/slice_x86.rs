//! Reading slices with AVX-512. Four pixels at once; every value goes through the operations of the portable form in the
//! same order, so the bits are the same.

use std::any::TypeId;
use std::arch::x86_64::*;

use num_complex::Complex;

use super::{CHUNK, Cells, Plane, Rows, Scalar, read_cells};

/// [`super::read_slice`].
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
pub fn read<T: Scalar>(rows: Rows<'_>, volume: &[Complex<T>], plane: Plane<'_>, out: &mut [T]) {
    let mut cells = Cells::new();
    for ((kx, ky), out) in plane.kx.chunks(CHUNK).zip(plane.ky.chunks(CHUNK)).zip(out.chunks_mut(2 * CHUNK)) {
        cells.locate(rows.edge, &plane.columns, kx, ky);
        let mut done = 0;
        if TypeId::of::<T>() == TypeId::of::<f32>() {
            // SAFETY: T is f32, so these are the types the slices have.
            let volume = unsafe { std::slice::from_raw_parts(volume.as_ptr().cast::<Complex<f32>>(), volume.len()) };
            // SAFETY: as above; the borrow ends before `out` is used again.
            let out = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<f32>(), out.len()) };
            done = kx.len() / 4 * 4;
            read_fours(&cells, rows, volume, &mut out[..2 * done]);
        }
        read_cells(&cells, rows, volume, done..kx.len(), out);
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn read_fours(cells: &Cells, rows: Rows<'_>, volume: &[Complex<f32>], out: &mut [f32]) {
    let mut along = [0.0_f32; CHUNK];
    let mut sign = [0.0_f32; CHUNK];
    let mut across = [[0.0_f32; CHUNK]; 4];
    for i in 0..CHUNK {
        let [fx, fy, fz] = [0, 1, 2].map(|axis: usize| cells.fraction[axis][i] as f32);
        along[i] = fx;
        sign[i] = cells.sign[i] as f32;
        across[0][i] = (1.0 - fy) * (1.0 - fz);
        across[1][i] = fy * (1.0 - fz);
        across[2][i] = (1.0 - fy) * fz;
        across[3][i] = fy * fz;
    }
    let spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    let leading = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    // One number a pixel, in all four lanes of the pixel.
    // SAFETY: `first + 4 <= CHUNK`, as the pixels of `out` are.
    let of_pixels = |numbers: &[f32; CHUNK], first: usize| unsafe {
        _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(_mm_loadu_ps(numbers[first..first + 4].as_ptr())))
    };
    for (four, out) in out.chunks_exact_mut(8).enumerate() {
        let first = 4 * four;
        let corners: [[usize; 4]; 4] = std::array::from_fn(|i| cells.corners(rows, first + i));
        let mut sum = _mm512_setzero_ps();
        for c in 0..4 {
            let pair = |i: usize| {
                let pair: &[Complex<f32>] = &volume[corners[i][c]..corners[i][c] + 2];
                // SAFETY: two complex numbers are four floats.
                unsafe { _mm_loadu_ps(pair.as_ptr().cast()) }
            };
            let values = _mm512_castps128_ps512(pair(0));
            let values = _mm512_insertf32x4::<1>(values, pair(1));
            let values = _mm512_insertf32x4::<2>(values, pair(2));
            let values = _mm512_insertf32x4::<3>(values, pair(3));
            sum = _mm512_add_ps(sum, _mm512_mul_ps(values, of_pixels(&across[c], first)));
        }
        let next = _mm512_permute_ps::<0b11_10_11_10>(sum);
        let value = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_sub_ps(next, sum), of_pixels(&along, first)));
        // Imaginary parts are odd lanes.
        let value = _mm512_mask_mul_ps(value, 0xAAAA, value, of_pixels(&sign, first));
        let value = _mm512_castps512_ps256(_mm512_permutexvar_ps(leading, value));
        // SAFETY: `out` holds eight floats.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), value) };
    }
}
