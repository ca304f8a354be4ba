//! Memory of a refinement: the budgets of the expectation step, and what is held beside its arena.

use crate::arena::Layout;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::Task;
use crate::expectation::products;
use crate::expectation::products::Config;
use crate::imaging::Geometry;
use crate::maximisation::reconstruct;
use crate::plan::JobKind;
use crate::plan::Plan;

use super::inputs::Inputs;

/// Memory for coarse energies, fine weights and kept columns when nothing else is said.
const ENERGY_BYTES: usize = 32 << 20;
const WEIGHT_BYTES: usize = 128 << 20;
const COLUMN_BYTES: usize = 96 << 20;
/// Blocks of a batch when nothing else is said.
const BLOCKS_PER_BATCH: usize = 4;
/// Budgets are halved down to this.
const LEAST_BYTES: usize = 1 << 20;

/// A voxel of the sums: a complex number and a weight, in double precision.
const SUM_BYTES: usize = 24;
/// Records of a particle: what is read, found and written about it, the input row as text included.
const PARTICLE_BYTES: usize = 1024;
/// Copies of a class's map between two iterations: the model, the one that replaces it, and one being written.
const MAP_COPIES: usize = 3;
/// Program, libraries, stacks of threads, tables of transforms.
const PROGRAM_BYTES: usize = 48 << 20;

/// What the process holds beside the arena, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Beside {
    /// Sums of all halves and the working memory of a reconstruction.
    pub maximisation: usize,
    /// Maps of all classes and halves.
    pub models: usize,
    pub particles: usize,
    pub program: usize,
}

impl Beside {
    /// For an iteration with the window of `geometry`; `last` marks the final one of a refinement, which makes
    /// unfiltered maps from copies of the sums.
    pub fn new(plan: &Plan, geometry: &Geometry, particles: usize, last: bool) -> Self {
        let halves = if plan.kind == JobKind::Refine3d { 2 } else { 1 };
        let voxels = geometry.rows.len();
        let cube = geometry.box_pixels.pow(3);
        let copies = usize::from(last || (halves == 2 && plan.solvent_correct_fsc));
        let sums = (halves * plan.classes + copies) * voxels * SUM_BYTES;
        let work = if plan.gridding {
            let n = geometry.padded_pixels;
            n * n * (n / 2 + 1) * 16 + voxels * 8
        } else {
            reconstruct::work_len(geometry) * 16
        };
        Self {
            maximisation: sums + work + cube * 8,
            models: MAP_COPIES * halves * plan.classes * cube * size_of::<f32>(),
            particles: particles * PARTICLE_BYTES,
            program: PROGRAM_BYTES,
        }
    }

    pub fn total(&self) -> usize {
        self.maximisation + self.models + self.particles + self.program
    }
}

/// The engine's settings without a cap on memory.
pub fn config(plan: &Plan, inputs: &Inputs) -> Config {
    let threads = plan.thread_count();
    Config {
        isa: inputs.isa,
        threads,
        block_particles: plan.block_particles,
        blocks_per_batch: plan.blocks_per_batch.unwrap_or(BLOCKS_PER_BATCH),
        sum_copies: threads.min(2),
        energy_bytes: ENERGY_BYTES,
        weight_bytes: WEIGHT_BYTES,
        column_bytes: COLUMN_BYTES,
        pixel_bytes: inputs.pixel_bytes(),
    }
}

/// The largest settings up to `config` with which arena and the rest fit `plan.memory_bytes`, and the arena's layout.
/// None of what is made smaller changes a result.
///
/// # Errors
/// `Memory` when the smallest settings do not fit.
pub fn fit<T: Scalar>(task: &Task<'_>, plan: &Plan, config: &Config, beside: &Beside) -> Result<(Config, Layout)> {
    let mut config = *config;
    loop {
        let layout = products::layout::<T>(task, &config)?;
        let needed = layout.peak + beside.total();
        let Some(cap) = plan.memory_bytes.filter(|cap| needed as u64 > *cap) else {
            return Ok((config, layout));
        };
        if !shrink(&mut config, plan.blocks_per_batch.is_some()) {
            return Err(Error::new(
                ExitCode::Memory,
                "",
                format!(
                    "the iteration needs at least {} MiB ({} MiB of them for the expectation step), {} MiB are allowed",
                    needed.div_ceil(1 << 20),
                    layout.peak >> 20,
                    cap >> 20
                ),
                "Raise --memory; `relion-rs plan` says what the largest iteration needs. Fewer --threads need less.",
            ));
        }
    }
}

/// One step down; what costs the least time goes first.
fn shrink(config: &mut Config, keeps_batches: bool) -> bool {
    let halved = |bytes: usize| if bytes / 2 < LEAST_BYTES { 0 } else { bytes / 2 };
    if config.column_bytes > 0 {
        config.column_bytes = halved(config.column_bytes);
    } else if config.blocks_per_batch > 1 && !keeps_batches {
        config.blocks_per_batch /= 2;
    } else if config.energy_bytes > 0 {
        config.energy_bytes = halved(config.energy_bytes);
    } else if config.weight_bytes > 0 {
        config.weight_bytes = halved(config.weight_bytes);
    } else if config.sum_copies > 1 {
        config.sum_copies -= 1;
    } else {
        return false;
    }
    true
}
