//! The loop over optics groups and batches.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use num_complex::Complex;

use crate::arena;
use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::group::Group;
use crate::expectation::images::ImageSource;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Outcome;
use crate::expectation::task::Task;
use crate::imaging::Geometry;
use crate::imaging::projector;
use crate::imaging::shift::Phases;
use crate::product::Isa;
use crate::product::Voxel;

use super::ahead;
use super::batch;
use super::batch::Context;
use super::batch::Record;
use super::batch::Setting;
use super::batch::Worker;
use super::batch::scalar;
use super::begun;
use super::begun::Begun;
use super::finished::Earlier;
use super::half::Half;
use super::half::Midway;
use super::half::Next;
use super::half::Watch;
use super::load::Limits;
use super::maximise::Volumes;
use super::result;
use super::result::Totals;
use super::run;
use super::shape;
use super::shape::Shape;
use super::shape::Tables;
use super::supply::Everything;

/// How the engine works; nothing here changes a result except `block_particles` and the scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    pub isa: Isa,
    pub threads: usize,
    /// Particles of a block: the unit of floating-point sums.
    pub block_particles: usize,
    pub blocks_per_batch: usize,
    /// Copies of the integer volumes, so that threads need not wait for each other.
    pub sum_copies: usize,
    /// Bytes for coarse energies, for blocks of fine weights, and for kept columns.
    pub energy_bytes: usize,
    pub weight_bytes: usize,
    pub column_bytes: usize,
    /// Bytes of a pixel in the files, at most.
    pub pixel_bytes: usize,
}

impl Config {
    /// Shape of one optics group's batches.
    pub fn shape<T: Scalar>(&self, task: &Task<'_>, group: &Group, particles: usize) -> Shape {
        let classes = task.model.classes.len();
        let per_class = if task.search.is_listed() { task.longest_list } else { task.orientations.count() };
        let mut shape = Shape {
            particles: (self.block_particles * self.blocks_per_batch).min(particles.max(1)),
            classes,
            pixels: group.count(),
            coarse_pixels: group.coarse_count,
            shells: group.box_pixels / 2 + 1,
            translations: task.translations.count(),
            turns: task.orientations.child_count(),
            steps: task.translations.child_count(),
            poses: classes * per_class,
            directions: task.orientations.direction_count(),
            searched: 1,
            blocks: 0,
            columns: 0,
            local: task.search.is_listed(),
            images: if task.reconstruct_images { 2 } else { 1 },
            image_bytes: group.box_pixels * group.box_pixels * self.pixel_bytes,
        };
        let every = shape.particles * shape.translations;
        let energies = shape.samples() * size_of::<T>();
        let fitting = (self.energy_bytes / energies.max(1)).clamp(1, shape.particles);
        shape.searched = if shape.local { 0 } else { fitting };
        let block = crate::weights::block_bytes(1, size_of::<T>()) + 24;
        shape.blocks = (self.weight_bytes / block).clamp(every, shape.particles * shape.poses * shape.translations);
        shape.blocks = shape.blocks.max(every);
        shape.columns = (self.column_bytes / (2 * shape.row::<T>() * size_of::<T>())).min(every);
        shape
    }
}

/// The allocations of [`expect`], alone: what it needs when `frame` counts.
pub fn count<T: Scalar>(task: &Task<'_>, config: &Config, frame: &mut Frame<'_>) -> Result<()> {
    let geometry = &task.geometry();
    let classes = task.model.classes.len();
    frame.child(Kind::Iteration, |frame| {
        shape::references::<T>(frame, classes, geometry.rows.len())?;
        for _ in 0..classes {
            frame.child(Kind::Tile, |tile| shape::projector_work::<T>(tile, geometry, config.threads).map(|_| ()))?;
        }
        shape::sum_copies(frame, classes, config.sum_copies, geometry.rows.len())?;
        for optics in 0..task.dataset.optics.len() {
            let members =
                task.particles.iter().filter(|p| task.dataset.particles[**p as usize].optics as usize == optics);
            let members = members.count();
            if members == 0 {
                continue;
            }
            let shape = config.shape::<T>(task, &Group::new(task, geometry, optics), members);
            frame.child(Kind::Iteration, |frame| -> Result<()> {
                shape::tables::<T>(frame, &shape)?;
                shape::image_buffers(frame, &shape)?;
                frame.child(Kind::Batch, |frame| {
                    shape::buffers::<T>(frame, &shape)?;
                    frame.lanes(Kind::Tile, config.threads, shape::lane_bytes::<T>(&shape)?, |lanes| {
                        lanes.into_iter().try_for_each(|mut lane| shape::lane::<T>(&mut lane, &shape).map(|_| ()))
                    })?
                })
            })?;
        }
        Ok(())
    })
}

