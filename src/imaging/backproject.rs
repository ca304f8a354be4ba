//! The exact adjoint of the slice: data and weights of pixels are spread over the oversampled volume.

use num_complex::Complex;

use crate::fourier::Real;
use crate::rotation::Matrix3;

use super::Cell;
use super::Geometry;

/// Calls `add(flat index, weight)` for the eight corners of a cell with their trilinear weights, which sum to one.
#[inline(always)]
pub fn for_each_corner(cell: &Cell, mut add: impl FnMut(usize, f64)) {
    let [fx, fy, fz] = cell.fraction;
    let planes = [(1.0 - fy) * (1.0 - fz), fy * (1.0 - fz), (1.0 - fy) * fz, fy * fz];
    for (corner, share) in cell.corners.into_iter().zip(planes) {
        add(corner, share * (1.0 - fx));
        add(corner + 1, share * fx);
    }
}

/// Adds a slice of data and weights at pixels (kx, ky) to volumes in geometry.rows order.
///
/// Pixels outside the sphere are skipped; a mirrored point receives the conjugate. Points on the plane x = 0 are
/// added on one side only: Friedel mates must be pooled (summed) before the volumes are used.
pub fn insert<T: Real>(
    geometry: &Geometry,
    inverse: &Matrix3,
    (kx, ky): (&[i16], &[i16]),
    (slice, weights): (&[Complex<T>], &[T]),
    data: &mut [Complex<T>],
    weight: &mut [T],
) {
    let len = geometry.rows.len();
    assert!(data.len() == len && weight.len() == len, "volumes of the geometry's size");
    assert!(slice.len() == kx.len() && weights.len() == kx.len(), "one value per pixel");
    geometry.for_each_cell(inverse, kx, ky, |i, cell| {
        let value = if cell.conjugate { slice[i].conj() } else { slice[i] };
        for_each_corner(&cell, |at, share| {
            let share = T::of(share);
            data[at] += value * share;
            weight[at] += weights[i] * share;
        });
    });
}
