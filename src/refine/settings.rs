//! How the expectation step is done: on the host alone, or on a device. The one place where the two part ways.

use crate::arena::Arena;
use crate::arena::Frame;
use crate::arena::Kind;
use crate::arena::Layout;
use crate::device::Precision as Scalars;
use crate::error::Result;
use crate::expectation::ImageSource;
use crate::expectation::Scalar;
use crate::expectation::SumVoxel;
use crate::expectation::Task;
use crate::expectation::gpu;
use crate::expectation::gpu::DeviceFrame;
use crate::expectation::gpu::Form;
use crate::expectation::gpu::Resident;
use crate::expectation::products;
use crate::expectation::products::Earlier;
use crate::expectation::products::Half;
use crate::expectation::products::Watch;
use crate::plan::CoarseForm;
use crate::plan::Plan;
use crate::plan::Precision;

/// Memory for coarse energies and fine weights on a device when nothing else is said.
const DEVICE_BYTES: usize = 1 << 30;
/// Blocks of a batch on a device when nothing else is said: enough to fill it, few enough to overlap.
const DEVICE_BLOCKS: usize = 8;
/// Memory for images that are being prepared: smaller only after energies, weights and batches.
const DEVICE_IMAGE_BYTES: usize = 256 << 20;
/// Budgets on a device are halved down to this before batches become smaller, and down to the least after that.
const SMALL_DEVICE_BYTES: usize = 16 << 20;
const LEAST_DEVICE_BYTES: usize = 1 << 20;

/// Settings of the expectation step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Settings {
    Host(products::Config),
    Device(gpu::Config),
}

impl Settings {
    /// For a device of this compute capability, whatever it holds.
    pub fn of_device(plan: &Plan, capability: (u32, u32), pixel_bytes: usize) -> Self {
        let scalars = match plan.precision {
            Precision::Single => Scalars::Single,
            Precision::Double => Scalars::Double,
        };
        Self::Device(gpu::Config {
            threads: plan.thread_count(),
            block_particles: plan.block_particles,
            blocks_per_batch: plan.blocks_per_batch.unwrap_or(DEVICE_BLOCKS),
            energy_bytes: DEVICE_BYTES,
            weight_bytes: DEVICE_BYTES,
            image_bytes: DEVICE_IMAGE_BYTES,
            pixel_bytes,
            form: form(plan.coarse_form, capability, scalars),
        })
    }

    pub fn threads(&self) -> usize {
        match self {
            Self::Host(config) => config.threads,
            Self::Device(config) => config.threads,
        }
    }

    pub fn block_particles(&self) -> usize {
        match self {
            Self::Host(config) => config.block_particles,
            Self::Device(config) => config.block_particles,
        }
    }

    pub fn blocks_per_batch(&self) -> usize {
        match self {
            Self::Host(config) => config.blocks_per_batch,
            Self::Device(config) => config.blocks_per_batch,
        }
    }

    /// The allocations of [`Self::expect`] on the host, alone.
    pub fn count<T: Scalar>(&self, task: &Task<'_>, frame: &mut Frame<'_>) -> Result<()> {
        match self {
            Self::Host(config) => products::count::<T>(task, config, frame),
            Self::Device(config) => gpu::count_host::<T>(task, config, frame),
        }
    }

    /// Where everything will lie on the device, behind resident images of so many bytes; nothing without one.
    pub fn device_layout<T: Scalar>(&self, tasks: &[Task<'_>], resident_bytes: usize) -> Result<Layout> {
        let Self::Device(config) = self else { return Ok(Layout::default()) };
        let mut arena = Arena::of_device(Arena::UNLIMITED);
        arena.run(|run| {
            Resident::count(run, resident_bytes)?;
            run.child(Kind::Iteration, |frame| {
                tasks.iter().try_for_each(|task| gpu::count_device::<T>(task, config, frame))
            })
        })?;
        Ok(arena.layout())
    }

    /// Bytes of page-locked memory beside the arena; none without a device.
    pub fn staging_bytes<T: Scalar>(&self, tasks: &[Task<'_>]) -> Result<usize> {
        let Self::Device(config) = self else { return Ok(0) };
        tasks.iter().try_fold(0, |most, task| Ok(most.max(gpu::staging_bytes::<T>(task, config)?)))
    }

    /// The expectation step of a half set. `device` is there where these are settings of one.
    pub fn expect<T: Scalar>(
        &self,
        task: &Task<'_>,
        source: &dyn ImageSource,
        sums: &mut [&mut [SumVoxel]],
        frame: &mut Frame<'_>,
        device: Option<DeviceFrame<'_, '_>>,
        earlier: Option<Earlier<'_>>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Half>> {
        match (self, device) {
            (Self::Device(config), Some(device)) => {
                gpu::expect_watched::<T>(task, source, config, sums, frame, device, earlier, watch)
            }
            (Self::Host(config), None) => {
                products::expect_watched::<T>(task, source, config, sums, frame, earlier, watch)
            }
            _ => Err(crate::error::Error::internal("settings of a device and a device come together")),
        }
    }

    /// One step down in the device's memory; what costs the least time for its memory goes first.
    pub fn shrink_on_device(&mut self, keeps_batches: bool) -> bool {
        let Self::Device(config) = self else { return false };
        let largest = config.energy_bytes.max(config.weight_bytes);
        if largest > SMALL_DEVICE_BYTES {
            halve_larger(config);
        } else if config.blocks_per_batch > 1 && !keeps_batches {
            config.blocks_per_batch /= 2;
        } else if config.image_bytes > SMALL_DEVICE_BYTES {
            config.image_bytes /= 2;
        } else if largest > LEAST_DEVICE_BYTES {
            halve_larger(config);
        } else if config.image_bytes > LEAST_DEVICE_BYTES {
            config.image_bytes /= 2;
        } else {
            return false;
        }
        true
    }
}

fn halve_larger(config: &mut gpu::Config) {
    if config.energy_bytes >= config.weight_bytes {
        config.energy_bytes /= 2;
    } else {
        config.weight_bytes /= 2;
    }
}

/// The form of the coarse search that was asked for, or the fastest exact one.
fn form(asked: CoarseForm, capability: (u32, u32), precision: Scalars) -> Form {
    match asked {
        CoarseForm::Auto => Form::fastest_exact(capability, precision),
        CoarseForm::Direct => Form::Direct,
        CoarseForm::Tile => Form::Tile,
        CoarseForm::Product => Form::Product,
        CoarseForm::Tf32 => Form::Tf32,
        CoarseForm::Fp16 => Form::Fp16,
        CoarseForm::ThreeTf32 => Form::ThreeTf32,
    }
}

/// # Errors
/// `Unavailable`: the device or the precision does not have the form that was asked for.
pub fn check_form(plan: &Plan, capability: (u32, u32)) -> Result<()> {
    let scalars = match plan.precision {
        Precision::Single => Scalars::Single,
        Precision::Double => Scalars::Double,
    };
    let form = form(plan.coarse_form, capability, scalars);
    if form.available(capability, scalars) {
        return Ok(());
    }
    Err(crate::error::Error::new(
        crate::error::ExitCode::Unavailable,
        "coarse_form",
        format!(
            "compute capability {}.{} has no matrix units for `{}` in {} precision",
            capability.0,
            capability.1,
            form.name(),
            scalars.name()
        ),
        "Use coarse_form = \"auto\", or one of direct, tile, product.",
    ))
}
