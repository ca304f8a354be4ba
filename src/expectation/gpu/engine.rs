//! A step on a device: what it holds from its beginning to its end, and the loop over optics groups.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use num_complex::Complex;

use crate::arena;
use crate::arena::Frame;
use crate::arena::Kind;
use crate::device;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::group::Group;
use crate::expectation::images::ImageSource;
use crate::expectation::products;
use crate::expectation::products::Earlier;
use crate::expectation::products::Half;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::expectation::products::Watch;
use crate::expectation::products::batch;
use crate::expectation::products::begun::Begun;
use crate::expectation::products::shape;
use crate::expectation::products::supply::Everything;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Outcome;
use crate::expectation::task::Task;
use crate::imaging::Geometry;
use crate::imaging::projector;
use crate::product::Voxel;
use crate::weights;

use super::form::Form;
use super::group::How;
use super::group::Memory;
use super::group::Step;
use super::group::run_group;
use super::link::DeviceFrame;
use super::link::Link;
use super::memory;
use super::memory::SLOTS;
use super::memory::Sizes;
use super::memory::Volumes;
use super::prepare;
use super::tables;

/// Voxels that come back from the device at a time.
const PIECE: usize = 1 << 20;
/// Poses that are projected at once, at most.
const CHUNK: usize = 4096;

/// How the engine works; nothing here changes a result except `block_particles`, the form and the scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Threads of the host.
    pub threads: usize,
    /// Particles of a block: the unit of floating-point sums.
    pub block_particles: usize,
    pub blocks_per_batch: usize,
    /// Bytes for coarse energies, and for blocks of fine weights.
    pub energy_bytes: usize,
    pub weight_bytes: usize,
    /// Bytes for images that are being prepared.
    pub image_bytes: usize,
    /// Bytes of a pixel in the files, at most.
    pub pixel_bytes: usize,
    pub form: Form,
}

impl Config {
    /// Sizes of one optics group's batches.
    pub fn sizes<T: Scalar>(&self, task: &Task<'_>, group: &Group, particles: usize) -> Sizes {
        let host = products::Config {
            isa: crate::product::Isa::Portable,
            threads: self.threads,
            block_particles: self.block_particles,
            blocks_per_batch: self.blocks_per_batch,
            sum_copies: 1,
            energy_bytes: 0,
            weight_bytes: 0,
            column_bytes: 0,
            pixel_bytes: self.pixel_bytes,
        };
        let mut shape = host.shape::<T>(task, group, particles);
        shape.columns = 0;
        let energies = shape.poses * shape.translations * size_of::<T>();
        shape.searched = (self.energy_bytes / energies.max(1)).clamp(1, shape.particles);
        let of_pose = shape.particles * shape.translations;
        let all = of_pose * shape.poses;
        shape.blocks = (self.weight_bytes / weights::block_bytes(1, size_of::<T>())).clamp(of_pose, all.max(of_pose));
        let orientations = task.orientations.count();
        let places: usize = tables::warps_of_shells(&group.shell).len();
        let at_once = prepare::Sizes::at_once(task, group, self.image_bytes);
        let prepare = prepare::Sizes::new(task, group, shape.particles, at_once, shape.image_bytes);
        Sizes { shape, chunk: CHUNK.min(orientations), places, prepare, orientations }
    }

    fn of_groups(
        &self,
        task: &Task<'_>,
        geometry: &Geometry,
        mut visit: impl FnMut(&Group, usize) -> Result<()>,
    ) -> Result<()> {
        (0..task.dataset.optics.len()).try_for_each(|optics| {
            let is_member = |p: &&u32| task.dataset.particles[**p as usize].optics as usize == optics;
            let members = task.particles.iter().filter(is_member).count();
            if members == 0 { Ok(()) } else { visit(&Group::new(task, geometry, optics), members) }
        })
    }
}

