//! The batches of one optics group on a device. While the device searches for one batch, the host makes the lists of the one
//! before; while it sums that, the images of the next come.

use std::sync::Mutex;
use std::sync::PoisonError;

use rayon::prelude::*;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::device;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::images::ImageSource;
use crate::expectation::products;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::expectation::products::Shape;
use crate::expectation::products::Watch;
use crate::expectation::products::ahead;
use crate::expectation::products::batch::Record;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::begun;
use crate::expectation::products::load::Limits;
use crate::expectation::products::result::Totals;
use crate::expectation::products::shape;
use crate::expectation::products::shape::ImageBuffers;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Task;
use crate::imaging::Geometry;
use crate::product::Voxel;

use super::batches::Batches;
use super::batches::OnItsWay;
use super::clock::Clock;
use super::engine::Config;
use super::fine;
use super::link::Link;
use super::memory;
use super::memory::SLOTS;
use super::memory::Volumes;
use super::narrow;
use super::prepare;
use super::prepare::Preparation;
use super::resident::Resident;
use super::tables;
use super::transform;

/// FP16 ends at 65504.
const LARGEST_NARROW: f64 = 32768.0;

/// What all groups of a step share.
pub struct Step<'a, 'f, T> {
    pub task: &'a Task<'a>,
    pub config: &'a Config,
    pub link: Link<'a>,
    pub resident: &'a Mutex<Resident>,
    pub geometry: &'a Geometry,
    pub volumes: &'a Volumes<'a, T>,
    pub sums: &'a [Mutex<&'f mut [Voxel]>],
    pub limits: Limits,
    pub scale: [f64; 2],
    /// Zero frequency of each class's reference.
    pub dc: &'a [f64],
}

/// The memory of a group's batches.
pub struct Memory<'a, 'h, 'd> {
    pub frame: &'a mut Frame<'h>,
    pub device_frame: &'a mut Frame<'d>,
    /// Images on their way to the device.
    pub staging: &'a mut [u8],
    /// Voxels on their way from it.
    pub piece: &'a mut [Voxel],
}

/// Precision of a group's coarse search.
#[derive(Clone, Copy)]
pub struct How {
    pub narrow_scales: [f64; 2],
    pub widening: f64,
}

impl<T: Scalar> Step<'_, '_, T> {
    /// Adds the device's sums to those of the host, and leaves zeros there.
    pub fn gather(&self, piece: &mut [Voxel]) -> Result<()> {
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
    pub fn narrow_scales(&self) -> Result<[f64; 2]> {
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

/// Runs the batches of an optics group, one after the other, until there is none or the step is to stop.
pub fn run_group<T: Scalar>(
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
    let resolved = begun::well_resolved(task, group);
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
            let work = link.at(prepared.transform).address();
            let transform = transform::of_device(link.driver, sizes.prepare.edge, work)?;
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
