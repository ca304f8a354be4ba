//! Planes of poses, made on the threads of the host.

use rayon::prelude::*;

use crate::expectation::products::batch::Setting;
use crate::expectation::products::batch::scalar;
use crate::expectation::scalar::Scalar;
use crate::rotation::Matrix3;

use super::arguments::Plane;

fn plane<T: Scalar>(setting: &Setting<'_>, rotation: &Matrix3) -> Plane<T> {
    setting.plane_columns(rotation).map(|column| column.map(scalar))
}

/// Planes of poses (of any class).
pub fn of_poses<T: Scalar>(
    setting: &Setting<'_>,
    poses: impl IndexedParallelIterator<Item = u32>,
    out: &mut [Plane<T>],
) {
    poses.zip(out).for_each(|(pose, out)| {
        *out = plane(setting, &setting.task.orientations.matrix(setting.split(pose).1));
    });
}

/// Planes of the children of poses, pose after pose.
pub fn of_children<T: Scalar>(
    setting: &Setting<'_>,
    poses: impl IndexedParallelIterator<Item = u32>,
    out: &mut [Plane<T>],
) {
    let turns = setting.shape.turns;
    poses.zip(out.par_chunks_mut(turns)).for_each_init(Vec::new, |matrices, (pose, out)| {
        matrices.clear();
        setting.task.orientations.child_matrices(setting.split(pose).1, matrices);
        for (out, matrix) in out.iter_mut().zip(&*matrices) {
            *out = plane(setting, matrix);
        }
    });
}
