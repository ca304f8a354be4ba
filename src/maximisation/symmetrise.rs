//! What is known about the sums before any division: they are Hermitian, and the particle may be symmetric.
//!
//! Both are sums, not means: every measured sample was inserted once, on one side and in one asymmetric unit.

use rayon::prelude::*;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::imaging::Geometry;
use crate::imaging::SphereRows;
use crate::rotation::Matrix3;

use super::sweep;

/// Pools Friedel mates on the plane x = 0 and sums over the point group.
///
/// `operators` are all elements of the group (rotations of the object), the identity among them, in a fixed order.
/// The sum resamples the volume trilinearly and takes a copy of it from `frame` while it runs; with one element only,
/// nothing is resampled. The same bits on any number of threads of the current rayon pool.
pub fn symmetrise(
    geometry: &Geometry,
    sums: &mut [SumVoxel],
    operators: &[Matrix3],
    frame: &mut Frame<'_>,
) -> Result<()> {
    pool_friedel_mates(&geometry.rows, sums);
    if operators.len() <= 1 {
        return Ok(());
    }
    frame.child(Kind::Tile, |tile| {
        let input = buffer(geometry, tile)?;
        input.copy_from_slice(sums);
        sum_over_group(geometry, input, sums, operators);
        Ok(())
    })
}

/// The allocations of [`symmetrise`] for a group of so many elements.
pub fn count(geometry: &Geometry, operators: usize, frame: &mut Frame<'_>) -> Result<()> {
    if operators <= 1 {
        return Ok(());
    }
    frame.child(Kind::Tile, |tile| buffer(geometry, tile).map(|_| ()))
}

fn buffer<'f>(geometry: &Geometry, frame: &mut Frame<'f>) -> Result<&'f mut [SumVoxel]> {
    frame.alloc("sums without symmetry", geometry.rows.len())
}

/// Replaces each pair (0, y, z), (0, -y, -z) by its sum; the origin stays.
fn pool_friedel_mates(rows: &SphereRows, sums: &mut [SumVoxel]) {
    assert_eq!(sums.len(), rows.len(), "a volume in the geometry's rows");
    let edge = rows.edge();
    for z in 0..=edge {
        for y in if z == 0 { 1 } else { -edge }..=edge {
            if let (Some(a), Some(b)) = (rows.index(0, y, z), rows.index(0, -y, -z)) {
                let [re, im, weight] = [sums[a][0] + sums[b][0], sums[a][1] - sums[b][1], sums[a][2] + sums[b][2]];
                (sums[a], sums[b]) = ([re, im, weight], [re, -im, weight]);
            }
        }
    }
}

/// Edge of the cubes of voxels that are resampled together.
const CUBE: usize = 8;

/// out(k) = sum over the operators R of in(R k), for |k| <= radius; voxels beyond keep their value. `output` is a copy
/// of `input` at first.
fn sum_over_group(geometry: &Geometry, input: &[SumVoxel], output: &mut [SumVoxel], operators: &[Matrix3]) {
    let rows = &geometry.rows;
    let radius2 = (rows.radius() as i32).pow(2);
    let others: Vec<Matrix3> = operators.iter().copied().filter(|o| *o != Matrix3::IDENTITY).collect();
    let mut planes = sweep::planes_mut(rows, output);
    let (edge, reach) = (rows.edge(), rows.radius() as i32);
    // Cubes: a turned cube stays in the cache, a turned line or plane does not.
    planes.par_chunks_mut(CUBE).for_each(|slab| {
        for low_y in (-edge..=edge).step_by(CUBE) {
            for low_x in (0..=reach).step_by(CUBE) {
                for operator in &others {
                    for (z, plane) in slab.iter_mut() {
                        let start = sweep::plane_start(rows, *z);
                        for y in low_y..(low_y + CUBE as i32).min(edge + 1) {
                            let rest = radius2 - *z * *z - y * y;
                            if rest < low_x * low_x {
                                continue;
                            }
                            let end = ((rest as u32).isqrt() as i32 + 1).min(low_x + CUBE as i32);
                            let first = rows.row(*z, y).start - start;
                            for x in low_x..end {
                                let point = operator.apply([f64::from(x), f64::from(y), f64::from(*z)]);
                                let turned = interpolate(rows, input, point);
                                let voxel = &mut plane[first + x as usize];
                                voxel.iter_mut().zip(turned).for_each(|(sum, part)| *sum += part);
                            }
                        }
                    }
                }
            }
        }
    });
}