/// Runs the step in the memory of `frame` to its end. `sums` are zeros, one volume a class (see [`super::sums`]).
pub fn expect<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    sums: &mut [&mut [SumVoxel]],
    frame: &mut Frame<'_>,
) -> Result<Outcome> {
    let mut after_batch = |_: &mut Midway<'_, '_>| Ok(Next::GoOn);
    let watch = &mut Watch { supply: None, stop: &AtomicBool::new(false), after_batch: &mut after_batch };
    match expect_watched::<T>(task, source, config, sums, frame, None, watch)? {
        Some(half) => Ok(half.finish(task, sums)),
        None => Err(Error::internal("nobody stopped this step")),
    }
}

/// Runs the step, from what an earlier process finished, until all blocks are finished or `watch` wants it to stop
/// (then there is none). `sums` are zeros, one volume a class; they become integers, until [`Half::finish`].
pub fn expect_watched<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    sums: &mut [&mut [SumVoxel]],
    frame: &mut Frame<'_>,
    earlier: Option<Earlier<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Option<Half>> {
    if earlier.is_none() && !watch.supply.map_or(Ok(true), |supply| supply.is_wanted())? {
        // The others do it all; memory lies as if not.
        count::<T>(task, config, frame)?;
        return Ok(Some(Half::idle(task, config.block_particles)));
    }
    frame.child(Kind::Iteration, |frame| iteration::<T>(task, source, config, sums, frame, earlier, watch))
}

fn iteration<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    sums: &mut [&mut [SumVoxel]],
    frame: &mut Frame<'_>,
    earlier: Option<Earlier<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Option<Half>> {
    let geometry = &task.geometry();
    let classes = task.model.classes.len();
    let mut references = shape::references::<T>(frame, classes, geometry.rows.len())?;
    let reference_power = build_references(frame, task, geometry, config.threads, &mut references)?;
    let references: Vec<&[Complex<T>]> = references.iter().map(|r| &**r).collect();
    let copies = shape::sum_copies(frame, classes, config.sum_copies, geometry.rows.len())?;
    let Begun { groups, members, limits, scale, mut totals } =
        Begun::new(task, geometry, config.block_particles, &reference_power, sums, earlier)?;
    let everything = Everything::of(&totals);
    let supply = watch.supply.unwrap_or(&everything);
    let watch = &mut Watch { supply: Some(supply), stop: watch.stop, after_batch: &mut *watch.after_batch };
    let integers = sums.iter_mut().map(|sums| arena::recast::<SumVoxel, Voxel>(sums));
    let sums: Vec<Mutex<&mut [Voxel]>> =
        integers.zip(copies).flat_map(|(first, others)| std::iter::once(first).chain(others)).map(Mutex::new).collect();
    let volumes = Volumes { sums: &sums, copies: config.sum_copies, scale };
    for group in groups.iter().filter(|group| !members[group.optics].is_empty()) {
        let next = frame.child(Kind::Iteration, |frame| {
            run_group::<T>(
                task,
                source,
                config,
                frame,
                geometry,
                group,
                &references,
                limits,
                &volumes,
                &members,
                &mut totals,
                watch,
            )
        })?;
        if next == Next::Stop {
            return Ok(None);
        }
    }
    result::merge_copies(&sums, config.sum_copies);
    Ok(Some(Half { groups, members, totals, scale, reference_power, is_idle: false }))
}

/// How many blocks each optics group of a task has.
pub fn block_counts(task: &Task<'_>, block_particles: usize) -> Vec<usize> {
    let mut particles = vec![0_usize; task.dataset.optics.len()];
    task.particles.iter().for_each(|p| particles[task.dataset.particles[*p as usize].optics as usize] += 1);
    particles.into_iter().map(|count| count.div_ceil(block_particles)).collect()
}

/// Fills the classes' oversampled transforms and returns their power spectra.
pub fn build_references<T: Scalar>(
    frame: &mut Frame<'_>,
    task: &Task<'_>,
    geometry: &Geometry,
    threads: usize,
    references: &mut [&mut [Complex<T>]],
) -> Result<Vec<Vec<f64>>> {
    let classes = task.model.classes.iter().zip(references);
    let power = classes.map(|(class, reference)| {
        frame.child(Kind::Tile, |tile| -> Result<Vec<f64>> {
            let work = shape::projector_work::<T>(tile, geometry, threads)?;
            Ok(projector::build_into(&class.map.data, geometry, reference, work))
        })
    });
    power.collect()
}

