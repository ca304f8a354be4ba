//! The micro-kernels: one generic body, instantiated for each instruction set and scalar.
#![allow(unsafe_code)]

use super::CHAIN;
use super::CUT;
use super::Coefficients;
use super::WIDE;

/// One vector of `LANES` values, in as many registers as the instruction set needs.
trait Vector: Copy {
    type T: Copy + std::ops::Add<Output = Self::T>;
    const LANES: usize;

    fn zero() -> Self;
    fn splat(x: Self::T) -> Self;
    /// # Safety
    /// `p` points to `LANES` readable values.
    unsafe fn load(p: *const Self::T) -> Self;
    /// # Safety
    /// `p` points to `LANES` writable values.
    unsafe fn store(self, p: *mut Self::T);
    /// `self + a * b`, rounded once.
    fn fma(self, a: Self, b: Self) -> Self;
    /// Sum of all lanes: halves added until one value is left.
    fn sum(self) -> Self::T;
    /// The sums of four vectors, each as [`Vector::sum`] makes it.
    #[inline(always)]
    fn sums(vectors: [Self; 4]) -> [Self::T; 4] {
        vectors.map(Self::sum)
    }
}

/// Tile of `A x B` accumulators over one cut of the length; adds to or sets `out[b][a]`.
///
/// # Safety
/// All pointers hold `cut` values, `cut` is a multiple of the lanes, and the instruction set of `V` is present.
#[inline(always)]
unsafe fn dot_tile<V: Vector, const A: usize, const B: usize>(
    a: [*const V::T; A],
    b: [*const V::T; B],
    cut: usize,
    out: [*mut V::T; B],
    first: bool,
) {
    let mut sums = [[V::zero(); A]; B];
    let mut k = 0;
    while k < cut {
        // SAFETY: k + LANES <= cut, and every pointer holds `cut` values.
        let rows: [V; A] = std::array::from_fn(|i| unsafe { V::load(a[i].add(k)) });
        for j in 0..B {
            // SAFETY: as above.
            let column = unsafe { V::load(b[j].add(k)) };
            for i in 0..A {
                sums[j][i] = sums[j][i].fma(rows[i], column);
            }
        }
        k += V::LANES;
    }
    for j in 0..B {
        for start in (0..A).step_by(4) {
            let count = 4.min(A - start);
            let vectors = std::array::from_fn(|i| sums[j][start + i.min(count - 1)]);
            let sums = if count == 4 { V::sums(vectors) } else { vectors.map(V::sum) };
            for (i, sum) in sums.into_iter().enumerate().take(count) {
                // SAFETY: `out[j]` holds A values.
                unsafe {
                    let place = out[j].add(start + i);
                    *place = if first { sum } else { *place + sum };
                }
            }
        }
    }
}

/// All rows of `a` against `B` columns.
///
/// # Safety
/// As [`dot_tile`]; `out` holds `B` runs of `a_rows` values.
#[inline(always)]
unsafe fn dot_columns<V: Vector, const A: usize, const B: usize>(
    a: &[V::T],
    a_rows: usize,
    length: usize,
    columns: [*const V::T; B],
    out: *mut V::T,
) {
    let mut start = 0;
    while start < length {
        let cut = CUT.min(length - start);
        // SAFETY: offsets stay inside the slices checked by `product::dot`.
        unsafe {
            let b: [*const V::T; B] = std::array::from_fn(|j| columns[j].add(start));
            let mut row = 0;
            while row + A <= a_rows {
                let rows = std::array::from_fn(|i| a.as_ptr().add((row + i) * length + start));
                let places = std::array::from_fn(|j| out.add(j * a_rows + row));
                dot_tile::<V, A, B>(rows, b, cut, places, start == 0);
                row += A;
            }
            while row < a_rows {
                let places = std::array::from_fn(|j| out.add(j * a_rows + row));
                dot_tile::<V, 1, B>([a.as_ptr().add(row * length + start)], b, cut, places, start == 0);
                row += 1;
            }
        }
        start += cut;
    }
}

/// # Safety
/// Sizes as checked by [`super::dot`]; the instruction set of `V` is present.
#[inline(always)]
unsafe fn dot_all<V: Vector, const A: usize, const B: usize>(
    a: &[V::T],
    a_rows: usize,
    length: usize,
    columns: &[&[V::T]],
    out: &mut [V::T],
) {
    let mut j = 0;
    while j + B <= columns.len() {
        let b = std::array::from_fn(|i| columns[j + i].as_ptr());
        // SAFETY: sizes were checked by the caller.
        unsafe { dot_columns::<V, A, B>(a, a_rows, length, b, out.as_mut_ptr().add(j * a_rows)) };
        j += B;
    }
    while j < columns.len() {
        // SAFETY: sizes were checked by the caller.
        unsafe { dot_columns::<V, A, 1>(a, a_rows, length, [columns[j].as_ptr()], out.as_mut_ptr().add(j * a_rows)) };
        j += 1;
    }
}