/// Trilinear value at a point inside the sphere (or a rounding beyond it).
#[inline(always)]
fn interpolate(rows: &SphereRows, volume: &[SumVoxel], point: [f64; 3]) -> SumVoxel {
    let mirrored = point[0] < 0.0;
    let p = if mirrored { point.map(|v| -v) } else { point };
    // Cheaper than floor, which is a call on processors of the baseline.
    let low = p.map(|v| v as i32 - i32::from(v < 0.0));
    let f: [f64; 3] = std::array::from_fn(|i| p[i] - f64::from(low[i]));
    let (starts, edge) = (rows.starts(), rows.edge());
    let stride = (2 * edge + 1) as usize;
    let row = (low[2] + edge) as usize * stride + (low[1] + edge) as usize;
    let between = |a: SumVoxel, b: SumVoxel, f: f64| -> SumVoxel { std::array::from_fn(|i| a[i] + (b[i] - a[i]) * f) };
    let along_x = |row: usize| {
        let at = starts[row] as usize + low[0] as usize;
        between(volume[at], volume[at + 1], f[0])
    };
    let near = between(along_x(row), along_x(row + 1), f[1]);
    let far = between(along_x(row + stride), along_x(row + stride + 1), f[1]);
    let [re, im, weight] = between(near, far, f[2]);
    [re, if mirrored { -im } else { im }, weight]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::rotation::PointGroup;

    /// Rounding of sums of a few numbers of order one.
    const TOLERANCE: f64 = 1e-12;

    fn sums(rows: &SphereRows, f: impl Fn(i32, i32, i32) -> [f64; 2]) -> Vec<SumVoxel> {
        let mut sums = vec![[0.0; 3]; rows.len()];
        rows.for_each(|i, x, y, z| {
            let [re, im] = f(x, y, z);
            sums[i] = [re, im, re.hypot(im)];
        });
        sums
    }

    fn symmetrised(geometry: &Geometry, before: &[SumVoxel], operators: &[Matrix3]) -> Vec<SumVoxel> {
        let mut sums = before.to_vec();
        let mut arena = Arena::reserve(16 << 20).expect("memory");
        arena.run(|frame| symmetrise(geometry, &mut sums, operators, frame)).expect("room for a copy");
        let mut counted = Arena::counting();
        counted.run(|frame| count(geometry, operators.len(), frame)).expect("a count");
        assert_eq!(counted.layout(), arena.layout());
        sums
    }

    #[test]
    fn friedel_mates_are_summed_and_the_origin_is_left_alone() {
        let geometry = Geometry::new(8, 2.0, 8);
        let rows = &geometry.rows;
        let before = sums(rows, |x, y, z| [f64::from(x + 2 * y + 3 * z), f64::from(1 + y)]);
        let after = symmetrised(&geometry, &before, &[Matrix3::IDENTITY]);
        let at = |x, y, z| rows.index(x, y, z).expect("stored");
        let (a, b) = (at(0, 2, -3), at(0, -2, 3));
        let [p, q] = [before[a], before[b]];
        assert_eq!(after[a], [p[0] + q[0], p[1] - q[1], p[2] + q[2]]);
        assert_eq!(after[b], [after[a][0], -after[a][1], after[a][2]]);
        assert_eq!(after[at(0, 0, 0)], before[at(0, 0, 0)]);
        assert_eq!(after[at(1, 2, -3)], before[at(1, 2, -3)]);
    }

    #[test]
    fn a_symmetric_volume_is_multiplied_by_the_order_of_the_group() {
        let geometry = Geometry::new(16, 2.0, 16);
        let radius2 = geometry.rows.radius().pow(2) as i32;
        // |x| + |y| + |z|^2 has the symmetry of D4 about z, whose elements permute and reflect the axes.
        let f = |x: i32, y: i32, z: i32| [f64::from(x.abs() + y.abs() + z * z + 1), 0.0];
        let input = sums(&geometry.rows, f);
        let mut output = input.clone();
        let group = PointGroup::parse("D4").expect("D4");
        let operators: Vec<Matrix3> = group.operators().iter().map(|o| o.right).collect();
        sum_over_group(&geometry, &input, &mut output, &operators);
        let mut seen = 0;
        geometry.rows.for_each(|i, x, y, z| {
            if x * x + y * y + z * z <= radius2 {
                let wanted = 8.0 * f(x, y, z)[0];
                let off = output[i].iter().zip([wanted, 0.0, wanted]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < TOLERANCE * wanted, "{x} {y} {z}");
                seen += 1;
            }
        });
        assert!(seen > 8000);
    }

    #[test]
    fn mates_get_equal_values_and_any_thread_count_gives_the_same_bits() {
        let geometry = Geometry::new(16, 2.0, 12);
        let group = PointGroup::parse("I2").expect("I2");
        let operators: Vec<Matrix3> = group.operators().iter().map(|o| o.right).collect();
        let start = sums(&geometry.rows, |x, y, z| [f64::from(x + 3 * y), f64::from(z - y)]);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| symmetrised(&geometry, &start, &operators))
        };
        let (one, three) = (run(1), run(3));
        assert_eq!(one, three);
        // The group turns every volume into one whose values agree at mates, up to the error of interpolation.
        let at = |x: i32, y: i32, z: i32| one[geometry.rows.index(x, y, z).expect("stored")][2];
        for (x, y, z) in [(3, 4, 7), (6, -2, 5), (8, 1, -3)] {
            // A two-fold about z: (x, y, z) and (-x, -y, z), whose Friedel mate is (x, y, -z).
            assert!((at(x, y, z) / at(x, y, -z) - 1.0).abs() < TOLERANCE, "{x} {y} {z}");
        }
    }
}
