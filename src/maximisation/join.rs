//! What the two halves share: low resolution in every iteration, everything in the last.

use rayon::prelude::*;

use crate::expectation::SumVoxel;
use crate::imaging::Geometry;
use crate::units;

/// Rounding that must not add a shell.
const SLACK: f64 = 1e-6;

/// Shell up to which the halves are joined: CEIL(N a / d) with d the given resolution, or the present one where that
/// is lower.
pub fn joined_shell(
    join_angstrom: f64,
    current_resolution_per_angstrom: f64,
    box_pixels: usize,
    pixel_size_angstrom: f64,
) -> usize {
    let frequency = (1.0 / join_angstrom).min(current_resolution_per_angstrom);
    (box_pixels as f64 * pixel_size_angstrom * frequency - SLACK).ceil().max(0.0) as usize
}

/// Replaces data and weights up to `shell` by the mean of the halves, so that both keep one orientation and hand.
/// Their FSC is 1 there.
pub fn join_low_resolution(geometry: &Geometry, shell: usize, a: &mut [SumVoxel], b: &mut [SumVoxel]) {
    let reach = units::round_half_away(geometry.padding * shell as f64).pow(2);
    let len = geometry.rows.len();
    assert!(a.len() == len && b.len() == len, "sums in the geometry's rows");
    geometry.rows.for_each(|i, x, y, z| {
        if i64::from(x).pow(2) + i64::from(y).pow(2) + i64::from(z).pow(2) <= reach {
            let mean: SumVoxel = std::array::from_fn(|c| 0.5 * (a[i][c] + b[i][c]));
            (a[i], b[i]) = (mean, mean);
        }
    });
}

/// Adds the other half's volume, for the map of the last iteration.
pub fn add(sums: &mut [SumVoxel], other: &[SumVoxel]) {
    assert_eq!(sums.len(), other.len(), "sums in the same rows");
    let add = |(a, b): (&mut SumVoxel, &SumVoxel)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
    sums.par_iter_mut().zip(other).for_each(add);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_two_resolutions_counts() {
        assert_eq!(joined_shell(40.0, 7.0 / 228.0, 48, 4.75), 6);
        assert_eq!(joined_shell(40.0, 5.0 / 228.0, 48, 4.75), 5);
        assert_eq!(joined_shell(38.0, 9.0 / 228.0, 48, 4.75), 6);
    }

    #[test]
    fn low_shells_become_the_mean_and_others_stay() {
        let geometry = Geometry::new(16, 2.0, 16);
        let len = geometry.rows.len();
        let (mut a, mut b) = (vec![[1.0, -1.0, 1.0]; len], vec![[3.0, -3.0, 3.0]; len]);
        join_low_resolution(&geometry, 3, &mut a, &mut b);
        let at = |x| geometry.rows.index(x, 0, 0).expect("stored");
        assert_eq!((a[at(6)], b[at(6)]), ([2.0, -2.0, 2.0], [2.0, -2.0, 2.0]));
        assert_eq!((a[at(7)], b[at(7)]), ([1.0, -1.0, 1.0], [3.0, -3.0, 3.0]));
        add(&mut a, &b);
        assert_eq!((a[at(6)][0], a[at(7)][0]), (4.0, 4.0));
    }
}
