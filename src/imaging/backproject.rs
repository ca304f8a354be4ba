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

/// Adds a slice of data and weights at pixels (kx, ky) to a volume in geometry.rows order, whose voxels hold the
/// real and imaginary part of the data and the weight.
///
/// Pixels outside the sphere are skipped; a mirrored point receives the conjugate. Points on the plane x = 0 are
/// added on one side only: Friedel mates must be pooled (summed) before the volume is used.
pub fn insert<T: Real>(
    geometry: &Geometry,
    inverse: &Matrix3,
    (kx, ky): (&[i16], &[i16]),
    (slice, weights): (&[Complex<T>], &[T]),
    volume: &mut [[T; 3]],
) {
    assert!(volume.len() == geometry.rows.len(), "a volume of the geometry's size");
    assert!(slice.len() == kx.len() && weights.len() == kx.len(), "one value per pixel");
    geometry.for_each_cell(inverse, kx, ky, |i, cell| {
        let value = if cell.conjugate { slice[i].conj() } else { slice[i] };
        for_each_corner(&cell, |at, share| {
            let share = T::of(share);
            let voxel = &mut volume[at];
            voxel[0] += value.re * share;
            voxel[1] += value.im * share;
            voxel[2] += weights[i] * share;
        });
    });
}
