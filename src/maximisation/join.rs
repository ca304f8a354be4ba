//! What the two halves share: low resolution in every iteration, everything in the last.

use num_complex::Complex;
use rayon::prelude::*;

use crate::expectation::ClassSums;
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
pub fn join_low_resolution(geometry: &Geometry, shell: usize, a: &mut ClassSums, b: &mut ClassSums) {
    let reach = units::round_half_away(geometry.padding * shell as f64).pow(2);
    let len = geometry.rows.len();
    assert!(a.data.len() == len && b.data.len() == len, "sums in the geometry's rows");
    geometry.rows.for_each(|i, x, y, z| {
        if i64::from(x).pow(2) + i64::from(y).pow(2) + i64::from(z).pow(2) <= reach {
            let (data, weight) = (0.5 * (a.data[i] + b.data[i]), 0.5 * (a.weight[i] + b.weight[i]));
            (a.data[i], b.data[i]) = (data, data);
            (a.weight[i], b.weight[i]) = (weight, weight);
        }
    });
}

/// Adds the other half's volumes, for the map of the last iteration.
pub fn add(sums: &mut ClassSums, other: &ClassSums) {
    assert_eq!(sums.data.len(), other.data.len(), "sums in the same rows");
    sums.data.par_iter_mut().zip(&other.data).for_each(|(a, b): (&mut Complex<f64>, _)| *a += b);
    sums.weight.par_iter_mut().zip(&other.weight).for_each(|(a, b)| *a += b);
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
        let sums =
            |v: f64| ClassSums { data: vec![Complex::new(v, -v); len], weight: vec![v; len], directions: vec![] };
        let (mut a, mut b) = (sums(1.0), sums(3.0));
        join_low_resolution(&geometry, 3, &mut a, &mut b);
        let at = |x| geometry.rows.index(x, 0, 0).expect("stored");
        for s in [&a, &b] {
            assert_eq!((s.data[at(6)], s.weight[at(6)]), (Complex::new(2.0, -2.0), 2.0));
        }
        assert_eq!((a.weight[at(7)], b.weight[at(7)]), (1.0, 3.0));
        add(&mut a, &b);
        assert_eq!((a.data[at(6)].re, a.data[at(7)].re), (4.0, 4.0));
    }
}