/// The allocations of [`expect_watched`] on the host, alone.
pub fn count_host<T: Scalar>(task: &Task<'_>, config: &Config, frame: &mut Frame<'_>) -> Result<()> {
    let geometry = &task.geometry();
    frame.child(Kind::Iteration, |frame| {
        for _ in &task.model.classes {
            frame.child(Kind::Tile, |tile| host_reference::<T>(tile, geometry, config.threads).map(|_| ()))?;
        }
        frame.alloc::<Voxel>("sums from the device", PIECE.min(geometry.rows.len()))?;
        config.of_groups(task, geometry, |group, members| {
            let sizes = config.sizes::<T>(task, group, members);
            frame.child(Kind::Iteration, |frame| {
                shape::request_buffer(frame, &sizes.shape)?;
                frame.child(Kind::Batch, |frame| memory::host_buffers::<T>(frame, &sizes).map(|_| ()))
            })
        })
    })
}

/// The allocations of [`expect_watched`] on the device, alone.
pub fn count_device<T: Scalar>(task: &Task<'_>, config: &Config, frame: &mut Frame<'_>) -> Result<()> {
    let geometry = &task.geometry();
    frame.child(Kind::Iteration, |frame| {
        memory::volumes::<T>(frame, task.model.classes.len(), geometry)?;
        config.of_groups(task, geometry, |group, members| {
            let sizes = config.sizes::<T>(task, group, members);
            frame.child(Kind::Iteration, |frame| {
                memory::tables::<T>(frame, &sizes)?;
                frame.child(Kind::Batch, |frame| {
                    for _ in 0..SLOTS {
                        memory::slot::<T>(frame, &sizes)?;
                    }
                    prepare::memory(frame, &sizes.prepare)?;
                    memory::work::<T>(frame, &sizes, config.form.is_narrow()).map(|_| ())
                })
            })
        })
    })
}

/// Bytes of page-locked memory that images wait in for their way to the device: two batches.
pub fn staging_bytes<T: Scalar>(task: &Task<'_>, config: &Config) -> Result<usize> {
    let mut most = 0;
    config.of_groups(task, &task.geometry(), |group, members| {
        most = most.max(2 * config.sizes::<T>(task, group, members).shape.batch_bytes());
        Ok(())
    })?;
    Ok(most)
}

/// A reference on its way to the device, and what building it needs.
fn host_reference<'f, T: Scalar>(
    tile: &mut Frame<'f>,
    geometry: &Geometry,
    threads: usize,
) -> Result<[&'f mut [Complex<T>]; 2]> {
    Ok([tile.alloc("reference", geometry.rows.len())?, shape::projector_work::<T>(tile, geometry, threads)?])
}

/// Runs the step to its end. `sums` are zeros, one volume a class; see [`super::super::products::expect`].
pub fn expect<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    sums: &mut [&mut [SumVoxel]],
    frame: &mut Frame<'_>,
    device: DeviceFrame<'_, '_>,
) -> Result<Outcome> {
    let mut after_batch = |_: &mut Midway<'_, '_>| Ok(Next::GoOn);
    let watch = &mut Watch { supply: None, stop: &AtomicBool::new(false), after_batch: &mut after_batch };
    match expect_watched::<T>(task, source, config, sums, frame, device, None, watch)? {
        Some(half) => Ok(half.finish(task, sums)),
        None => Err(Error::internal("nobody stopped this step")),
    }
}

/// Runs the step on a device from what an earlier process finished, until all blocks are finished or `watch` wants it
/// to stop (then there is none). `sums` are zeros, one volume a class; they become integers, until [`Half::finish`].
pub fn expect_watched<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    sums: &mut [&mut [SumVoxel]],
    frame: &mut Frame<'_>,
    device: DeviceFrame<'_, '_>,
    earlier: Option<Earlier<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Option<Half>> {
    if earlier.is_none() && !watch.supply.map_or(Ok(true), |supply| supply.is_wanted())? {
        // The others do it all; memory lies as if not.
        count_host::<T>(task, config, frame)?;
        count_device::<T>(task, config, device.frame)?;
        return Ok(Some(Half::idle(task, config.block_particles)));
    }
    let DeviceFrame { link, frame: device_frame, staging, resident } = device;
    frame.child(Kind::Iteration, |frame| {
        device_frame.child(Kind::Iteration, |device_frame| {
            let device = DeviceFrame { link, frame: device_frame, staging, resident };
            iteration::<T>(task, source, config, sums, frame, device, earlier, watch)
        })
    })
}