/// `R` rows of `out`, `K` vectors wide, from all terms.
///
/// # Safety
/// `k + K * LANES <= length`; sizes as checked by [`super::combine`]; the instruction set of `V` is present.
#[inline(always)]
unsafe fn combine_tile<V: Vector, const R: usize, const K: usize>(
    coefficients: Coefficients<'_, V::T>,
    terms: &[&[V::T]],
    row: usize,
    k: usize,
    length: usize,
    out: *mut V::T,
) {
    let mut sums = [[V::zero(); K]; R];
    for (j, term) in terms.iter().enumerate() {
        // SAFETY: k + K * LANES <= length <= term.len().
        let values: [V; K] = std::array::from_fn(|i| unsafe { V::load(term.as_ptr().add(k + i * V::LANES)) });
        for r in 0..R {
            let at = j * coefficients.stride_term + (row + r) * coefficients.stride_row;
            // SAFETY: the last coefficient was checked to exist.
            let c = V::splat(unsafe { *coefficients.values.get_unchecked(at) });
            for i in 0..K {
                sums[r][i] = sums[r][i].fma(c, values[i]);
            }
        }
    }
    for r in 0..R {
        for i in 0..K {
            // SAFETY: row + r < rows and the vector lies inside the row.
            unsafe { sums[r][i].store(out.add((row + r) * length + k + i * V::LANES)) };
        }
    }
}

/// # Safety
/// Sizes as checked by [`super::combine`]; the instruction set of `V` is present.
#[inline(always)]
unsafe fn combine_all<V: Vector, const R: usize, const K: usize>(
    coefficients: Coefficients<'_, V::T>,
    terms: &[&[V::T]],
    rows: usize,
    length: usize,
    out: &mut [V::T],
) {
    let out = out.as_mut_ptr();
    let mut k = 0;
    while k < length {
        let wide = k + K * V::LANES <= length;
        let mut row = 0;
        while row < rows {
            let tall = row + R <= rows;
            // SAFETY: the tile chosen fits into what is left of rows and length.
            unsafe {
                match (tall, wide) {
                    (true, true) => combine_tile::<V, R, K>(coefficients, terms, row, k, length, out),
                    (true, false) => combine_tile::<V, R, 1>(coefficients, terms, row, k, length, out),
                    (false, true) => combine_tile::<V, 1, K>(coefficients, terms, row, k, length, out),
                    (false, false) => combine_tile::<V, 1, 1>(coefficients, terms, row, k, length, out),
                }
            }
            row += if tall { R } else { 1 };
        }
        k += if wide { K * V::LANES } else { V::LANES };
    }
}

/// All [`WIDE`] rows against `B` columns; `W` vectors hold a value of every row.
///
/// # Safety
/// `rows` holds `length` groups of [`WIDE`] values, every column `length` values, `out` `B` groups; `W` times the lanes is
/// [`WIDE`] and the instruction set of `V` is present.
#[inline(always)]
unsafe fn wide_tile<V: Vector, const W: usize, const B: usize>(
    rows: *const V::T,
    length: usize,
    columns: [*const V::T; B],
    one: V,
    out: *mut V::T,
) {
    let mut start = 0;
    while start < length {
        let end = length.min(start + CUT);
        let mut totals = [[V::zero(); W]; B];
        let mut k = start;
        while k < end {
            let stop = end.min(k + CHAIN);
            let mut sums = [[V::zero(); W]; B];
            while k < stop {
                // SAFETY: k < length.
                let values: [V; W] = std::array::from_fn(|w| unsafe { V::load(rows.add(k * WIDE + w * V::LANES)) });
                for b in 0..B {
                    // SAFETY: as above.
                    let c = V::splat(unsafe { *columns[b].add(k) });
                    for w in 0..W {
                        sums[b][w] = sums[b][w].fma(values[w], c);
                    }
                }
                k += 1;
            }
            for b in 0..B {
                for w in 0..W {
                    totals[b][w] = totals[b][w].fma(sums[b][w], one);
                }
            }
        }
        for b in 0..B {
            for w in 0..W {
                // SAFETY: `out` holds B groups.
                unsafe {
                    let place = out.add(b * WIDE + w * V::LANES);
                    let before = if start == 0 { V::zero() } else { V::load(place) };
                    before.fma(totals[b][w], one).store(place);
                }
            }
        }
        start = end;
    }
}

