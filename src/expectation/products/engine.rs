//! The loop over optics groups and batches.

use std::sync::Mutex;
use std::sync::atomic::AtomicI64;

use num_complex::Complex;

use crate::arena::Arena;
use crate::arena::Frame;
use crate::arena::Kind;
use crate::arena::Layout;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::{Comparison, Outcome, Task};
use crate::imaging::Geometry;
use crate::imaging::projector;
use crate::imaging::shift;
use crate::product::Isa;
use crate::product::Voxel;
use crate::weights::Blocks;

use super::batch::{Context, Record, Worker, scalar};
use super::load::{Limits, ParticleRows};
use super::maximise::Volumes;
use super::pairs::Source;
use super::result::Totals;
use super::shape::{Buffers, PANEL, Shape};
use super::{coarse, fine, load, maximise, pairs, parallel, posterior, shape};

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
}

impl Config {
    /// Shape of one optics group's batches.
    pub fn shape<T: Scalar>(&self, task: &Task<'_>, group: &Group, particles: usize) -> Shape {
        let classes = task.model.classes.len();
        let per_class = if task.local.is_some() { task.longest_list } else { task.orientations.count() };
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
            local: task.local.is_some(),
        };
        let every = shape.particles * shape.translations;
        let energies = shape.samples() * size_of::<T>();
        // A local search is done by one thread; each needs room for a particle of its own.
        let least = if shape.local { self.threads } else { 1 };
        shape.searched = (self.energy_bytes / energies.max(1)).clamp(least, shape.particles.max(least));
        let block = crate::weights::block_bytes(1, size_of::<T>()) + 24;
        shape.blocks = (self.weight_bytes / block).clamp(every, shape.particles * shape.poses * shape.translations);
        shape.blocks = shape.blocks.max(every);
        shape.columns = (self.column_bytes / (2 * shape.row::<T>() * size_of::<T>())).min(every);
        shape
    }
}

/// Reads images of particles (indices into the data set), one after the other, into boxes of their optics group.
pub type ReadImages<'a> = dyn Fn(u32, &mut [f32]) -> Result<()> + Sync + 'a;

