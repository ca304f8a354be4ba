//! The loop over optics groups and batches, on a device. While the device searches for one batch, the host makes the
//! lists of the one before; while it sums that, the images of the next come.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use num_complex::Complex;
use rayon::prelude::*;

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
use crate::expectation::products::Shape;
use crate::expectation::products::Watch;
use crate::expectation::products::ahead;
use crate::expectation::products::batch;
use crate::expectation::products::batch::Record;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::load::Limits;
use crate::expectation::products::result::Totals;
use crate::expectation::products::shape;
use crate::expectation::products::shape::ImageBuffers;
use crate::expectation::products::supply::Everything;
use crate::expectation::reference::WELL_RESOLVED;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Outcome;
use crate::expectation::task::Task;
use crate::imaging::Geometry;
use crate::imaging::projector;
use crate::product::Voxel;
use crate::weights;

use super::batches::Batches;
use super::batches::OnItsWay;
use super::clock::Clock;
use super::fine;
use super::form::Form;
use super::link::DeviceFrame;
use super::link::Link;
use super::memory;
use super::memory::SLOTS;
use super::memory::Sizes;
use super::memory::Volumes;
use super::narrow;
use super::prepare;
use super::prepare::Preparation;
use super::resident::Resident;
use super::tables;
use super::transform;

/// Voxels that come back from the device at a time.
const PIECE: usize = 1 << 20;
/// Poses that are projected at once, at most.
const CHUNK: usize = 4096;
/// FP16 ends at 65504.
const LARGEST_NARROW: f64 = 32768.0;

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
    let groups: Vec<Group> = (0..task.dataset.optics.len()).map(|optics| Group::new(task, geometry, optics)).collect();
    let members: Vec<Vec<(usize, u32)>> = groups.iter().map(|group| products::engine::members(task, group)).collect();
    let limits = products::engine::limits(task, &groups, &reference_power);
    let scale = products::engine::scale(task, config.block_particles, limits);
    let mut totals = Totals::new(task, &groups, &members, config.block_particles);
    if let Some(earlier) = earlier {
        earlier.finished.into_iter().try_for_each(|finished| totals.absorb(scale, finished))?;
        for (class, sums) in sums.iter_mut().enumerate() {
            (earlier.add)(class, arena::recast::<SumVoxel, Voxel>(sums))?;
        }
    }
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

/// What all groups of a step share.
struct Step<'a, 'f, T> {
    task: &'a Task<'a>,
    config: &'a Config,
    link: Link<'a>,
    resident: &'a Mutex<Resident>,
    geometry: &'a Geometry,
    volumes: &'a Volumes<'a, T>,
    sums: &'a [Mutex<&'f mut [Voxel]>],
    limits: Limits,
    scale: [f64; 2],
    /// Zero frequency of each class's reference.
    dc: &'a [f64],
}

/// The memory of a group's batches.
struct Memory<'a, 'h, 'd> {
    frame: &'a mut Frame<'h>,
    device_frame: &'a mut Frame<'d>,
    /// Images on their way to the device.
    staging: &'a mut [u8],
    /// Voxels on their way from it.
    piece: &'a mut [Voxel],
}

/// Precision of a group's coarse search.
#[derive(Clone, Copy)]
struct How {
    narrow_scales: [f64; 2],
    widening: f64,
}

impl<T: Scalar> Step<'_, '_, T> {
    /// Adds the device's sums to those of the host, and leaves zeros there.
    fn gather(&self, piece: &mut [Voxel]) -> Result<()> {
        let voxels = self.geometry.rows.len();
        for (class, sums) in self.sums.iter().enumerate() {
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            for (number, sums) in sums.chunks_mut(piece.len()).enumerate() {
                let from = self.volumes.sums.part(class * voxels + number * piece.len(), sums.len());
                let piece = &mut piece[..sums.len()];
                self.link.download(from, piece)?;
                self.link.finish()?;
                sums.as_flattened_mut().par_iter_mut().zip(piece.as_flattened()).for_each(|(sum, part)| {
                    *sum = sum.wrapping_add(*part);
                });
            }
        }
        self.link.zero(self.volumes.sums)
    }

