//! Memory of a refinement: the layout of an iteration, the budgets of its expectation step, and what is held beside
//! the arena.

use crate::arena::Arena;
use crate::arena::Kind;
use crate::arena::Layout;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::SumVoxel;
use crate::expectation::Task;
use crate::expectation::products;
use crate::expectation::products::Config;
use crate::plan::JobKind;
use crate::plan::Plan;

use super::inputs::Inputs;
use super::maximise;
use super::settings::Settings;

/// Memory for coarse energies, fine weights and kept columns when nothing else is said.
const ENERGY_BYTES: usize = 32 << 20;
const WEIGHT_BYTES: usize = 128 << 20;
const COLUMN_BYTES: usize = 96 << 20;
/// Blocks of a batch when nothing else is said.
const BLOCKS_PER_BATCH: usize = 4;
/// Budgets are halved down to this.
const LEAST_BYTES: usize = 1 << 20;

/// Records of a particle: what is read, found and written about it, the input row as text and the copies that are
/// written as a checkpoint included.
const PARTICLE_BYTES: usize = 1280;
/// What is summed about a particle in each class.
const CLASS_BYTES: usize = 32;
/// Directions with their mates, angles, and probabilities in every class and half, shared out over the orientations.
const ORIENTATION_BYTES: usize = 16;
/// Tables with an entry a row of the padded volume: starts of rows, pointers to rows in transforms, sums per plane
/// and shell.
const ROW_BYTES: usize = 64;
/// Program, libraries, stacks of threads, tables of transforms.
const PROGRAM_BYTES: usize = 48 << 20;

/// What the process holds beside the arena, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Beside {
    /// Maps: references and mask as read, the models of all classes and halves, half maps to be written.
    pub models: usize,
    pub particles: usize,
    pub tables: usize,
    pub program: usize,
}

impl Beside {
    /// `orientations`: those of the grid, over all directions.
    pub fn new(plan: &Plan, inputs: &Inputs, step: &maximise::Step, orientations: usize) -> Self {
        let halves = if plan.kind == JobKind::Refine3d { 2 } else { 1 };
        let read = inputs.references.len() + usize::from(inputs.mask.is_some());
        // Those that are written as a checkpoint meanwhile, and one map more while one replaces another.
        let maps = read + 2 * halves * plan.classes + 1 + if step.unfiltered { 2 } else { 0 };
        Self {
            models: maps * inputs.box_pixels().pow(3) * size_of::<f32>(),
            particles: inputs.dataset.particles.len() * (PARTICLE_BYTES + plan.classes * CLASS_BYTES),
            tables: step.geometry.rows.row_count() * ROW_BYTES + orientations * ORIENTATION_BYTES,
            program: PROGRAM_BYTES,
        }
    }

    pub fn total(&self) -> usize {
        self.models + self.particles + self.tables + self.program
    }
}

/// Where everything of an iteration will lie: the tasks of the halves, one after the other, each with sums that stay,
/// and then the maximisation step.
pub fn layout<T: Scalar>(tasks: &[Task<'_>], step: &maximise::Step, settings: &Settings) -> Result<Layout> {
    let mut arena = Arena::counting();
    arena.run(|run| {
        run.child(Kind::Iteration, |frame| {
            for task in tasks {
                products::sums(frame, task.model.classes.len(), step.geometry.rows.len())?;
                settings.count::<T>(task, frame)?;
            }
            maximise::count(step, frame)
        })
    })?;
    Ok(arena.layout())
}

/// The engine's settings without a cap on memory; on a device of compute capability `on_device`, if there is one.
pub fn settings(plan: &Plan, inputs: &Inputs, on_device: Option<(u32, u32)>) -> Settings {
    if let Some(capability) = on_device {
        return Settings::of_device(plan, capability, inputs.pixel_bytes());
    }
    let threads = plan.thread_count();
    Settings::Host(Config {
        isa: inputs.isa,
        threads,
        block_particles: plan.block_particles,
        blocks_per_batch: plan.blocks_per_batch.unwrap_or(BLOCKS_PER_BATCH),
        sum_copies: threads.min(2),
        energy_bytes: ENERGY_BYTES,
        weight_bytes: WEIGHT_BYTES,
        column_bytes: COLUMN_BYTES,
        pixel_bytes: inputs.pixel_bytes(),
    })
}

/// What was found to fit.
pub struct Fitting {
    pub settings: Settings,
    pub host: Layout,
    /// Empty without a device; without resident images.
    pub device: Layout,
    /// Bytes of page-locked memory.
    pub staging: usize,
}

/// The largest settings up to `settings` with which arena and the rest fit `plan.memory_bytes`, and the device's arena
/// `device_bytes`. None of what is made smaller changes a result.
///
/// # Errors
/// `Memory` when the smallest settings do not fit.
pub fn fit<T: Scalar>(
    tasks: &[Task<'_>],
    step: &maximise::Step,
    plan: &Plan,
    settings: &Settings,
    device_bytes: Option<u64>,
    beside: &Beside,
) -> Result<Fitting> {
    let mut settings = *settings;
    let keeps_batches = plan.blocks_per_batch.is_some();
    loop {
        let device = settings.device_layout::<T>(tasks, 0)?;
        if device_bytes.is_some_and(|most| device.peak as u64 > most) {
            if settings.shrink_on_device(keeps_batches) {
                continue;
            }
            return Err(Error::new(
                ExitCode::Memory,
                "",
                format!(
                    "the iteration needs at least {} MiB on the GPU, {} MiB are there for it",
                    device.peak.div_ceil(1 << 20),
                    device_bytes.unwrap_or_default() >> 20
                ),
                "Raise --gpu-memory if the GPU has more, use a larger one, or compute on CPUs: --backend cpu.",
            ));
        }
        let host = layout::<T>(tasks, step, &settings)?;
        let staging = settings.staging_bytes::<T>(tasks)?;
        let needed = host.peak + beside.total() + staging;
        let Some(cap) = plan.memory_bytes.filter(|cap| needed as u64 > *cap) else {
            return Ok(Fitting { settings, host, device, staging });
        };
        let copy_bytes = plan.classes * step.geometry.rows.len() * size_of::<SumVoxel>();
        let is_smaller = match &mut settings {
            Settings::Host(config) => shrink(config, keeps_batches, copy_bytes),
            Settings::Device(_) => settings.shrink_on_device(keeps_batches),
        };
        if !is_smaller {
            return Err(Error::new(
                ExitCode::Memory,
                "",
                format!(
                    "the iteration needs at least {} MiB ({} MiB of them in the arena), {} MiB are allowed",
                    needed.div_ceil(1 << 20),
                    host.peak >> 20,
                    cap >> 20
                ),
                "Raise --memory; `relion-rs plan` says what the largest iteration needs. Fewer --threads need less.",
            ));
        }
    }
}

/// One step down; what costs the least time for its memory goes first. A copy of all sums takes `copy_bytes`.
fn shrink(config: &mut Config, keeps_batches: bool, copy_bytes: usize) -> bool {
    let halved = |bytes: usize| if bytes / 2 < LEAST_BYTES { 0 } else { bytes / 2 };
    // Large boxes: threads that wait for each other cost less than batches with next to no memory.
    if config.sum_copies > 1 && copy_bytes > config.column_bytes + config.energy_bytes + config.weight_bytes {
        config.sum_copies -= 1;
        return true;
    }
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
