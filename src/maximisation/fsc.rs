//! Gold-standard FSC of the two halves' sums, without reconstructing maps.

use num_complex::Complex;
use rayon::prelude::*;

use crate::expectation::ClassSums;
use crate::imaging::Geometry;
use crate::units;

/// FSC per shell, box/2 + 1 entries; shell 0 is 1, shells beyond the sums are 0.
///
/// Each padded voxel goes to the nearest voxel of the unpadded volume, where data are divided by weights; then
/// FSC = sum Re(a conj b) / sqrt(sum |a|^2 sum |b|^2) over |k| <= r_max (van Heel & Schatz 2005). The plane x = 0
/// counts fully. Takes one plane of the unpadded volume a thread.
pub fn of_sums(geometry: &Geometry, a: &ClassSums, b: &ClassSums) -> Vec<f64> {
    let rows = &geometry.rows;
    let edge = rows.edge();
    let nearest = |k: i32| units::round_half_away(f64::from(k) / geometry.padding) as i32;
    let reach = nearest(edge);
    let r_max2 = (geometry.r_max as i64).pow(2);
    let (width, high) = (reach as usize + 1, 2 * reach as usize + 1);
    let bins = geometry.box_pixels / 2 + 1;
    let planes: Vec<Vec<[f64; 3]>> = (-reach..=reach)
        .into_par_iter()
        .map(|out_z| {
            let mut cells =
                [vec![(Complex::default(), 0.0); width * high], vec![(Complex::default(), 0.0); width * high]];
            for z in (-edge..=edge).filter(|z| nearest(*z) == out_z) {
                for y in -edge..=edge {
                    let base = (nearest(y) + reach) as usize * width;
                    for (x, index) in rows.row(z, y).enumerate() {
                        let at = base + nearest(x as i32) as usize;
                        for (cells, sums) in cells.iter_mut().zip([a, b]) {
                            let cell: &mut (Complex<f64>, f64) = &mut cells[at];
                            cell.0 += sums.data[index];
                            cell.1 += sums.weight[index];
                        }
                    }
                }
            }
            let mut sums = vec![[0.0; 3]; bins];
            for (i, (p, q)) in cells[0].iter().zip(&cells[1]).enumerate() {
                let (x, y) = ((i % width) as i64, (i / width) as i64 - i64::from(reach));
                let square = x * x + y * y + i64::from(out_z).pow(2);
                if square <= r_max2 && p.1 > 0.0 && q.1 > 0.0 {
                    let (p, q) = (p.0 / p.1, q.0 / q.1);
                    let bin = &mut sums[crate::fourier::shell_of_square(square as u64)];
                    bin[0] += p.re * q.re + p.im * q.im;
                    bin[1] += p.norm_sqr();
                    bin[2] += q.norm_sqr();
                } else if square <= r_max2 {
                    // A voxel that only one half saw counts as zero in the other.
                    let bin = &mut sums[crate::fourier::shell_of_square(square as u64)];
                    let power = |c: &(Complex<f64>, f64)| if c.1 > 0.0 { (c.0 / c.1).norm_sqr() } else { 0.0 };
                    bin[1] += power(p);
                    bin[2] += power(q);
                }
            }
            sums
        })
        .collect();
    let mut fsc: Vec<f64> = (0..bins)
        .map(|s| {
            let [cross, p, q] = planes.iter().fold([0.0; 3], |t, plane| std::array::from_fn(|i| t[i] + plane[s][i]));
            if p > 0.0 && q > 0.0 { cross / (p * q).sqrt() } else { 0.0 }
        })
        .collect();
    fsc[0] = 1.0;
    fsc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::random::Stream;

    #[test]
    fn equal_halves_correlate_fully_and_independent_ones_not() {
        let geometry = Geometry::new(24, 2.0, 16);
        let sums = |seed: u64, weight: f64| {
            let mut stream = Stream::new(seed, 1, 1);
            let data: Vec<Complex<f64>> =
                (0..geometry.rows.len()).map(|_| Complex::new(stream.gaussian(), stream.gaussian())).collect();
            ClassSums { weight: vec![weight; data.len()], data, directions: vec![] }
        };
        let (a, b) = (sums(1, 2.0), sums(2, 0.5));
        let same = of_sums(&geometry, &a, &ClassSums { weight: b.weight.clone(), ..a.clone() });
        assert_eq!(same.len(), 13);
        assert!(same[..=8].iter().all(|f| (f - 1.0).abs() < 1e-12), "{same:?}");
        assert!(same[9..].iter().all(|f| *f == 0.0));
        let other = of_sums(&geometry, &a, &b);
        assert_eq!(other[0], 1.0);
        // Shells from 4 hold at least 100 independent voxels; five standard errors.
        assert!(other[4..=8].iter().all(|f| f.abs() < 0.5), "{other:?}");
    }

    #[test]
    fn voxels_without_weight_are_zero() {
        let geometry = Geometry::new(16, 2.0, 16);
        let len = geometry.rows.len();
        let full = ClassSums { data: vec![Complex::new(1.0, 0.0); len], weight: vec![1.0; len], directions: vec![] };
        let mut half = full.clone();
        geometry.rows.for_each(|i, _, _, z| {
            if z < 0 {
                half.data[i] = Complex::default();
                half.weight[i] = 0.0;
            }
        });
        let fsc = of_sums(&geometry, &full, &half);
        // cross = n/2 + plane z=0, powers n and the same: sqrt of about a half.
        assert!(fsc[7] > 0.70 && fsc[7] < 0.80, "{}", fsc[7]);
        assert!(of_sums(&geometry, &full, &full).iter().all(|f| (f - 1.0).abs() < 1e-12));
    }
}
