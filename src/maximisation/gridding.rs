//! Iterative gridding: weights that give every voxel the same density (Pipe & Menon 1999).

use std::f64::consts::PI;

use num_complex::Complex;
use rayon::prelude::*;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Result;
use crate::fourier;
use crate::fourier::RealFft3;
use crate::imaging::Geometry;

use super::sweep;

const ITERATIONS: usize = 10;
/// Convolved weights below this are taken for it.
const SMALLEST_DENSITY: f64 = 1e-6;
/// The blob is a Kaiser-Bessel function of order 0 in Fourier space (Lewitt 1990): radius in voxels, and taper.
const BLOB_RADIUS: f64 = 3.8;
const BLOB_ALPHA: f64 = 15.0;

/// Weights w such that w times `density(index, shell)`, convolved with the blob, is flat; a voxel each, from `frame`.
/// A padded cube is taken and given back.
pub(super) fn weights<'f>(
    geometry: &Geometry,
    density: impl Fn(usize, usize) -> f64 + Sync,
    frame: &mut Frame<'f>,
) -> Result<&'f mut [f64]> {
    let weights = buffer(geometry, frame)?;
    frame.child(Kind::Tile, |tile| {
        iterate(geometry, density, weights, cube(geometry, tile)?);
        Ok(())
    })?;
    Ok(weights)
}

/// The allocations of [`weights`].
pub(super) fn count(geometry: &Geometry, frame: &mut Frame<'_>) -> Result<()> {
    buffer(geometry, frame)?;
    frame.child(Kind::Tile, |tile| cube(geometry, tile).map(|_| ()))
}

fn buffer<'f>(geometry: &Geometry, frame: &mut Frame<'f>) -> Result<&'f mut [f64]> {
    frame.alloc("gridding weights", geometry.rows.len())
}

fn cube<'f>(geometry: &Geometry, frame: &mut Frame<'f>) -> Result<&'f mut [Complex<f64>]> {
    frame.alloc("gridding cube", fourier::half_volume_len(geometry.padded_pixels))
}

fn iterate(
    geometry: &Geometry,
    density: impl Fn(usize, usize) -> f64 + Sync,
    flat: &mut [f64],
    cube: &mut [Complex<f64>],
) {
    let (rows, radius2) = (&geometry.rows, sweep::radius_square(geometry));
    let nearest = sweep::nearest_shells(geometry);
    let n = geometry.padded_pixels;
    let plan = RealFft3::<f64>::new(n);
    flat.fill(0.0);
    for (z, plane) in sweep::planes_mut(rows, flat) {
        let start = sweep::plane_start(rows, z);
        sweep::for_each_in_plane(rows, z, radius2, |index, _| plane[index - start] = 1.0);
    }
    let table = blob_table();
    let centre = table[0];
    for _ in 0..ITERATIONS {
        cube.fill(Complex::default());
        for_each_voxel(geometry, |index, square, place| {
            cube[place] = Complex::new(flat[index] * density(index, usize::from(nearest[square as usize])), 0.0);
        });
        plan.inverse_in_place(cube);
        // A packed row holds two voxels an element; the origin is voxel 0.
        cube.par_chunks_exact_mut(n / 2 + 1).enumerate().for_each(|(row, values)| {
            let distance2 = |i: usize| f64::from(fourier::frequency(i, n)).powi(2);
            let base = distance2(row % n) + distance2(row / n);
            for (j, pair) in values[..n / 2].iter_mut().enumerate() {
                let factor = |x: usize| blob(&table, (base + distance2(x)).sqrt() / n as f64) / centre;
                *pair = Complex::new(pair.re * factor(2 * j), pair.im * factor(2 * j + 1));
            }
        });
        plan.forward_in_place(cube);
        for_each_voxel(geometry, |index, square, place| {
            if square < radius2 {
                flat[index] /= cube[place].norm().max(SMALLEST_DENSITY);
            }
        });
    }
}

