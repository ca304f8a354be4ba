//! What every step begins with, wherever it is computed.

use crate::arena;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::group::Group;
use crate::expectation::reference::WELL_RESOLVED;
use crate::expectation::task::Task;
use crate::imaging::Geometry;
use crate::model::ClassModel;
use crate::product::Voxel;

use super::finished::Earlier;
use super::load::Limits;
use super::result::Totals;

/// The optics groups of a step and their particles, the units of its sums, and what is done already.
pub struct Begun {
    pub groups: Vec<Group>,
    /// By optics group: places among the task's particles, and indices into the data set.
    pub members: Vec<Vec<(usize, u32)>>,
    pub limits: Limits,
    /// Units of data and weight in the sums.
    pub scale: [f64; 2],
    pub totals: Totals,
}

impl Begun {
    /// Takes over what an earlier process finished; `sums`, one volume a class, become integers.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn new(
        task: &Task<'_>,
        geometry: &Geometry,
        block_particles: usize,
        reference_power: &[Vec<f64>],
        sums: &mut [&mut [SumVoxel]],
        earlier: Option<Earlier<'_>>,
    ) -> Result<Self> {
        let groups: Vec<Group> =
            (0..task.dataset.optics.len()).map(|optics| Group::new(task, geometry, optics)).collect();
        let members: Vec<Vec<(usize, u32)>> = groups.iter().map(|group| members(task, group)).collect();
        let limits = limits(task, &groups, reference_power);
        let scale = scale(task, block_particles, limits);
        let mut totals = Totals::new(task, &groups, &members, block_particles);
        if let Some(earlier) = earlier {
            earlier.finished.into_iter().try_for_each(|finished| totals.absorb(scale, finished))?;
            for (class, sums) in sums.iter_mut().enumerate() {
                (earlier.add)(class, arena::recast::<SumVoxel, Voxel>(sums))?;
            }
        }
        Ok(Self { groups, members, limits, scale, totals })
    }
}

/// The particles of an optics group: position among the task's, and index into the data set.
pub fn members(task: &Task<'_>, group: &Group) -> Vec<(usize, u32)> {
    let of_group = |p: &u32| task.dataset.particles[*p as usize].optics as usize == group.optics;
    task.particles.iter().copied().enumerate().filter(|(_, p)| of_group(p)).collect()
}

/// Units of data and weight in the volumes: powers of two.
pub fn scale(task: &Task<'_>, block_particles: usize, limits: Limits) -> [f64; 2] {
    // A whole block is scattered at once. Its weights add up; its data hardly ever do (`maximise::scatter` looks).
    let block = block_particles.min(task.particles.len()).max(1) as f64;
    [(limits.data, 1.0), (limits.weight, block)].map(|(largest, at_once)| {
        // Every particle adds at most `largest` to a voxel, over eight corners; 2^61 leaves a bit for signs.
        let room = (1_u64 << 61) as f64 / (8.0 * largest * task.particles.len().max(1) as f64);
        // What is scattered at once is rounded exactly below 2^50.
        room.min((1_u64 << 50) as f64 / (largest * at_once)).log2().floor().exp2()
    })
}

/// Coefficients beyond 4096 times the expected size belong to broken images.
const STRONGEST: f64 = 4096.0;

pub fn limits(task: &Task<'_>, groups: &[Group], reference_power: &[Vec<f64>]) -> Limits {
    let scale = task.model.groups.iter().map(|g| g.scale).fold(1.0, f64::max);
    let ctf_scale =
        task.particles.iter().map(|p| task.dataset.particles[*p as usize].ctf.scale.abs()).fold(1.0, f64::max);
    let largest_ctf = scale * ctf_scale;
    let mut limits = Limits { data: f64::MIN_POSITIVE, weight: f64::MIN_POSITIVE };
    for group in groups {
        for (shell, v) in group.inverse_sigma2.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            let signal =
                reference_power.iter().filter_map(|p| p.get(group.model_shell[shell])).copied().fold(0.0, f64::max);
            let rms = (2.0 / v + 2.0 * signal * largest_ctf * largest_ctf).sqrt();
            limits.data = limits.data.max(STRONGEST * v * largest_ctf * rms);
            // The B-factor and premultiplied images: room beyond the plain square.
            limits.weight = limits.weight.max(16.0 * v * largest_ctf * largest_ctf);
        }
    }
    limits
}

/// By class and shell of the group's images: whether the class is well resolved there.
pub fn well_resolved(task: &Task<'_>, group: &Group) -> Vec<bool> {
    let well = |class: &ClassModel, s: usize| class.ssnr.get(s).is_some_and(|r| *r > WELL_RESOLVED);
    let classes = task.model.classes.iter();
    classes.flat_map(|class| group.model_shell.iter().map(move |s| well(class, *s))).collect()
}
