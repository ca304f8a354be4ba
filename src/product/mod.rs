//! The arithmetic of the E-step's inner loops: matrix products, and slices of volumes.
//!
//! Products are three operations on rows of equal length:
//! - [`dot`]: every row of one set times every row of another, summed over their length.
//! - [`wide_dot`]: the same for exactly [`WIDE`] rows that lie side by side: faster where they meet many columns.
//! - [`combine`]: linear combinations of rows.
//!
//! The length of a row of [`dot`] and [`combine`] is a multiple of [`Scalar::LANES`] (pad with zeros). Each element of a
//! result is computed from its own operands in one fixed order: [`dot`] runs `LANES` chains of fused multiply-adds, adds
//! them as a fixed tree and cuts the length every [`CUT`] values; [`wide_dot`] adds up chains of [`CHAIN`] values and cuts
//! alike; [`combine`] runs one chain over its terms. Neighbours never enter, so the bits do not depend on an element's
//! position, on how many rows a call has, or on how calls are spread over threads.
//! Instruction sets with a fused multiply-add give the same bits as each other; the set in use is
//! part of a run's numerical identity all the same.

mod isa;
mod kernel;
mod row;
mod scalar;
mod slice;

pub use isa::Isa;
pub use row::{
    add, add_products, energies, multiply, multiply_add, multiply_conjugate, products, range_sums, squares, weigh,
};
pub use scalar::Scalar;
pub use slice::{Plane, Rows, Voxel, add_slice, read_slice};

/// Values summed in one go before the result is added to the total of a [`dot`].
/// Bounds the rounding error and keeps a tile's rows inside the caches.
pub const CUT: usize = 512;

/// Values of one chain of a [`wide_dot`].
pub const CHAIN: usize = 64;

/// Rows of a [`wide_dot`].
pub const WIDE: usize = 32;

/// Rounds a row length up to whole vectors of `T`.
pub fn padded<T: Scalar>(length: usize) -> usize {
    length.next_multiple_of(T::LANES)
}

/// `out[b * a_rows + a] = sum_k a[a * length + k] * columns[b][k]`.
///
/// `a` holds `a_rows` rows of `length` values; every column holds at least `length` values.
/// `length` is a multiple of `T::LANES`.
#[allow(unsafe_code)]
pub fn dot<T: Scalar>(isa: Isa, a: &[T], a_rows: usize, length: usize, columns: &[&[T]], out: &mut [T]) {
    assert!(length.is_multiple_of(T::LANES), "row length {length} is not a whole number of vectors");
    assert!(a.len() >= a_rows * length, "fewer rows than announced");
    assert!(columns.iter().all(|c| c.len() >= length), "a column is shorter than the rows");
    assert!(out.len() >= columns.len() * a_rows, "the output is too short");
    // SAFETY: the sizes were checked above.
    unsafe { T::dot(isa, a, a_rows, length, columns, out) }
}

/// `out[b * WIDE + a] = sum_k rows[k * WIDE + a] * columns[b][k]`, k below `length`: see [`side_by_side`].
#[allow(unsafe_code)]
pub fn wide_dot<T: Scalar>(isa: Isa, rows: &[T], length: usize, columns: &[&[T]], out: &mut [T]) {
    assert!(rows.len() >= length * WIDE, "fewer rows than announced");
    assert!(columns.iter().all(|c| c.len() >= length), "a column is shorter than the rows");
    assert!(out.len() >= columns.len() * WIDE, "the output is too short");
    // SAFETY: the sizes were checked above.
    unsafe { T::wide_dot(isa, rows, length, columns, out) }
}

/// Puts up to [`WIDE`] rows (`stride` apart) side by side: `out[k * WIDE + a] = rows[a * stride + k]`; zeros where there
/// are fewer.
pub fn side_by_side<T: Scalar>(rows: &[T], stride: usize, length: usize, out: &mut [T]) {
    const PART: usize = 16;
    let count = rows.len().div_ceil(stride).min(WIDE);
    for (part, out) in out[..length * WIDE].chunks_mut(PART * WIDE).enumerate() {
        for a in 0..count {
            let values = &rows[a * stride + part * PART..];
            for (group, value) in out.chunks_exact_mut(WIDE).zip(values) {
                group[a] = *value;
            }
        }
        for group in out.chunks_exact_mut(WIDE) {
            group[count..].fill(T::default());
        }
    }
}

/// `out[r * length + k] = sum_j coefficients[j * stride_term + r * stride_row] * terms[j][k]`, j ascending.
///
/// `out` holds `rows` rows of `length` values and is overwritten. `length` is a multiple of `T::LANES`.
#[allow(unsafe_code)]
pub fn combine<T: Scalar>(
    isa: Isa,
    coefficients: Coefficients<'_, T>,
    terms: &[&[T]],
    rows: usize,
    length: usize,
    out: &mut [T],
) {
    assert!(length.is_multiple_of(T::LANES), "row length {length} is not a whole number of vectors");
    assert!(terms.iter().all(|t| t.len() >= length), "a term is shorter than the rows");
    assert!(out.len() >= rows * length, "the output is too short");
    if let (Some(last_row), Some(last_term)) = (rows.checked_sub(1), terms.len().checked_sub(1)) {
        let last = last_row * coefficients.stride_row + last_term * coefficients.stride_term;
        assert!(last < coefficients.values.len(), "fewer coefficients than rows times terms");
    }
    // SAFETY: the sizes were checked above.
    unsafe { T::combine(isa, coefficients, terms, rows, length, out) }
}

/// A matrix of coefficients addressed as `values[term * stride_term + row * stride_row]`.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients<'a, T> {
    pub values: &'a [T],
    pub stride_row: usize,
    pub stride_term: usize,
}

#[cfg(test)]
mod tests;
