//! The first half of a batch: every coarse sample is compared.

use rayon::prelude::*;

use crate::dataset::Assignment;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::products;
use crate::expectation::products::batch::scalar;
use crate::expectation::products::parallel;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;

use super::arguments::Best;
use super::arguments::Images;
use super::arguments::ListedSearch;
use super::arguments::MarkSignificant;
use super::arguments::Pointer;
use super::arguments::Project;
use super::arguments::Shift;
use super::batches::Batches;
use super::batches::SEARCHED;
use super::clock::Phase;
use super::coarse::CoarseArguments;
use super::coarse::PowerArguments;
use super::coarse::launch_coarse;
use super::coarse::launch_power;
use super::link::grid;
use super::memory::Slot;
use super::narrow::launch_narrow;
use super::planes;
use super::select::Searches;
use super::select::passes;

/// Threads of a block of the kernels that do a pixel a thread.
const THREADS: u32 = 128;

impl<T: Scalar> Batches<'_, T> {
    /// Takes over what preparing a slot's batch found, and starts its search. What that found is there when the slot's
    /// mark has passed.
    pub fn begin(&mut self, slot: usize, members: &[(usize, u32)]) -> Result<()> {
        let shape = self.sizes.shape;
        let state = &mut self.slots[slot];
        state.members.clear();
        state.members.extend_from_slice(members);
        for (record, (position, index)) in state.records.iter_mut().zip(members) {
            record.start(*index, *position, &shape);
        }
        if self.setting.is_stopped() {
            // The images' memory is the reader's again when this returns.
            return self.link.driver.finish(Stream::Upload);
        }
        // While the device prepares.
        self.fill_priors(slot)?;
        if shape.local {
            self.list(slot)?;
        }
        self.send_priors(slot)?;
        let rows = self.prepared_rows(slot);
        self.preparation.finish(rows, self.limits, &mut self.slots[slot].records[..members.len()])?;
        self.clock.settle(&self.link)?;
        self.allow(slot)?;
        let place = self.device_slots[slot];
        let mut ranges = std::mem::take(&mut self.ranges);
        ranges.clear();
        let mut poses_compared = 0;
        for (p, record) in self.slots[slot].records[..members.len()].iter_mut().enumerate() {
            let first = p % shape.searched * self.sizes.samples();
            if !record.is_used() {
                record.listed = 0;
            }
            let poses = if shape.local { record.listed } else { shape.poses };
            poses_compared += if record.is_used() { poses } else { 0 };
            ranges.push([first, first + poses * shape.translations].map(|at| at as u64));
        }
        self.coarse_operations += products::coarse_operations(&shape, poses_compared);
        self.link.upload(self.work.ranges, &ranges)?;
        self.ranges = ranges;
        self.link.zero(place.map)?;
        for start in (0..members.len()).step_by(shape.searched) {
            let searches = Searches {
                particles: start..(start + shape.searched).min(members.len()),
                values: self.link.at(self.work.energies),
                ranges: self.link.at(self.work.ranges),
                states: self.link.at(place.states),
                bins: self.link.at(self.work.bins),
                samples: self.sizes.samples(),
            };
            let planes = if shape.local { self.list_search(slot, &searches)? } else { 0 };
            self.clock.time(&self.link, Phase::Coarse, || {
                searches.start(&self.link)?;
                if shape.local {
                    self.compare_listed(&place, &searches, planes)?;
                } else {
                    self.compare_everywhere(&place, &searches)?;
                }
                self.mark_significant(&place, &searches)
            })?;
        }
        self.link.driver.mark(Stream::Compute, SEARCHED[slot])
    }

    /// Lists of poses of all particles of a batch.
    fn list(&mut self, slot: usize) -> Result<()> {
        let (shape, setting) = (&self.sizes.shape, &self.setting);
        let per_list = shape.poses / shape.classes;
        let grid = setting.orientations();
        let state = &mut self.slots[slot];
        let poses = self.host.poses[slot].chunks_exact_mut(shape.poses);
        let lists = poses.zip(self.host.log_poses[slot].chunks_exact_mut(shape.poses));
        let records = state.records[..state.members.len()].iter_mut();
        let particles = records.zip(lists).filter(|(record, _)| record.is_used());
        parallel::each(&mut self.near, particles, |near: &mut Vec<(u32, f64)>, (record, (poses, log_poses))| {
            let before: &Assignment = &setting.task.assignments[record.index as usize];
            setting.task.search.list(record.index, before.euler, near);
            if near.is_empty() || near.len() > per_list {
                return Err(Error::internal(format!("{} poses in a local search planned for {per_list}", near.len())));
            }
            record.listed = shape.classes * near.len();
            for (class, model) in setting.task.model.classes.iter().enumerate() {
                let share = setting.task.class_prior(model);
                for (i, (orientation, prior)) in near.iter().enumerate() {
                    poses[class * near.len() + i] = (class * grid) as u32 + orientation;
                    log_poses[class * near.len() + i] = scalar((prior * share).ln());
                }
            }
            Ok(())
        })
    }

    /// What moves a slot's images, over the pixels of the coarse pass.
    fn coarse_images(&self, place: &Slot<'_, T>) -> Images<T> {
        Images { pixels: self.sizes.shape.coarse_pixels as u32, ..self.images(place.masked) }
    }

    /// All orientations of all classes, chunk after chunk.
    fn compare_everywhere(&self, place: &Slot<'_, T>, searches: &Searches<T>) -> Result<()> {
        let (link, work, sizes, shape) = (&self.link, &self.work, &self.sizes, &self.sizes.shape);
        let (start, particles) = (searches.particles.start, searches.particles.len());
        let (row, coarse_row) = (sizes.row(), sizes.coarse_row());
        let columns = link.at(work.columns);
        let shift = Shift {
            images: link.at(place.masked).plus(start * row),
            phases: link.at(self.tables.phases),
            columns,
            image_stride: row as u32,
            phase_stride: row as u32,
            stride: coarse_row as u32,
            pixels: shape.coarse_pixels as u32,
            translations: shape.translations as u32,
            images_count: particles as u32,
        };
        let pixel_blocks = coarse_row.div_ceil(THREADS as usize);
        link.launch("shift", grid([pixel_blocks, shape.translations, particles], THREADS), &shift)?;
        let reals = 2 * coarse_row;
        let is_narrow = self.form.is_narrow();
        if is_narrow {
            let count = particles * shape.translations * reals;
            let (values, narrow) = (columns.address(), link.at(work.narrow_columns).address());
            launch_narrow(link.driver, values, count as u64, self.narrow_scales[0], narrow)?;
        }
        let correlates = self.setting.task.comparison == Comparison::CrossCorrelation;
        let offsets = link.at(place.log_offsets).plus(start * sizes.offsets());
        for class in 0..shape.classes {
            let volume = link.at(self.volumes.references).plus(class * self.voxels);
            for first in (0..sizes.orientations).step_by(sizes.chunk) {
                let count = sizes.chunk.min(sizes.orientations - first);
                let rows = link.at(work.rows);
                let project = Project {
                    volume,
                    table: self.row_table(),
                    planes: link.at(self.tables.poses).plus(first),
                    pixels: link.at(self.tables.pixels),
                    rows,
                    stride: coarse_row as u32,
                    count: shape.coarse_pixels as u32,
                    planes_count: count as u32,
                };
                link.launch("project", grid([pixel_blocks, count, 1], THREADS), &project)?;
                if is_narrow {
                    let (count, narrow) = ((count * reals) as u64, link.at(work.narrow_rows).address());
                    launch_narrow(link.driver, rows.address(), count, self.narrow_scales[1], narrow)?;
                }
                let half_powers = link.at(work.half_powers).address();
                let power = PowerArguments {
                    rows: rows.address(),
                    power: link.at(place.power).plus(start * row).address(),
                    half_powers,
                    row_stride: reals as u32,
                    power_stride: row as u32,
                    half_power_stride: sizes.chunk as u32,
                    pixels: shape.coarse_pixels as u32,
                    poses: count as u32,
                    particles: particles as u32,
                };
                launch_power(link.driver, &power)?;
                let log_poses = link.at(self.tables.log_poses).plus(class * sizes.orientations + first);
                let arguments = CoarseArguments {
                    rows: rows.address(),
                    columns: columns.address(),
                    narrow_rows: if is_narrow { link.at(work.narrow_rows).address() } else { 0 },
                    narrow_columns: if is_narrow { link.at(work.narrow_columns).address() } else { 0 },
                    half_powers,
                    log_poses: if correlates { 0 } else { log_poses.address() },
                    log_offsets: offsets.address(),
                    image_powers: link.at(place.image_powers).plus(start).address(),
                    allowed: link.at(place.allowed).plus(class * shape.particles + start).address(),
                    energies: searches.values.address(),
                    energy_stride: sizes.samples() as u64,
                    unscale: 1.0 / (self.narrow_scales[0] * self.narrow_scales[1]),
                    length: 2 * shape.coarse_pixels as u32,
                    row_stride: reals as u32,
                    column_stride: reals as u32,
                    poses: count as u32,
                    particles: particles as u32,
                    translations: shape.translations as u32,
                    power_stride: sizes.chunk as u32,
                    offset_stride: sizes.offsets() as u32,
                    first_pose: (class * sizes.orientations + first) as u32,
                    padding: 0,
                };
                launch_coarse(link.driver, self.form, &arguments)?;
            }
        }
        Ok(())
    }

    /// Sends the own lists of some particles; returns their length together.
    fn list_search(&mut self, slot: usize, searches: &Searches<T>) -> Result<usize> {
        let shape = self.sizes.shape;
        let setting = &self.setting;
        let host = &mut self.host;
        let mut count = 0;
        for p in searches.particles.clone() {
            let record = &self.slots[slot].records[p];
            if !record.is_used() {
                continue;
            }
            for listed in 0..record.listed {
                let pose = host.poses[slot][p * shape.poses + listed];
                let (class, _) = setting.split(pose);
                host.listed[count] = [p as u32, class as u32, listed as u32, pose];
                host.log_listed[count] = host.log_poses[slot][p * shape.poses + listed];
                count += 1;
            }
        }
        let planes = &mut host.planes[..count];
        let listed = &host.listed[..count];
        planes::of_poses(setting, listed.par_iter().map(|l| l[3]), planes);
        let (link, work) = (&self.link, &self.work);
        link.upload(work.listed, listed)?;
        link.upload(work.log_listed, &host.log_listed[..count])?;
        link.upload(work.listed_planes, planes)?;
        Ok(count)
    }

    /// Compares particles with their own lists, `count` poses together.
    fn compare_listed(&self, place: &Slot<'_, T>, searches: &Searches<T>, count: usize) -> Result<()> {
        let (link, work) = (&self.link, &self.work);
        let arguments = ListedSearch {
            slices: self.slices(link.at(work.listed_planes)),
            compared: self.compared(place, self.coarse_images(place)),
            listed: link.at(work.listed),
            log_priors: link.at(work.log_listed),
            ranges: searches.ranges,
            energies: searches.values,
        };
        link.launch("listed", grid([count, 1, 1], THREADS), &arguments)
    }

    fn mark_significant(&self, place: &Slot<'_, T>, searches: &Searches<T>) -> Result<()> {
        let (link, options) = (&self.link, self.setting.task.options);
        let correlates = self.setting.task.comparison == Comparison::CrossCorrelation;
        searches.least(link)?;
        if correlates {
            let best = Best { samples: searches.samples(), subscripts: Pointer::NULL, states: searches.states() };
            link.launch("best", searches.grid(), &best)?;
        } else {
            for pass in 0..passes::<T>() {
                searches.show(link, pass)?;
                searches.descend(link, pass, options.adaptive_fraction, options.max_significant)?;
            }
        }
        let words = self.sizes.words();
        let mark = MarkSignificant {
            samples: searches.samples(),
            states: searches.states(),
            // As words of 32 bits, the lower half first.
            map: Pointer::new(link.at(place.map).plus(searches.particles.start * words / 2).address()),
            words: words as u32,
            best_only: u32::from(correlates),
            slack: (-self.widening).exp(),
        };
        let blocks = (words * 32).div_ceil(THREADS as usize);
        link.launch("mark", grid([blocks, searches.particles.len(), 1], THREADS), &mark)
    }
}
