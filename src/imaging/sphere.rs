//! The rows of a half Fourier volume that meet a sphere: 52 % of the cube.
//!
//! Projector and weighted sums share this layout. Voxels have logical indices
//! x in 0.., y and z in -edge..=edge. Row (z, y) is stored contiguously in x, rows in
//! the order z outer, y inner. Every trilinear cell that holds a point with |p| <= radius has
//! all its eight corners stored.

/// Row table of one sphere. Offsets count voxels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SphereRows {
    radius: usize,
    edge: i32,
    /// First voxel of row (z + edge) * (2 edge + 1) + (y + edge); one more entry closes the last row.
    starts: Vec<u32>,
}

impl SphereRows {
    /// Rows for points up to `radius` (in voxels of the padded transform: padding * r_max).
    pub fn new(radius: usize) -> Self {
        // A corner is at most sqrt(3) from a point of its cell.
        let reach = radius as f64 + 1.7321;
        let edge = radius as i32 + 1;
        let mut starts = Vec::with_capacity((2 * edge as usize + 1).pow(2) + 1);
        let mut next = 0_u64;
        for z in -edge..=edge {
            for y in -edge..=edge {
                starts.push(u32::try_from(next).expect("a sphere of fewer than 2^32 voxels"));
                let rest = reach * reach - f64::from(z * z) - f64::from(y * y);
                if rest >= 0.0 {
                    next += (rest.sqrt() as u64 + 1).min(edge as u64 + 1);
                }
            }
        }
        starts.push(u32::try_from(next).expect("a sphere of fewer than 2^32 voxels"));
        Self { radius, edge, starts }
    }

    /// Largest |p| that may be interpolated, in padded voxels.
    pub fn radius(&self) -> usize {
        self.radius
    }

    /// Largest |y| and |z| with a row.
    pub fn edge(&self) -> i32 {
        self.edge
    }

    /// Number of stored voxels.
    pub fn len(&self) -> usize {
        self.starts[self.starts.len() - 1] as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of (z, y) rows, empty ones included.
    pub fn row_count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Index of row (z, y) in the table; |z| and |y| must not exceed `edge`.
    #[inline]
    pub fn row_index(&self, z: i32, y: i32) -> usize {
        (z + self.edge) as usize * (2 * self.edge as usize + 1) + (y + self.edge) as usize
    }

    /// The whole table of first voxels (row_count + 1 entries), for hot loops.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// Voxels of row (z, y), as a range of the flat array.
    #[inline]
    pub fn row(&self, z: i32, y: i32) -> std::ops::Range<usize> {
        let row = self.row_index(z, y);
        self.starts[row] as usize..self.starts[row + 1] as usize
    }

    /// Flat index of voxel (x, y, z), x >= 0; `None` where nothing is stored.
    pub fn index(&self, x: i32, y: i32, z: i32) -> Option<usize> {
        if x < 0 || y.abs() > self.edge || z.abs() > self.edge {
            return None;
        }
        let row = self.row(z, y);
        let index = row.start + x as usize;
        (index < row.end).then_some(index)
    }

    /// Calls `visit(flat index, x, y, z)` for every stored voxel, in storage order.
    pub fn for_each(&self, mut visit: impl FnMut(usize, i32, i32, i32)) {
        for z in -self.edge..=self.edge {
            for y in -self.edge..=self.edge {
                let row = self.row(z, y);
                for (x, index) in row.enumerate() {
                    visit(index, x as i32, y, z);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_corner_of_a_cell_inside_the_sphere_is_stored() {
        let rows = SphereRows::new(9);
        for z in -10..10 {
            for y in -10..10 {
                for x in 0..10 {
                    // The nearest point of the cell to the origin.
                    let near = |a: i32| if a < 0 { f64::from(a + 1) } else { f64::from(a) };
                    if near(x).powi(2) + near(y).powi(2) + near(z).powi(2) <= 81.0 {
                        for corner in 0..8 {
                            let (dx, dy, dz) = (corner & 1, corner >> 1 & 1, corner >> 2);
                            assert!(rows.index(x + dx, y + dy, z + dz).is_some(), "{x} {y} {z} corner {corner}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_large_sphere_takes_about_half_of_the_cube() {
        let rows = SphereRows::new(64);
        let cube = 131.0 * 131.0 * 66.0;
        let share = rows.len() as f64 / cube;
        assert!(share > 0.5 && share < 0.58, "{share}");
    }

    #[test]
    fn flat_indices_follow_storage_order() {
        let rows = SphereRows::new(5);
        let mut next = 0;
        rows.for_each(|index, x, y, z| {
            assert_eq!(index, next);
            assert_eq!(rows.index(x, y, z), Some(index));
            next += 1;
        });
        assert_eq!(next, rows.len());
    }
}