/// # Safety
/// Sizes as checked by [`super::wide_dot`]; the instruction set of `V` is present.
#[inline(always)]
unsafe fn wide_all<V: Vector, const W: usize, const B: usize>(
    rows: &[V::T],
    length: usize,
    columns: &[&[V::T]],
    one: V::T,
    out: &mut [V::T],
) {
    let (rows, out, one) = (rows.as_ptr(), out.as_mut_ptr(), V::splat(one));
    let mut j = 0;
    while j < columns.len() {
        // SAFETY: the sizes were checked by the caller.
        unsafe {
            let place = out.add(j * WIDE);
            if j + B <= columns.len() {
                let tile = std::array::from_fn(|i| columns[j + i].as_ptr());
                wide_tile::<V, W, B>(rows, length, tile, one, place);
                j += B;
            } else {
                wide_tile::<V, W, 1>(rows, length, [columns[j].as_ptr()], one, place);
                j += 1;
            }
        }
    }
}

/// Entry points of one instruction set and scalar. `$a` to `$k` are the tile sizes that fill its registers; `$w` vectors
/// hold [`WIDE`] values.
macro_rules! entry {
    ($module:ident, $vector:ty, $t:ty, [$a:literal, $b:literal], [$r:literal, $k:literal],
     [$w:literal, $c:literal] $(, $features:literal)?) => {
        pub(super) mod $module {
            use super::*;

            pub fn dot(a: &[$t], a_rows: usize, length: usize, columns: &[&[$t]], out: &mut [$t]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(a: &[$t], a_rows: usize, length: usize, columns: &[&[$t]], out: &mut [$t]) {
                    // SAFETY: sizes were checked by `product::dot`.
                    unsafe { dot_all::<$vector, $a, $b>(a, a_rows, length, columns, out) }
                }
                // SAFETY: `Isa` values exist only for sets this processor has.
                unsafe { inner(a, a_rows, length, columns, out) }
            }

            pub fn wide_dot(rows: &[$t], length: usize, columns: &[&[$t]], out: &mut [$t]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(rows: &[$t], length: usize, columns: &[&[$t]], out: &mut [$t]) {
                    // SAFETY: sizes were checked by `product::wide_dot`.
                    unsafe { wide_all::<$vector, $w, $c>(rows, length, columns, 1.0, out) }
                }
                // SAFETY: `Isa` values exist only for sets this processor has.
                unsafe { inner(rows, length, columns, out) }
            }

            pub fn combine(c: Coefficients<'_, $t>, terms: &[&[$t]], rows: usize, length: usize, out: &mut [$t]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn inner(c: Coefficients<'_, $t>, terms: &[&[$t]], rows: usize, length: usize, out: &mut [$t]) {
                    // SAFETY: sizes were checked by `product::combine`.
                    unsafe { combine_all::<$vector, $r, $k>(c, terms, rows, length, out) }
                }
                // SAFETY: `Isa` values exist only for sets this processor has.
                unsafe { inner(c, terms, rows, length, out) }
            }
        }
    };
}

#[path = "vector_portable.rs"]
mod vector_portable;
#[cfg(target_arch = "x86_64")]
#[path = "vector_x86.rs"]
mod vector_x86;

entry!(portable_f32, super::vector_portable::Lanes<f32, 16>, f32, [2, 2], [4, 1], [2, 2]);
entry!(portable_f64, super::vector_portable::Lanes<f64, 8>, f64, [2, 2], [4, 1], [4, 1]);
#[cfg(target_arch = "x86_64")]
entry!(avx512_f32, super::vector_x86::V512f32, f32, [4, 6], [8, 3], [2, 12], "avx512f,avx512dq,fma,avx2");
#[cfg(target_arch = "x86_64")]
entry!(avx512_f64, super::vector_x86::V512f64, f64, [4, 6], [8, 3], [4, 6], "avx512f,avx512dq,fma,avx2");
#[cfg(target_arch = "x86_64")]
entry!(avx2_f32, super::vector_x86::V256f32, f32, [2, 2], [4, 1], [2, 3], "fma,avx2");
#[cfg(target_arch = "x86_64")]
entry!(avx2_f64, super::vector_x86::V256f64, f64, [2, 2], [4, 1], [4, 1], "fma,avx2");