fn run_group<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    frame: &mut Frame<'_>,
    geometry: &Geometry,
    group: &Group,
    references: &[&[Complex<T>]],
    limits: Limits,
    volumes: &Volumes<'_, '_>,
    members: &[Vec<(usize, u32)>],
    totals: &mut Totals,
    watch: &mut Watch<'_>,
) -> Result<Next> {
    let of_group = &members[group.optics];
    // The same in a step that goes on: its memory lies where it lay.
    let shape = config.shape::<T>(task, group, of_group.len());
    let mut tables = shape::tables::<T>(frame, &shape)?;
    fill_tables(task, group, &shape, &mut tables);
    let images = shape::image_buffers(frame, &shape)?;
    let shell_ranges = shell_ranges(group);
    let dc: Vec<f64> = references.iter().map(|r| batch::reference_dc(geometry, r)).collect();
    let setting = Setting {
        task,
        group,
        geometry,
        shape,
        block_particles: config.block_particles,
        reference_dc: &dc,
        shell_ranges: &shell_ranges,
        stop: watch.stop,
    };
    let context = context(setting, config.isa, references, &tables);
    let resolved = begun::well_resolved(task, group);
    let lane_bytes = shape::lane_bytes::<T>(&shape)?;
    let mut records: Vec<Record> = (0..shape.particles).map(|_| Record::new(&shape)).collect();
    let supply = watch.supply.ok_or_else(|| Error::internal("nobody hands out blocks"))?;
    let next = |most: usize, blocks: &mut Vec<u32>| supply.next(group.optics, most, blocks);
    let source_of =
        ahead::Members { all: of_group, block_particles: config.block_particles, next: &next, has: &|_| false };
    let next = frame.child(Kind::Batch, |frame| -> Result<Next> {
        let mut buffers = shape::buffers::<T>(frame, &shape)?;
        let lanes = config.threads;
        frame.lanes(Kind::Tile, lanes, lane_bytes, |frames| -> Result<Next> {
            let mut workers = Vec::with_capacity(lanes);
            for (number, mut lane) in frames.into_iter().enumerate() {
                workers.push(Worker::new(&mut lane, number, group, &shape)?);
            }
            ahead::each_batch(source, task.dataset, &shape, &source_of, images, |batch, images| {
                let records = &mut records[..batch.len()];
                let done = run::run_batch(
                    &context,
                    images,
                    limits,
                    volumes,
                    batch,
                    records,
                    &mut workers,
                    &mut buffers,
                    &resolved,
                    tables.mass,
                    &mut totals.work,
                )?;
                if done == run::Done::Whole {
                    totals.add(&context, records);
                    totals.finish_blocks(group.optics, of_group, batch);
                }
                let gather = &mut |totals: &mut Totals| {
                    totals.take_directions(tables.mass, shape.directions);
                    result::merge_copies(volumes.sums, volumes.copies);
                    Ok(())
                };
                let (scale, copies) = (volumes.scale, volumes.copies);
                (watch.after_batch)(&mut Midway { totals, members, scale, volumes: volumes.sums, copies, gather })
            })
        })?
    })?;
    totals.take_directions(tables.mass, shape.directions);
    Ok(next)
}

/// First and one-past-last pixel of every shell of the group's images.
pub fn shell_ranges(group: &Group) -> Vec<Range<usize>> {
    (0..=group.box_pixels / 2)
        .map(|s| {
            let start = group.shell.partition_point(|v| usize::from(*v) < s);
            start..group.shell.partition_point(|v| usize::from(*v) <= s)
        })
        .collect()
}

/// What the phases of a batch share.
pub fn context<'a, T: Scalar>(
    setting: Setting<'a>,
    isa: Isa,
    references: &'a [&'a [Complex<T>]],
    tables: &'a Tables<'_, T>,
) -> Context<'a, T> {
    Context {
        used_shells: setting.used_shells(),
        setting,
        isa,
        references,
        kx: tables.kx,
        ky: tables.ky,
        phases: tables.phases,
        step_phases: tables.step_phases,
        log_directions: tables.log_directions,
    }
}

pub fn fill_tables<T: Scalar>(task: &Task<'_>, group: &Group, shape: &Shape, tables: &mut Tables<'_, T>) {
    let Tables { kx, ky, phases, step_phases, log_directions, .. } = tables;
    for i in 0..group.count() {
        (kx[i], ky[i]) = (f64::from(group.kx[i]), f64::from(group.ky[i]));
    }
    let row = shape.row::<T>();
    let mut factors = vec![Complex::<f64>::default(); group.count()];
    let mut table = Phases::new(group.box_pixels);
    let mut fill = |by: [f64; 2], out: &mut [T]| {
        let by = group.pixels(by);
        table.fill(&group.kx, &group.ky, by[0], by[1], &mut factors);
        for (factor, out) in factors.iter().zip(out.chunks_exact_mut(2)) {
            (out[0], out[1]) = (scalar(factor.re), scalar(factor.im));
        }
    };
    for t in 0..shape.translations {
        fill(task.translations.coarse(t), &mut phases[t * row..][..row]);
    }
    for step in 0..shape.steps {
        let (child, parent) = (task.translations.child(0, step), task.translations.coarse(0));
        fill([child[0] - parent[0], child[1] - parent[1]], &mut step_phases[step * row..][..row]);
    }
    for (class, logs) in task.model.classes.iter().zip(log_directions.chunks_exact_mut(shape.directions)) {
        for (prior, log) in class.directions.iter().zip(logs) {
            *log = scalar(prior.ln());
        }
    }
}
