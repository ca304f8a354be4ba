//! Where a slice's pixels lie in the oversampled volume: the one definition that projection,
//! back-projection and every other user of the geometry share.

use crate::rotation::Matrix3;
use crate::units;

use super::SphereRows;

/// Relative slack of the sphere's edge. Pixels exactly on the edge (the axis pixels of a rotated slice)
/// are inside in every pose; the next integer radius is farther away than this for boxes below 3000.
const EDGE_SLACK: f64 = 1e-7;

/// Sizes of an oversampled Fourier volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    /// Edge N of the real-space volume.
    pub box_pixels: usize,
    /// Edge of the padded volume, even.
    pub padded_pixels: usize,
    /// padded / N.
    pub padding: f64,
    /// Largest shell, in unpadded voxels.
    pub r_max: usize,
    /// Stored rows; their radius is ROUND(padding * r_max).
    pub rows: SphereRows,
    /// Square of the largest |k| of the reference (unpadded) that is interpolated.
    limit2: f64,
}

/// The trilinear cell of one slice pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Flat index of the corner (x0, y, z) for (y0, z0), (y1, z0), (y0, z1), (y1, z1); x0 + 1 follows each.
    pub corners: [usize; 4],
    /// Fractions along x, y, z, in [0, 1).
    pub fraction: [f64; 3],
    /// The point was mirrored: the value there is the conjugate of the pixel.
    pub conjugate: bool,
}

impl Geometry {
    /// Geometry for a volume of edge `box_pixels`, oversampled by `padding` (1 or more), up to shell current_size/2.
    pub fn new(box_pixels: usize, padding: f64, current_size: usize) -> Self {
        let padded = units::round_half_away(padding * box_pixels as f64) as usize;
        let padded_pixels = padded + padded % 2;
        let padding = padded_pixels as f64 / box_pixels as f64;
        let r_max = (current_size / 2).min(box_pixels / 2);
        let radius = units::round_half_away(padding * r_max as f64) as usize;
        // Not beyond the last complete voxel, so that all corners are stored for every padding.
        let limit = (padding * r_max as f64 + EDGE_SLACK).floor() / padding;
        Self {
            box_pixels,
            padded_pixels,
            padding,
            r_max,
            rows: SphereRows::new(radius),
            limit2: limit * limit * (1.0 + EDGE_SLACK),
        }
    }

    /// Shell of a padded voxel at squared distance `square`: ROUND(sqrt(square) / padding).
    #[inline]
    pub fn shell(&self, square: u64) -> usize {
        units::round_half_away((square as f64).sqrt() / self.padding) as usize
    }

    /// Whether the point of pixel (kx, ky) lies in the sphere; the same answer in every pose.
    pub fn holds(&self, inverse: &Matrix3, kx: i16, ky: i16) -> bool {
        let mut held = false;
        self.for_each_cell(inverse, &[kx], &[ky], |_, _| held = true);
        held
    }

    /// Calls `visit(i, cell)` for every pixel (kx, ky) whose point lies in the sphere.
    ///
    /// `inverse` takes image frequencies (in image pixels) to frequencies of the unpadded volume.
    /// Whether a pixel is inside follows from the scale and the magnification in `inverse` alone, never
    /// from the rounding of a rotation.
    #[inline]
    pub fn for_each_cell(&self, inverse: &Matrix3, kx: &[i16], ky: &[i16], mut visit: impl FnMut(usize, Cell)) {
        let m = inverse.0;
        // |inverse (kx, ky, 0)|^2 as a quadratic form.
        let gram = |a: usize, b: usize| m[0][a] * m[0][b] + m[1][a] * m[1][b] + m[2][a] * m[2][b];
        let (g_xx, g_xy, g_yy) = (gram(0, 0), 2.0 * gram(0, 1), gram(1, 1));
        let across: [[f64; 2]; 3] = std::array::from_fn(|i| [self.padding * m[i][0], self.padding * m[i][1]]);
        let starts = self.rows.starts();
        let edge = self.rows.edge();
        let stride = (2 * edge + 1) as usize;
        for (i, (kx, ky)) in kx.iter().zip(ky).enumerate() {
            let (x, y) = (f64::from(*kx), f64::from(*ky));
            if g_xx * x * x + g_xy * x * y + g_yy * y * y > self.limit2 {
                continue;
            }
            let mut p = across.map(|a| a[0] * x + a[1] * y);
            let conjugate = p[0] < 0.0;
            if conjugate {
                p = p.map(|v| -v);
            }
            // Floor by comparison: the baseline instruction set has no instruction for it.
            let low = p.map(|v| v as i32 - i32::from(v < f64::from(v as i32)));
            let row = (low[2] + edge) as usize * stride + (low[1] + edge) as usize;
            let x0 = low[0] as usize;
            let corner = |row: usize| starts[row] as usize + x0;
            visit(
                i,
                Cell {
                    corners: [corner(row), corner(row + 1), corner(row + stride), corner(row + stride + 1)],
                    fraction: std::array::from_fn(|i| p[i] - f64::from(low[i])),
                    conjugate,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_pixels_on_the_edge_are_inside_in_every_pose() {
        let geometry = Geometry::new(64, 2.0, 64);
        for step in 0..500 {
            let (s, c) = (0.1 + 0.0731 * f64::from(step)).sin_cos();
            let (t, d) = (0.3 + 0.0517 * f64::from(step)).sin_cos();
            let turn = Matrix3([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]);
            let tilt = Matrix3([[d, 0.0, t], [0.0, 1.0, 0.0], [-t, 0.0, d]]);
            let mut seen = Vec::new();
            geometry.for_each_cell(&(turn * tilt * turn), &[32, 0, 32, 1], &[0, 32, 1, 32], |i, cell| {
                assert!(cell.corners.iter().all(|c| c + 1 < geometry.rows.len()));
                seen.push(i);
            });
            assert_eq!(seen, [0, 1], "step {step}");
        }
    }

    #[test]
    fn odd_paddings_keep_every_corner() {
        for (n, padding) in [(50, 1.25), (36, 1.7), (48, 1.0), (30, 2.3)] {
            for size in (4..=n).step_by(2) {
                let geometry = Geometry::new(n, padding, size);
                let pixels = crate::imaging::PixelList::new(size);
                for step in 0..40 {
                    let (s, c) = (0.211 * f64::from(step)).sin_cos();
                    let turn = Matrix3([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]);
                    let tilt = Matrix3([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]);
                    let starts = geometry.rows.starts();
                    geometry.for_each_cell(&(turn * tilt), &pixels.kx, &pixels.ky, |_, cell| {
                        for corner in cell.corners {
                            let row = starts.partition_point(|s| *s as usize <= corner) - 1;
                            assert!(corner + 1 < starts[row + 1] as usize, "both x corners lie in one row");
                        }
                    });
                }
            }
        }
    }
}