/// Where everything of a step would lie: the allocations of [`expect`] over a counting arena.
pub fn layout<T: Scalar>(task: &Task<'_>, config: &Config) -> Result<Layout> {
    let geometry = &Geometry::new(task.box_pixels(), task.options.padding, task.current_size);
    let mut arena = Arena::counting();
    arena.run(|frame| {
        frame.child(Kind::Iteration, |frame| -> Result<()> {
            shape::volumes::<T>(frame, task.model.classes.len(), config.sum_copies, geometry.rows.len())?;
            frame.child(Kind::Tile, |tile| {
                tile.alloc::<Complex<T>>("projector work", projector::work_len(geometry)).map(|_| ())
            })?;
            for optics in 0..task.dataset.optics.len() {
                let group = Group::new(task, geometry, optics);
                let members =
                    task.particles.iter().filter(|p| task.dataset.particles[**p as usize].optics as usize == optics);
                let members = members.count();
                if members == 0 {
                    continue;
                }
                let shape = config.shape::<T>(task, &group, members);
                frame.child(Kind::Iteration, |frame| -> Result<()> {
                    shape::tables::<T>(frame, &shape)?;
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
    })?;
    Ok(arena.layout())
}

/// Runs the step in the memory of `frame`.
pub fn expect<T: Scalar>(
    task: &Task<'_>,
    read: &ReadImages<'_>,
    config: &Config,
    frame: &mut Frame<'_>,
) -> Result<Outcome> {
    frame.child(Kind::Iteration, |frame| iteration::<T>(task, read, config, frame))
}

fn iteration<T: Scalar>(
    task: &Task<'_>,
    read: &ReadImages<'_>,
    config: &Config,
    frame: &mut Frame<'_>,
) -> Result<Outcome> {
    let geometry = &Geometry::new(task.box_pixels(), task.options.padding, task.current_size);
    let classes = task.model.classes.len();
    let shape::Volumes { mut references, sums } =
        shape::volumes::<T>(frame, classes, config.sum_copies, geometry.rows.len())?;
    let mut reference_power = Vec::with_capacity(classes);
    for (class, reference) in task.model.classes.iter().zip(&mut references) {
        reference_power.push(frame.child(Kind::Tile, |tile| -> Result<Vec<f64>> {
            let work = tile.alloc::<Complex<T>>("projector work", projector::work_len(geometry))?;
            Ok(projector::build_into(&class.map.data, geometry, reference, work))
        })?);
    }
    let references: Vec<&[Complex<T>]> = references.iter().map(|r| &**r).collect();
    let sums: Vec<Mutex<&mut [Voxel]>> = sums.into_iter().map(Mutex::new).collect();
    let groups: Vec<Group> = (0..task.dataset.optics.len()).map(|optics| Group::new(task, geometry, optics)).collect();
    let limits = limits(task, &groups, &reference_power);
    let scale = [limits.data, limits.weight].map(|largest| {
        // Every particle adds at most `largest` to a voxel, over eight corners; 2^61 leaves a bit for signs.
        let room = (1_u64 << 61) as f64 / (8.0 * largest * task.particles.len().max(1) as f64);
        // Contributions below 2^50 are rounded exactly.
        room.min((1_u64 << 50) as f64 / largest).log2().floor().exp2()
    });
    let integers = Volumes { sums: &sums, copies: config.sum_copies, scale };
    let mut totals = Totals::new(task, &groups);
    for group in &groups {
        let members: Vec<(usize, u32)> = task
            .particles
            .iter()
            .enumerate()
            .filter(|(_, p)| task.dataset.particles[**p as usize].optics as usize == group.optics)
            .map(|(position, p)| (position, *p))
            .collect();
        if !members.is_empty() {
            frame.child(Kind::Iteration, |frame| {
                run_group::<T>(
                    task,
                    read,
                    config,
                    frame,
                    geometry,
                    group,
                    &references,
                    limits,
                    &integers,
                    &members,
                    &mut totals,
                )
            })?;
        }
    }
    totals.finish(task, geometry, &groups, sums, config.sum_copies, scale, reference_power)
}

/// Coefficients beyond 4096 times the expected size belong to broken images.
const STRONGEST: f64 = 4096.0;

fn limits(task: &Task<'_>, groups: &[Group], reference_power: &[Vec<f64>]) -> Limits {
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

fn run_group<T: Scalar>(
    task: &Task<'_>,
    read: &ReadImages<'_>,
    config: &Config,
    frame: &mut Frame<'_>,
    geometry: &Geometry,
    group: &Group,
    references: &[&[Complex<T>]],
    limits: Limits,
    volumes: &Volumes<'_, '_>,
    members: &[(usize, u32)],
    totals: &mut Totals,
) -> Result<()> {
    let shape = config.shape::<T>(task, group, members.len());
    let tables = shape::tables::<T>(frame, &shape)?;
    fill_tables(task, group, &shape, tables.kx, tables.ky, tables.phases, tables.step_phases, tables.log_directions);
    let shell_ranges: Vec<std::ops::Range<usize>> = (0..shape.shells)
        .map(|s| {
            let start = group.shell.partition_point(|v| usize::from(*v) < s);
            start..group.shell.partition_point(|v| usize::from(*v) <= s)
        })
        .collect();
    let context = Context {
        task,
        group,
        geometry,
        shape,
        isa: config.isa,
        block_particles: config.block_particles,
        references,
        kx: tables.kx,
        ky: tables.ky,
        phases: tables.phases,
        step_phases: tables.step_phases,
        log_directions: tables.log_directions,
        shell_ranges: &shell_ranges,
    };
    let resolved: Vec<bool> = task
        .model
        .classes
        .iter()
        .flat_map(|class| {
            let well =
                |s: &usize| class.ssnr.get(*s).is_some_and(|r| *r > crate::expectation::reference::WELL_RESOLVED);
            group.model_shell.iter().map(well)
        })
        .collect();
    let lane_bytes = shape::lane_bytes::<T>(&shape)?;
    let mut records = vec![Record::default(); shape.particles];
    frame.child(Kind::Batch, |frame| -> Result<()> {
        let mut buffers = shape::buffers::<T>(frame, &shape)?;
        let lanes = config.threads;
        frame.lanes(Kind::Tile, lanes, lane_bytes, |frames| -> Result<()> {
            let mut workers = Vec::with_capacity(lanes);
            for (number, mut lane) in frames.into_iter().enumerate() {
                workers.push(Worker::new(&mut lane, number, group, &shape)?);
            }
            for members in members.chunks(shape.particles) {
                let records = &mut records[..members.len()];
                run_batch(
                    &context,
                    read,
                    limits,
                    volumes,
                    members,
                    records,
                    &mut workers,
                    &mut buffers,
                    &resolved,
                    tables.mass,
                )?;
                totals.add(task, &context, records);
            }
            Ok(())
        })?
    })?;
    totals.add_directions(tables.mass, &shape);
    Ok(())
}

fn fill_tables<T: Scalar>(
    task: &Task<'_>,
    group: &Group,
    shape: &Shape,
    kx: &mut [f64],
    ky: &mut [f64],
    phases: &mut [T],
    step_phases: &mut [T],
    log_directions: &mut [T],
) {
    for i in 0..group.count() {
        (kx[i], ky[i]) = (f64::from(group.kx[i]), f64::from(group.ky[i]));
    }
    let row = shape.row::<T>();
    let mut factors = vec![Complex::<f64>::default(); group.count()];
    let mut fill = |by: [f64; 2], out: &mut [T]| {
        let by = group.pixels(by);
        shift::phase_factors(&group.kx, &group.ky, by[0], by[1], group.box_pixels, &mut factors);
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

/// All phases of one batch.
fn run_batch<T: Scalar>(
    context: &Context<'_, T>,
    read: &ReadImages<'_>,
    limits: Limits,
    volumes: &Volumes<'_, '_>,
    members: &[(usize, u32)],
    records: &mut [Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
    resolved: &[bool],
    mass: &[AtomicI64],
) -> Result<()> {
    let shape = &context.shape;
    let (row, real) = (shape.row::<T>(), shape.real_row::<T>());
    let offsets = shape.translations * (1 + shape.steps);
    // 1: images.
    {
        let places: Vec<Mutex<(&mut Record, ParticleRows<'_, T>)>> = records
            .iter_mut()
            .zip(buffers.masked.chunks_exact_mut(row))
            .zip(buffers.unmasked.chunks_exact_mut(row))
            .zip(buffers.power.chunks_exact_mut(real))
            .zip(buffers.weight.chunks_exact_mut(real))
            .zip(buffers.log_offsets.chunks_exact_mut(offsets))
            .map(|(((((record, masked), unmasked), power), weight), log_offsets)| {
                Mutex::new((record, ParticleRows { masked, unmasked, power, weight, log_offsets }))
            })
            .collect();
        parallel::each(workers, members.len(), |worker, p| {
            let (position, index) = members[p];
            let mut place = places[p].lock().map_err(|_| Error::internal("a worker died"))?;
            let (record, rows) = &mut *place;
            record.start(index, position, shape);
            read(index, &mut worker.pixels)?;
            let rows = ParticleRows {
                masked: &mut *rows.masked,
                unmasked: &mut *rows.unmasked,
                power: &mut *rows.power,
                weight: &mut *rows.weight,
                log_offsets: &mut *rows.log_offsets,
            };
            load::load(context, limits, record, worker, rows)
        })?;
    }
    // 2: coarse samples.
    if shape.local {
        search_local(context, records, workers, buffers)?;
    } else {
        search_everywhere(context, records, workers, buffers)?;
    }
    // 3: columns and pairs.
    keep_columns(context, records, workers, buffers)?;
    let listed = if shape.local {
        pairs::sort_local(context, records, buffers.significant, buffers.poses, buffers.pairs)
    } else {
        0
    };
    // 4 to 6.
    fine_pass(context, records, workers, buffers, listed, volumes, resolved, mass)
}

/// Global search: all particles of a search share every panel.
fn search_everywhere<T: Scalar>(
    context: &Context<'_, T>,
    records: &mut [Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
) -> Result<()> {
    let shape = &context.shape;
    let (row, real, words) = (shape.row::<T>(), shape.real_row::<T>(), shape.words());
    let offsets = shape.translations * (1 + shape.steps);
    let per_class = shape.poses / shape.classes;
    let panels_per_class = shape.panels() / shape.classes;
    let directions = shape.directions;
    for start in (0..records.len()).step_by(shape.searched) {
        let searched = start..(start + shape.searched).min(records.len());
        let count = searched.len();
        {
            let columns = buffers.search.columns.chunks_exact_mut(shape.translations * shape.coarse_row::<T>());
            let powers = buffers.search.power.chunks_exact_mut(shape.coarse_real_row::<T>());
            let places: Vec<_> = columns.zip(powers).take(count).map(Mutex::new).collect();
            parallel::each(workers, count, |_, q| {
                let mut place = places[q].lock().map_err(|_| Error::internal("a worker died"))?;
                let p = start + q;
                let (columns, power) = &mut *place;
                coarse::shift_images(
                    context,
                    &buffers.masked[p * row..][..row],
                    &buffers.power[p * real..][..real],
                    columns,
                    power,
                );
                Ok(())
            })?;
        }
        let shared: &[Record] = &records[searched.clone()];
        let search = &buffers.search;
        let view = shape::SearchView { columns: search.columns, power: search.power, energies: search.energies };
        parallel::each(workers, shape.panels(), |worker, number| {
            let (class, panel) = (number / panels_per_class, number % panels_per_class);
            let first = panel * PANEL;
            let len = PANEL.min(per_class - first);
            let mut poses = [0_u32; PANEL];
            let mut log_priors = [T::default(); PANEL];
            for i in 0..len {
                poses[i] = (class * per_class + first + i) as u32;
                let direction = context.task.orientations.direction_of(first + i);
                log_priors[i] = context.log_directions[class * directions + direction];
            }
            let panel = coarse::Panel { poses: &poses[..len], log_priors: &log_priors[..len], number };
            let log_offsets = &buffers.log_offsets[start * offsets..];
            coarse::compare_panel(context, worker, &panel, &view, 0, shared, log_offsets)
        })?;
        let samples = shape.samples();
        let energies = buffers.search.energies;
        let places: Vec<_> = records[searched]
            .iter_mut()
            .zip(buffers.significant[start * words..].chunks_exact_mut(words))
            .map(Mutex::new)
            .collect();
        parallel::each(workers, count, |worker, q| {
            let mut place = places[q].lock().map_err(|_| Error::internal("a worker died"))?;
            let (record, bits) = &mut *place;
            coarse::significant(context, worker, record, &energies[q * samples..][..samples], bits, per_class);
            Ok(())
        })?;
    }
    Ok(())
}

/// Local search: every particle has its own list of poses, and one thread does a particle alone.
fn search_local<T: Scalar>(
    context: &Context<'_, T>,
    records: &mut [Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
) -> Result<()> {
    let Some(local) = context.task.local else { return Err(Error::internal("a local search without a prior")) };
    let shape = &context.shape;
    let (row, real, words) = (shape.row::<T>(), shape.real_row::<T>(), shape.words());
    let offsets = shape.translations * (1 + shape.steps);
    let (coarse_row, coarse_real) = (shape.coarse_row::<T>(), shape.coarse_real_row::<T>());
    let count = records.len();
    let per_list = shape.poses / shape.classes;
    let grid = context.orientations();
    let lists = buffers.poses.chunks_exact_mut(shape.poses).zip(buffers.log_poses.chunks_exact_mut(shape.poses));
    let places: Vec<_> =
        records.iter_mut().zip(lists).zip(buffers.significant.chunks_exact_mut(words)).map(Mutex::new).collect();
    let columns = buffers.search.columns.chunks_exact_mut(shape.translations * coarse_row);
    let spaces: Vec<_> = columns.zip(buffers.search.power.chunks_exact_mut(coarse_real)).map(Mutex::new).collect();
    let energies = buffers.search.energies;
    parallel::each(workers, count, |worker, p| {
        let mut place = places[p].lock().map_err(|_| Error::internal("a worker died"))?;
        let ((record, (poses, log_priors)), bits) = &mut *place;
        bits.fill(0);
        if !record.is_used() {
            return Ok(());
        }
        let mut near = std::mem::take(&mut worker.near);
        local.near(context.task.assignments[record.index as usize].euler, &mut near);
        if near.is_empty() || near.len() > per_list {
            return Err(Error::internal(format!("{} poses in a local search planned for {per_list}", near.len())));
        }
        record.listed = shape.classes * near.len();
        for class in 0..shape.classes {
            for (i, (orientation, prior)) in near.iter().enumerate() {
                poses[class * near.len() + i] = (class * grid) as u32 + orientation;
                log_priors[class * near.len() + i] = scalar((prior * context.task.model.classes[class].share).ln());
            }
        }
        worker.near = near;
        let number = worker.number;
        let mut space = spaces[number].lock().map_err(|_| Error::internal("a worker died"))?;
        {
            let (columns, power) = &mut *space;
            coarse::shift_images(
                context,
                &buffers.masked[p * row..][..row],
                &buffers.power[p * real..][..real],
                columns,
                power,
            );
        }
        let (columns, power) = &*space;
        let own =
            shape::SearchView { columns, power, energies: &energies[number * shape.samples()..][..shape.samples()] };
        let listed = record.listed / shape.classes;
        let mut number = 0;
        for class in 0..shape.classes {
            let range = class * listed..(class + 1) * listed;
            for (poses, log_priors) in poses[range.clone()].chunks(PANEL).zip(log_priors[range].chunks(PANEL)) {
                let panel = coarse::Panel { poses, log_priors, number };
                coarse::compare_panel(
                    context,
                    worker,
                    &panel,
                    &own,
                    0,
                    std::slice::from_ref(&**record),
                    &buffers.log_offsets[p * offsets..],
                )?;
                number += 1;
            }
        }
        let used = number * PANEL * shape.translations;
        coarse::significant(context, worker, record, &own.energies[..used], bits, listed);
        Ok(())
    })
}

/// Gives kept columns to the (particle, translation) pairs that have significant samples, as far as they go.
fn keep_columns<T: Scalar>(
    context: &Context<'_, T>,
    records: &[Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
) -> Result<()> {
    let shape = &context.shape;
    let (row, words) = (shape.row::<T>(), shape.words());
    let slots = &mut buffers.slots[..records.len() * shape.translations];
    slots.fill(u32::MAX);
    let mut owners = Vec::with_capacity(shape.columns);
    for (p, record) in records.iter().enumerate().filter(|(_, r)| r.is_used()) {
        let poses = if shape.local { record.listed } else { shape.poses };
        let map = &buffers.significant[p * words..][..words];
        let mut wanted = vec![false; shape.translations];
        pairs::translations_of(map, poses, shape.translations, &mut wanted);
        for (t, _) in wanted.iter().enumerate().filter(|(_, w)| **w) {
            if owners.len() < shape.columns {
                slots[p * shape.translations + t] = owners.len() as u32;
                owners.push((p, t));
            }
        }
    }
    let makers = [&*buffers.masked, &*buffers.unmasked].map(|images| fine::Columns { images, kept: &[], slots: &[] });
    let pair = buffers.masked_columns.chunks_exact_mut(row).zip(buffers.unmasked_columns.chunks_exact_mut(row));
    let places: Vec<_> = pair.map(Mutex::new).collect();
    parallel::each(workers, owners.len(), |_, slot| {
        let mut place = places[slot].lock().map_err(|_| Error::internal("a worker died"))?;
        let (p, t) = owners[slot];
        makers[0].make(context, p, t, place.0);
        makers[1].make(context, p, t, place.1);
        Ok(())
    })
}

/// The fine pass over the chunks of pairs that fit the weights. With one chunk every product is made once; with
/// several, energies are made anew for each of: their minimum, the passes of the selection, the sums.
fn fine_pass<T: Scalar>(
    context: &Context<'_, T>,
    records: &mut [Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
    listed: usize,
    volumes: &Volumes<'_, '_>,
    resolved: &[bool],
    mass: &[AtomicI64],
) -> Result<()> {
    let shape = context.shape;
    let masked = fine::Columns { images: buffers.masked, kept: buffers.masked_columns, slots: buffers.slots };
    let unmasked = fine::Columns { images: buffers.unmasked, kept: buffers.unmasked_columns, slots: buffers.slots };
    let inputs = maximise::Inputs { masked, unmasked, power: buffers.power, weight: buffers.weight, resolved };
    let priors = fine::Priors { log_offsets: buffers.log_offsets, log_poses: buffers.log_poses };
    let poses: &[u32] = buffers.poses;
    let mut blocks = Blocks::new(&mut buffers.starts[..records.len() + 1], buffers.subscripts, buffers.values);
    let mut selectors: Vec<Option<crate::weights::Selector>> = records.iter().map(|_| None).collect();
    let mut chunk = Chunk { range: 0..0, runs: 0, ready: false };
    let delta = context.task.comparison == Comparison::CrossCorrelation;

    /// Which result a sweep over the chunks is for.
    #[derive(Clone, Copy, PartialEq)]
    enum Sweep {
        Least,
        Select,
        Sums,
    }
    let mut sweep = Sweep::Least;
    let mut single = false;
    loop {
        let mut source = Source::new(shape.local, listed);
        let mut first = true;
        loop {
            if !(single && chunk.ready) {
                let range = source.take(context, records, buffers.significant, buffers.pairs);
                if range.is_empty() && !first {
                    break;
                }
                chunk.range = range;
                let pairs = &buffers.pairs[chunk.range.clone()];
                chunk.runs = pairs::runs(pairs, buffers.runs);
                pairs::assign(context, pairs, &mut blocks, buffers.block_of)?;
                let (runs, block_of) = (&*buffers.runs, &*buffers.block_of);
                parallel::each(workers, chunk.runs, |worker, run| {
                    let range = runs[run] as usize..runs[run + 1] as usize;
                    let places = &block_of[range.clone()];
                    fine::compare_run(
                        context,
                        worker,
                        &pairs[range],
                        places,
                        records,
                        masked,
                        buffers.power,
                        priors,
                        &blocks,
                    );
                    Ok(())
                })?;
                chunk.ready = true;
                if sweep != Sweep::Least {
                    each_record(workers, records, |_, p, record| posterior::convert(context, p, record, &blocks))?;
                }
            }
            match sweep {
                Sweep::Least => {
                    each_record(workers, records, |_, p, record| posterior::find_least(context, p, record, &blocks))?
                }
                Sweep::Select => {
                    let places: Vec<_> = selectors.iter_mut().map(Mutex::new).collect();
                    parallel::each(workers, records.len(), |_, p| {
                        let mut selector = places[p].lock().map_err(|_| Error::internal("a worker died"))?;
                        if let Some(selector) = selector.as_mut() {
                            posterior::show(context, p, selector, &blocks);
                        }
                        Ok(())
                    })?;
                }
                Sweep::Sums => {
                    each_record(workers, records, |_, p, record| {
                        posterior::apply(context, p, record, &blocks, poses, mass)
                    })?;
                    let pairs = &buffers.pairs[chunk.range.clone()];
                    let (runs, block_of) = (&*buffers.runs, &*buffers.block_of);
                    parallel::each(workers, chunk.runs, |worker, run| {
                        let range = runs[run] as usize..runs[run + 1] as usize;
                        let places = &block_of[range.clone()];
                        maximise::accumulate_run(context, worker, &pairs[range], places, &blocks, &inputs, volumes);
                        Ok(())
                    })?;
                }
            }
            first = false;
            if single {
                break;
            }
        }
        match sweep {
            Sweep::Least => {
                single = source.took_all_at_once();
                if single {
                    each_record(workers, records, |_, p, record| posterior::convert(context, p, record, &blocks))?;
                }
                for (record, selector) in records.iter_mut().zip(&mut selectors).filter(|(r, _)| r.is_used()) {
                    let mut fresh = crate::weights::Selector::new();
                    fresh.start(if delta { 1.0 } else { context.task.options.adaptive_fraction }, None, T::DIGITS);
                    *selector = Some(fresh);
                    record.total = 0.0;
                }
                sweep = Sweep::Select;
            }
            Sweep::Select => {
                let mut open = false;
                for (record, place) in records.iter_mut().zip(&mut selectors) {
                    if let Some(selection) = place.as_mut().and_then(crate::weights::Selector::finish_pass) {
                        (record.threshold, record.total) = (selection.threshold, selection.total);
                        *place = None;
                    }
                    open |= place.is_some();
                }
                if !open {
                    sweep = Sweep::Sums;
                }
            }
            Sweep::Sums => break,
        }
    }
    merge(context, records, workers);
    Ok(())
}

/// The pairs that have blocks at the moment.
struct Chunk {
    range: std::ops::Range<usize>,
    runs: usize,
    ready: bool,
}

fn each_record<T: Scalar>(
    workers: &mut [Worker<'_, T>],
    records: &mut [Record],
    work: impl Fn(&mut Worker<'_, T>, usize, &mut Record) + Sync,
) -> Result<()> {
    let places: Vec<_> = records.iter_mut().map(Mutex::new).collect();
    parallel::each(workers, places.len(), |worker, p| {
        let mut record = places[p].lock().map_err(|_| Error::internal("a worker died"))?;
        if record.is_used() {
            work(worker, p, &mut record);
        }
        Ok(())
    })
}

/// Moves the workers' per-particle sums into the records.
fn merge<T: Scalar>(context: &Context<'_, T>, records: &mut [Record], workers: &mut [Worker<'_, T>]) {
    let shells = context.shape.shells;
    for worker in workers {
        let lane = &mut worker.lane;
        for (p, record) in records.iter_mut().enumerate() {
            for (sum, part) in record.cross.iter_mut().zip(&mut lane.cross[p * shells..][..shells]) {
                *sum = sum.wrapping_add(std::mem::take(part));
            }
            for (sum, part) in record.own.iter_mut().zip(&mut lane.own[p * shells..][..shells]) {
                *sum = sum.wrapping_add(std::mem::take(part));
            }
            for (sum, part) in record.resolved.iter_mut().zip(&mut lane.resolved[p]) {
                *sum = sum.wrapping_add(std::mem::take(part));
            }
        }
    }
}
