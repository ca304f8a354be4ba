//! The arithmetic of the E-step's inner loops: matrix products, and slices of volumes.
//!
//! Products are two operations on rows of equal length:
//! - [`dot`]: every row of one set times every row of another, summed over their length.
//! - [`combine`]: linear combinations of rows.
//!
//! A row's length is a multiple of [`Scalar::LANES`] (pad with zeros). Each element of a result is
//! computed from its own operands in one fixed order: [`dot`] runs `LANES` chains of fused
//! multiply-adds, adds them as a fixed tree and cuts the length every [`CUT`] values; [`combine`]
//! runs one chain over its terms. Neighbours never enter, so the bits do not depend on an
//! element's position, on how many rows a call has, or on how calls are spread over threads.
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

/// Rounds a row length up to whole vectors of `T`.
pub fn padded<T: Scalar>(length: usize) -> usize {
    length.next_multiple_of(T::LANES)
}

/// `out[b * a_rows + a] = sum_k a[a * length + k] * columns[b][k]`.
///
/// `a` holds `a_rows` rows of `length` values; every column holds at least `length` values.
/// `length` is a multiple of `T::LANES`.
pub fn dot<T: Scalar>(isa: Isa, a: &[T], a_rows: usize, length: usize, columns: &[&[T]], out: &mut [T]) {
    assert!(length.is_multiple_of(T::LANES), "row length {length} is not a whole number of vectors");
    assert!(a.len() >= a_rows * length, "fewer rows than announced");
    assert!(columns.iter().all(|c| c.len() >= length), "a column is shorter than the rows");
    assert!(out.len() >= columns.len() * a_rows, "the output is too short");
    T::dot(isa, a, a_rows, length, columns, out);
}

/// `out[r * length + k] = sum_j coefficients[j * stride_term + r * stride_row] * terms[j][k]`, j ascending.
///
/// `out` holds `rows` rows of `length` values and is overwritten. `length` is a multiple of `T::LANES`.
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
    T::combine(isa, coefficients, terms, rows, length, out);
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