/// Calls `visit(flat index, squared radius, place in the half transform of the padded cube)` inside the sphere.
fn for_each_voxel(geometry: &Geometry, mut visit: impl FnMut(usize, u64, usize)) {
    let (n, radius2) = (geometry.padded_pixels, sweep::radius_square(geometry));
    geometry.rows.for_each(|index, x, y, z| {
        let square = (i64::from(x).pow(2) + i64::from(y).pow(2) + i64::from(z).pow(2)) as u64;
        if square <= radius2 {
            let row = fourier::frequency_index(z, n) * n + fourier::frequency_index(y, n);
            visit(index, square, row * (n / 2 + 1) + x as usize);
        }
    });
}

const TABLE: usize = 10_000;

/// Transform of the blob at rho in [0, 0.5], tabulated.
fn blob_table() -> Vec<f64> {
    (0..TABLE).map(|i| blob_transform(0.5 * i as f64 / TABLE as f64)).collect()
}

fn blob(table: &[f64], rho: f64) -> f64 {
    table.get((2.0 * rho * TABLE as f64) as usize).copied().unwrap_or(0.0)
}

/// (2 pi)^1.5 a^3 I_1.5(sigma) / (I_0(alpha) sigma^1.5), sigma^2 = alpha^2 - (2 pi a rho)^2, up to the constant
/// factor; J_1.5 where sigma^2 is negative. Half-integer orders are elementary functions.
fn blob_transform(rho: f64) -> f64 {
    let square = BLOB_ALPHA.powi(2) - (2.0 * PI * BLOB_RADIUS * rho).powi(2);
    let s = square.abs().sqrt();
    if s < 1e-3 {
        // Limit of both branches.
        return (2.0 / PI).sqrt() / 3.0;
    }
    let order_three_halves =
        if square > 0.0 { s.cosh() - s.sinh() / s } else { s.sin() / s - s.cos() } * (2.0 / (PI * s)).sqrt();
    order_three_halves / s.powf(1.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;

    #[test]
    fn the_blob_transform_is_continuous_and_falls() {
        let at_zero = BLOB_ALPHA / (2.0 * PI * BLOB_RADIUS);
        let (below, above) = (blob_transform(at_zero - 1e-6), blob_transform(at_zero + 1e-6));
        assert!((below / above - 1.0).abs() < 1e-3, "{below} {above}");
        assert!((below / ((2.0 / PI).sqrt() / 3.0) - 1.0).abs() < 1e-3);
        let table = blob_table();
        assert!(table.windows(2).take_while(|w| w[1] > 0.0).all(|w| w[1] < w[0]));
    }

    #[test]
    fn uneven_weights_become_flat() {
        let geometry = Geometry::new(16, 2.0, 16);
        let rows = &geometry.rows;
        // Twice the weight far from the plane x = 0, which is the same at Friedel mates.
        let mut uneven = vec![0.0; rows.len()];
        rows.for_each(|i, x, _, _| uneven[i] = if x > 5 { 2.0 } else { 1.0 });
        let mut counted = Arena::counting();
        counted.run(|frame| count(&geometry, frame)).expect("a count");
        let mut arena = Arena::reserve(counted.layout().peak).expect("memory");
        let data: Vec<f64> = arena
            .run(|frame| {
                let weights = weights(&geometry, |index, _| uneven[index], frame)?;
                Result::Ok(weights.iter().zip(&uneven).map(|(w, v)| w * v).collect())
            })
            .expect("room for weights");
        assert_eq!(counted.layout(), arena.layout());
        // data / weights of the flat density: near 1 away from the edge of the sphere.
        let mut seen = 0;
        rows.for_each(|i, x, y, z| {
            if x * x + y * y + z * z < 121 && (x - 5).abs() > 2 {
                // Ten iterations bring a step of 100 % within 12 %.
                assert!((data[i] - 1.0).abs() < 0.12, "{x} {y} {z}: {}", data[i]);
                seen += 1;
            }
        });
        assert!(seen > 100);
    }
}
