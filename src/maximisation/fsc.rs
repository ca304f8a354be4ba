//! Gold-standard FSC of the two halves' sums, without reconstructing maps.

use rayon::prelude::*;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::arena::Pool;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::fourier;
use crate::imaging::Geometry;
use crate::units;

/// FSC per shell, box/2 + 1 entries; shell 0 is 1, shells beyond the sums are 0.
///
/// Each padded voxel goes to the nearest voxel of the unpadded volume, where data are divided by weights; then
/// FSC = sum Re(a conj b) / sqrt(sum |a|^2 sum |b|^2) over |k| <= r_max (van Heel & Schatz 2005). The plane x = 0
/// counts fully. Takes one plane of both unpadded volumes a thread from `frame`.
pub fn of_sums(
    geometry: &Geometry,
    a: &[SumVoxel],
    b: &[SumVoxel],
    threads: usize,
    frame: &mut Frame<'_>,
) -> Result<Vec<f64>> {
    frame.child(Kind::Tile, |tile| {
        let planes = buffer(geometry, threads, tile)?;
        Ok(in_planes(geometry, a, b, &Pool::new(planes, 2 * plane_len(geometry))))
    })
}

/// The allocations of [`of_sums`].
pub fn count(geometry: &Geometry, threads: usize, frame: &mut Frame<'_>) -> Result<()> {
    frame.child(Kind::Tile, |tile| buffer(geometry, threads, tile).map(|_| ()))
}

fn buffer<'f>(geometry: &Geometry, threads: usize, frame: &mut Frame<'f>) -> Result<&'f mut [SumVoxel]> {
    frame.alloc("FSC planes", threads * 2 * plane_len(geometry))
}

/// Largest unpadded voxel that a stored one is nearest to.
fn reach(geometry: &Geometry) -> i32 {
    nearest(geometry, geometry.rows.edge())
}

fn nearest(geometry: &Geometry, k: i32) -> i32 {
    units::round_half_away(f64::from(k) / geometry.padding) as i32
}

fn plane_len(geometry: &Geometry) -> usize {
    let reach = reach(geometry) as usize;
    (reach + 1) * (2 * reach + 1)
}

fn in_planes(geometry: &Geometry, a: &[SumVoxel], b: &[SumVoxel], pool: &Pool<'_, SumVoxel>) -> Vec<f64> {
    let rows = &geometry.rows;
    let edge = rows.edge();
    let (nearest, reach) = (|k: i32| nearest(geometry, k), reach(geometry));
    let r_max2 = (geometry.r_max as i64).pow(2);
    let width = reach as usize + 1;
    let bins = geometry.box_pixels / 2 + 1;
    let planes: Vec<Vec<[f64; 3]>> = (-reach..=reach)
        .into_par_iter()
        .map_init(
            || pool.take(),
            |cells, out_z| {
                cells.fill([0.0; 3]);
                let (of_a, of_b) = cells.split_at_mut(plane_len(geometry));
                for z in (-edge..=edge).filter(|z| nearest(*z) == out_z) {
                    for y in -edge..=edge {
                        let base = (nearest(y) + reach) as usize * width;
                        for (x, index) in rows.row(z, y).enumerate() {
                            let at = base + nearest(x as i32) as usize;
                            for (cell, voxel) in [(&mut of_a[at], a[index]), (&mut of_b[at], b[index])] {
                                cell.iter_mut().zip(voxel).for_each(|(sum, part)| *sum += part);
                            }
                        }
                    }
                }
                let mut sums = vec![[0.0; 3]; bins];
                // A voxel that only one half saw counts as zero in the other.
                let divided = |c: &SumVoxel| if c[2] > 0.0 { [c[0] / c[2], c[1] / c[2]] } else { [0.0; 2] };
                for (i, (p, q)) in of_a.iter().zip(&*of_b).enumerate() {
                    let (x, y) = ((i % width) as i64, (i / width) as i64 - i64::from(reach));
                    let square = x * x + y * y + i64::from(out_z).pow(2);
                    if square <= r_max2 {
                        let (p, q) = (divided(p), divided(q));
                        let bin = &mut sums[fourier::shell_of_square(square as u64)];
                        bin[0] += p[0] * q[0] + p[1] * q[1];
                        bin[1] += p[0] * p[0] + p[1] * p[1];
                        bin[2] += q[0] * q[0] + q[1] * q[1];
                    }
                }
                sums
            },
        )
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
    use crate::arena::Arena;
    use crate::imaging::random::Stream;

    fn fsc(geometry: &Geometry, a: &[SumVoxel], b: &[SumVoxel]) -> Vec<f64> {
        let mut arena = Arena::reserve(1 << 20).expect("memory");
        let fsc = arena.run(|frame| of_sums(geometry, a, b, 2, frame)).expect("room for planes");
        let mut counted = Arena::counting();
        counted.run(|frame| count(geometry, 2, frame)).expect("a count");
        assert_eq!(counted.layout(), arena.layout());
        fsc
    }

    #[test]
    fn equal_halves_correlate_fully_and_independent_ones_not() {
        let geometry = Geometry::new(24, 2.0, 16);
        let sums = |seed: u64, weight: f64| -> Vec<SumVoxel> {
            let mut stream = Stream::new(seed, 1, 1);
            (0..geometry.rows.len()).map(|_| [stream.gaussian(), stream.gaussian(), weight]).collect()
        };
        let (a, b) = (sums(1, 2.0), sums(2, 0.5));
        let same = fsc(&geometry, &a, &sums(1, 0.5));
        assert_eq!(same.len(), 13);
        assert!(same[..=8].iter().all(|f| (f - 1.0).abs() < 1e-12), "{same:?}");
        assert!(same[9..].iter().all(|f| *f == 0.0));
        let other = fsc(&geometry, &a, &b);
        assert_eq!(other[0], 1.0);
        // Shells from 4 hold at least 100 independent voxels; five standard errors.
        assert!(other[4..=8].iter().all(|f| f.abs() < 0.5), "{other:?}");
    }

    #[test]
    fn voxels_without_weight_are_zero() {
        let geometry = Geometry::new(16, 2.0, 16);
        let full = vec![[1.0, 0.0, 1.0]; geometry.rows.len()];
        let mut half = full.clone();
        geometry.rows.for_each(|i, _, _, z| {
            if z < 0 {
                half[i] = [0.0; 3];
            }
        });
        let of_half = fsc(&geometry, &full, &half);
        // cross = n/2 + plane z=0, powers n and the same: sqrt of about a half.
        assert!(of_half[7] > 0.70 && of_half[7] < 0.80, "{}", of_half[7]);
        assert!(fsc(&geometry, &full, &full).iter().all(|f| (f - 1.0).abs() < 1e-12));
    }
}
