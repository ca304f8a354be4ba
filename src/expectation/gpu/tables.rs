//! Tables of one optics group: made on the host, kept on the device.

use num_complex::Complex;
use rayon::prelude::*;

use crate::error::Result;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::batch::scalar;
use crate::expectation::scalar::Scalar;
use crate::imaging::shift::Phases;

use super::arguments::Plane;
use super::arguments::Value;
use super::link::Link;
use super::memory::Sizes;
use super::memory::Tables;
use super::planes;

/// Lanes of a warp.
const WARP: usize = 32;
/// No pixel.
const NONE: u32 = u32::MAX;

/// The pixels of each shell, filled up to whole warps.
pub fn warps_of_shells(shells: &[u16]) -> Vec<u32> {
    let mut places = Vec::with_capacity(shells.len() + shells.len() / 2);
    let mut first = 0;
    for of_shell in shells.chunk_by(|a, b| a == b) {
        places.extend((first..first + of_shell.len()).map(|k| k as u32));
        places.resize(places.len().next_multiple_of(WARP), NONE);
        first += of_shell.len();
    }
    places
}

/// Fills the tables of a group. `log_directions`: by class and direction.
pub fn fill<T: Scalar>(
    setting: &Setting<'_>,
    sizes: &Sizes,
    link: &Link<'_>,
    tables: &Tables<'_, T>,
    log_directions: &[T],
) -> Result<()> {
    let (group, task, shape) = (setting.group, setting.task, &sizes.shape);
    let pixels: Vec<[i16; 2]> = group.kx.iter().zip(&group.ky).map(|(kx, ky)| [*kx, *ky]).collect();
    link.upload(tables.pixels, &pixels)?;
    let mut axes = Phases::new(group.box_pixels);
    let mut factors = vec![Complex::<f64>::default(); group.count()];
    let mut rows = |offsets: &mut dyn Iterator<Item = [f64; 2]>| -> Vec<Value<T>> {
        let row = |by: [f64; 2]| {
            let by = group.pixels(by);
            axes.fill(&group.kx, &group.ky, by[0], by[1], &mut factors);
            let mut row = vec![[T::default(); 2]; sizes.row()];
            row.iter_mut().zip(&factors).for_each(|(out, f)| *out = [scalar(f.re), scalar(f.im)]);
            row
        };
        offsets.flat_map(row).collect()
    };
    let list = task.translations;
    link.upload(tables.phases, &rows(&mut (0..shape.translations).map(|t| list.coarse(t))))?;
    let parent = list.coarse(0);
    let mut steps = (0..shape.steps).map(|step| list.child(0, step)).map(|c| [c[0] - parent[0], c[1] - parent[1]]);
    link.upload(tables.step_phases, &rows(&mut steps))?;
    let places = warps_of_shells(&group.shell);
    let shells: Vec<u16> = places.chunks_exact(WARP).map(|warp| group.shell[warp[0] as usize]).collect();
    link.upload(tables.places, &places)?;
    link.upload(tables.shells, &shells)?;
    link.zero(tables.direction_mass)?;
    if shape.local {
        return Ok(());
    }
    let orientations = sizes.orientations as u32;
    let mut made: Vec<Plane<T>> = vec![[[T::default(); 3]; 2]; tables.children.len()];
    planes::of_children(setting, (0..orientations).into_par_iter(), &mut made);
    link.upload(tables.children, &made)?;
    made.truncate(sizes.orientations);
    planes::of_poses(setting, (0..orientations).into_par_iter(), &mut made);
    link.upload(tables.poses, &made)?;
    let log_poses: Vec<T> = log_directions
        .chunks_exact(shape.directions)
        .flat_map(|of_class| (0..sizes.orientations).map(|o| of_class[task.orientations.direction_of(o)]))
        .collect();
    link.upload(tables.log_poses, &log_poses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_warp_spans_two_shells() {
        let shells: Vec<u16> = [vec![1; 5], vec![2; 32], vec![3; 40]].concat();
        let places = warps_of_shells(&shells);
        assert_eq!(places.len(), 32 + 32 + 64);
        for warp in places.chunks(32) {
            let of_warp: Vec<u16> = warp.iter().filter(|k| **k != NONE).map(|k| shells[*k as usize]).collect();
            assert!(!of_warp.is_empty() && of_warp.iter().all(|s| *s == of_warp[0]));
        }
        let pixels: Vec<u32> = places.into_iter().filter(|k| *k != NONE).collect();
        assert!(pixels.into_iter().eq(0..77));
    }
}