fn iteration<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    sums: &mut [&mut [SumVoxel]],
    frame: &mut Frame<'_>,
    device: DeviceFrame<'_, '_>,
    earlier: Option<Earlier<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Option<Half>> {
    let DeviceFrame { link, frame: device_frame, staging, resident } = device;
    let geometry = &task.geometry();
    let classes = task.model.classes.len();
    let volumes = memory::volumes::<T>(device_frame, classes, geometry)?;
    link.zero(volumes.sums)?;
    link.upload(volumes.starts, geometry.rows.starts())?;
    let (reference_power, dc) = send_references(frame, task, geometry, config, &link, &volumes)?;
    let piece = frame.alloc::<Voxel>("sums from the device", PIECE.min(geometry.rows.len()))?;
    let Begun { groups, members, limits, scale, mut totals } =
        Begun::new(task, geometry, config.block_particles, &reference_power, sums, earlier)?;
    let everything = Everything::of(&totals);
    let supply = watch.supply.unwrap_or(&everything);
    let watch = &mut Watch { supply: Some(supply), stop: watch.stop, after_batch: &mut *watch.after_batch };
    let integers = sums.iter_mut().map(|sums| arena::recast::<SumVoxel, Voxel>(sums));
    let sums: Vec<Mutex<&mut [Voxel]>> = integers.map(Mutex::new).collect();
    let (sums, dc) = (&*sums, &*dc);
    let step = Step { task, config, link, resident, geometry, volumes: &volumes, sums, limits, scale, dc };
    let narrow_scales = step.narrow_scales()?;
    for group in groups.iter().filter(|group| !members[group.optics].is_empty()) {
        let widening = widening::<T>(config.form, group, &reference_power);
        let next = frame.child(Kind::Iteration, |frame| {
            device_frame.child(Kind::Iteration, |device_frame| {
                let how = How { narrow_scales, widening };
                let memory = Memory { frame, device_frame, staging, piece };
                run_group::<T>(&step, source, group, how, memory, &members, &mut totals, watch)
            })
        })?;
        if next == Next::Stop {
            return Ok(None);
        }
    }
    step.gather(piece)?;
    Ok(Some(Half { groups, members, totals, scale, reference_power, is_idle: false }))
}

/// What a form of reduced precision adds to the exponent at which samples stop being significant.
fn widening<T: Scalar>(form: Form, group: &Group, reference_power: &[Vec<f64>]) -> f64 {
    let signal = |shell: usize| {
        let of_shell = |power: &Vec<f64>| power.get(group.model_shell[shell]).copied().unwrap_or(0.0);
        reference_power.iter().map(of_shell).fold(0.0, f64::max)
    };
    let coarse = group.shell[..group.coarse_count].iter().zip(&group.noise_weight);
    // The mean of half the squared products |P|^2 v^2 |F|^2, F being noise of power 2/v and P itself. Power spectra hold
    // half of |P|^2, whose square is twice the mean's in the mean over a shell; no CTF exceeds 1.
    let squares =
        coarse.map(|(shell, v)| v * signal(usize::from(*shell))).map(|power| 2.0 * power + 4.0 * power * power);
    form.widening(T::PRECISION, squares.sum::<f64>().sqrt())
}

/// Builds the classes' references one after the other and sends them to the device. Returns their power spectra and
/// zero frequencies.
fn send_references<T: Scalar>(
    frame: &mut Frame<'_>,
    task: &Task<'_>,
    geometry: &Geometry,
    config: &Config,
    link: &Link<'_>,
    volumes: &Volumes<'_, T>,
) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let (mut powers, mut dc) = (Vec::new(), Vec::new());
    let voxels = geometry.rows.len();
    for (number, class) in task.model.classes.iter().enumerate() {
        frame.child(Kind::Tile, |tile| -> Result<()> {
            let [reference, work] = host_reference::<T>(tile, geometry, config.threads)?;
            powers.push(projector::build_into(&class.map.data, geometry, reference, work));
            dc.push(batch::reference_dc(geometry, reference));
            let place = link.at(volumes.references).plus(number * voxels).address();
            device::upload(link.driver, Stream::Compute, place, reference)
        })?;
    }
    Ok((powers, dc))
}