    /// Powers of two by which columns and rows fit 16 bits. No interpolated value exceeds the largest voxel, and
    /// no image that is used the limit.
    fn narrow_scales(&self) -> Result<[f64; 2]> {
        if !self.config.form.is_narrow() {
            return Ok([1.0; 2]);
        }
        let references = self.volumes.references;
        // The sums are zeros now, and will be again: their first word is lent.
        let place = self.link.at(self.volumes.sums).address();
        narrow::launch_largest(
            self.link.driver,
            self.link.at(references).address(),
            2 * references.len() as u64,
            place,
        )?;
        let mut bits = [0_u32];
        device::download(self.link.driver, Stream::Compute, place, &mut bits)?;
        self.link.finish()?;
        self.link.driver.zero(Stream::Compute, place, size_of::<u64>())?;
        let columns = (LARGEST_NARROW / self.limits.data).log2().floor().exp2();
        Ok([columns, narrow::scale_to_fit(bits[0])?])
    }
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

fn run_group<T: Scalar>(
    step: &Step<'_, '_, T>,
    source: &dyn ImageSource,
    group: &Group,
    how: How,
    memory: Memory<'_, '_, '_>,
    members: &[Vec<(usize, u32)>],
    totals: &mut Totals,
    watch: &mut Watch<'_>,
) -> Result<Next> {
    let Memory { frame, device_frame, staging, piece } = memory;
    let (task, config, link) = (step.task, step.config, step.link);
    let of_group = &members[group.optics];
    let sizes = config.sizes::<T>(task, group, of_group.len());
    let shape: Shape = sizes.shape;
    let request = shape::request_buffer(frame, &shape)?;
    let (first, second) = staging.split_at_mut(shape.batch_bytes());
    let images = ImageBuffers { images: [first, &mut second[..shape.batch_bytes()]], request };
    let shell_ranges = products::engine::shell_ranges(group);
    let setting = Setting {
        task,
        group,
        geometry: step.geometry,
        shape,
        block_particles: config.block_particles,
        reference_dc: step.dc,
        shell_ranges: &shell_ranges,
        stop: watch.stop,
    };
    let device_tables = memory::tables::<T>(device_frame, &sizes)?;
    let log_directions = fine::log_directions(&setting);
    tables::fill(&setting, &sizes, &link, &device_tables, &log_directions)?;
    let well = |class: &crate::model::ClassModel, s: usize| class.ssnr.get(s).is_some_and(|r| *r > WELL_RESOLVED);
    let classes = task.model.classes.iter();
    let resolved: Vec<bool> = classes.flat_map(|c| group.model_shell.iter().map(move |s| well(c, *s))).collect();
    let supply = watch.supply.ok_or_else(|| Error::internal("nobody hands out blocks"))?;
    let next = |most: usize, blocks: &mut Vec<u32>| supply.next(group.optics, most, blocks);
    let has = |particle: u32| step.resident.lock().unwrap_or_else(PoisonError::into_inner).slot(particle).is_some();
    let source_of = ahead::Members { all: of_group, block_particles: config.block_particles, next: &next, has: &has };
    let on_its_way = || OnItsWay {
        members: Vec::with_capacity(shape.particles),
        records: (0..shape.particles).map(|_| Record::new(&shape)).collect(),
    };
    frame.child(Kind::Batch, |frame| {
        device_frame.child(Kind::Batch, |device_frame| -> Result<Next> {
            let device_slots = [memory::slot(device_frame, &sizes)?, memory::slot(device_frame, &sizes)?];
            let prepared = prepare::memory(device_frame, &sizes.prepare)?;
            let (edge, at_once) = (sizes.prepare.edge, sizes.prepare.at_once);
            let transform = transform::of_device(link.driver, edge, at_once, link.at(prepared.transform).address())?;
            let (driver, base, precision) = (link.driver, link.base, T::PRECISION);
            let preparation =
                Preparation::new(driver, precision, &*transform, base, task, group, sizes.prepare, prepared)?;
            let mut batches = Batches {
                device_slots,
                work: memory::work(device_frame, &sizes, config.form.is_narrow())?,
                host: memory::host_buffers(frame, &sizes)?,
                setting,
                sizes,
                link,
                form: config.form,
                widening: how.widening,
                narrow_scales: how.narrow_scales,
                limits: step.limits,
                scale: step.scale,
                resolved: &resolved,
                voxels: step.geometry.rows.len(),
                edge: step.geometry.rows.edge(),
                volumes: *step.volumes,
                tables: device_tables,
                slots: [on_its_way(), on_its_way()],
                preparation,
                raw: prepared.raw,
                resident: step.resident,
                addresses: Vec::with_capacity(shape.particles * shape.images),
                clock: Clock::default(),
                coarse_operations: 0.0,
                near: (0..config.threads).map(|_| Vec::new()).collect(),
                ranges: Vec::with_capacity(shape.particles),
                log_directions,
            };
            link.zero(batches.work.bins)?;
            // Ends the batch of a slot, of which there is something to take or not.
            let mut complete = |batches: &mut Batches<'_, T>, slot: usize, is_whole: bool| -> Result<Next> {
                if is_whole {
                    batches.take_results(slot)?;
                    let OnItsWay { members, records } = &batches.slots[slot];
                    totals.add(&batches.setting, &records[..members.len()]);
                    totals.finish_blocks(group.optics, of_group, members);
                }
                let gather = &mut |totals: &mut Totals| {
                    totals.add_directions(&batches.take_directions()?);
                    step.gather(piece)
                };
                (watch.after_batch)(&mut Midway {
                    totals,
                    members,
                    scale: step.scale,
                    volumes: step.sums,
                    copies: 1,
                    gather,
                })
            };
            // The batch whose search was started last, and the one before, whose sums were.
            let (mut searched, mut summed): (Option<usize>, Option<usize>) = (None, None);
            let next = ahead::each_batch(source, task.dataset, &shape, &source_of, images, |members, images| {
                let slot = searched.map_or(0, |slot| (slot + 1) % SLOTS);
                batches.introduce(slot, members, images)?;
                // It was in the same slot.
                if let Some(before) = summed.take()
                    && complete(&mut batches, before, true)? == Next::Stop
                {
                    return Ok(Next::Stop);
                }
                batches.begin(slot, members)?;
                let Some(before) = searched.replace(slot) else { return Ok(Next::GoOn) };
                if batches.go_on(before)? {
                    summed = Some(before);
                    return Ok(Next::GoOn);
                }
                complete(&mut batches, before, false)
            })?;
            let mut last = |batches: &mut Batches<'_, T>| -> Result<Next> {
                if let Some(before) = summed
                    && complete(batches, before, true)? == Next::Stop
                {
                    return Ok(Next::Stop);
                }
                let Some(slot) = searched else { return Ok(Next::GoOn) };
                let is_whole = batches.go_on(slot)?;
                complete(batches, slot, is_whole)
            };
            let next = if next == Next::GoOn { last(&mut batches)? } else { next };
            // What is still on its way comes to nothing, but its memory must not go before it ends.
            link.driver.finish(Stream::Upload)?;
            link.finish()?;
            batches.clock.settle(&link)?;
            let mut work = batches.clock.work();
            work.coarse_operations = batches.coarse_operations;
            totals.work += work;
            totals.add_directions(&batches.take_directions()?);
            Ok(next)
        })
    })
}
