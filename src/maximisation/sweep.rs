//! Passes over the voxels of a sphere, a plane of z at a time: planes run in parallel, and sums are added in the
//! order of planes, so that results have the same bits on any number of threads.

use rayon::prelude::*;

use crate::imaging::Geometry;
use crate::imaging::SphereRows;

/// The planes z = -edge..=edge of a volume in the sphere's rows.
pub(super) fn planes_mut<'a, T>(rows: &SphereRows, volume: &'a mut [T]) -> Vec<(i32, &'a mut [T])> {
    assert_eq!(volume.len(), rows.len(), "a volume in the geometry's rows");
    let edge = rows.edge();
    let mut planes = Vec::with_capacity(2 * edge as usize + 1);
    let mut rest = volume;
    for z in -edge..=edge {
        let (plane, tail) = rest.split_at_mut(plane_end(rows, z) - plane_start(rows, z));
        planes.push((z, plane));
        rest = tail;
    }
    planes
}

/// First voxel of plane z.
pub(super) fn plane_start(rows: &SphereRows, z: i32) -> usize {
    rows.row(z, -rows.edge()).start
}

fn plane_end(rows: &SphereRows, z: i32) -> usize {
    rows.row(z, rows.edge()).end
}

/// Calls `visit(flat index, squared radius)` for the voxels of plane z whose squared radius is below `end_square`.
#[inline]
pub(super) fn for_each_in_plane(rows: &SphereRows, z: i32, end_square: u64, mut visit: impl FnMut(usize, u64)) {
    let edge = rows.edge();
    for y in -edge..=edge {
        let base = (i64::from(z).pow(2) + i64::from(y).pow(2)) as u64;
        for (x, index) in rows.row(z, y).enumerate() {
            let square = base + (x * x) as u64;
            if square >= end_square {
                break;
            }
            visit(index, square);
        }
    }
}

/// Sums over the voxels with squared radius below `end_square`: `add(index, square, sums)` adds to any of `bins` rows.
pub(super) fn shell_sums<const K: usize>(
    geometry: &Geometry,
    bins: usize,
    end_square: u64,
    add: impl Fn(usize, u64, &mut [[f64; K]]) + Sync,
) -> Vec<[f64; K]> {
    let edge = geometry.rows.edge();
    let planes: Vec<Vec<[f64; K]>> = (-edge..=edge)
        .into_par_iter()
        .map(|z| {
            let mut sums = vec![[0.0; K]; bins];
            for_each_in_plane(&geometry.rows, z, end_square, |index, square| add(index, square, &mut sums));
            sums
        })
        .collect();
    let mut total = vec![[0.0; K]; bins];
    for plane in &planes {
        for (t, p) in total.iter_mut().zip(plane) {
            for (t, p) in t.iter_mut().zip(p) {
                *t += p;
            }
        }
    }
    total
}

/// Square of the sphere's radius: voxels of the model have a smaller one, or the same.
pub(super) fn radius_square(geometry: &Geometry) -> u64 {
    geometry.rows.radius().pow(2) as u64
}

/// Nearest shell of each squared radius up to the sphere's.
pub(super) fn nearest_shells(geometry: &Geometry) -> Vec<u16> {
    (0..=radius_square(geometry)).map(|square| geometry.shell(square) as u16).collect()
}
