//! One batch: images, the coarse search, the columns that are kept, and then the fine pass.

use std::sync::atomic::AtomicI64;
use std::time::Instant;

use crate::error::Error;
use crate::error::Result;
use crate::expectation::scalar::Scalar;

use super::ahead::Batch;
use super::batch::Context;
use super::batch::Record;
use super::batch::Worker;
use super::batch::scalar;
use super::coarse;
use super::fine;
use super::load;
use super::load::Limits;
use super::load::ParticleRows;
use super::maximise::Volumes;
use super::pairs;
use super::parallel;
use super::shape;
use super::shape::Buffers;
use super::shape::PANEL;
use super::significant::Found;
use super::significant::significant;
use super::sweeps;
use super::work::Work;
use super::work::lap;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Whole,
    /// It was stopped before anything of it was summed.
    Nothing,
}

/// All phases of one batch; their time is added to `work`.
pub fn run_batch<T: Scalar>(
    context: &Context<'_, T>,
    images: Batch<'_>,
    limits: Limits,
    volumes: &Volumes<'_, '_>,
    members: &[(usize, u32)],
    records: &mut [Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
    resolved: &[bool],
    mass: &[AtomicI64],
    work: &mut Work,
) -> Result<Done> {
    let mut begin = Instant::now();
    let shape = &context.shape;
    let (row, real) = (shape.row::<T>(), shape.real_row::<T>());
    let offsets = shape.translations * (1 + shape.steps);
    // 1: images.
    let rows = buffers
        .masked
        .chunks_exact_mut(row)
        .zip(buffers.unmasked.chunks_exact_mut(row))
        .zip(buffers.power.chunks_exact_mut(real))
        .zip(buffers.weight.chunks_exact_mut(real))
        .zip(buffers.log_offsets.chunks_exact_mut(offsets))
        .map(|((((masked, unmasked), power), weight), log_offsets)| ParticleRows {
            masked,
            unmasked,
            power,
            weight,
            log_offsets,
        });
    let particles = members.iter().zip(records.iter_mut()).zip(rows).enumerate();
    parallel::each(workers, particles, |worker, (p, ((&(position, index), record), rows))| {
        record.start(index, position, shape);
        if context.is_stopped() {
            return Ok(());
        }
        load::load(context, limits, images, p, record, &mut worker.loader, rows)
    })?;
    work.images += lap(&mut begin);
    // 2: coarse samples.
    if shape.local {
        search_local(context, records, workers, buffers)?;
    } else {
        search_everywhere(context, records, workers, buffers)?;
    }
    work.coarse_operations += coarse_operations(context, records);
    work.coarse += lap(&mut begin);
    if context.is_stopped() {
        // Some of the above may have been left out; from here on everything is done.
        return Ok(Done::Nothing);
    }
    // 3: columns and pairs.
    keep_columns(context, records, workers, buffers)?;
    let mut sums = 0.0;
    let mut start = 0;
    while start < records.len() {
        let span = pairs::span(context, records, buffers.significant, start);
        start = span.end;
        sums += sweeps::fine_pass(context, records, span, workers, buffers, volumes, resolved, mass)?;
    }
    sweeps::merge(context, records, workers);
    work.sums += sums;
    work.fine += lap(&mut begin) - sums;
    Ok(Done::Whole)
}

/// Operations of the coarse products of a batch.
fn coarse_operations<T: Scalar>(context: &Context<'_, T>, records: &[Record]) -> f64 {
    let shape = &context.shape;
    let poses = |record: &Record| if shape.local { record.listed } else { shape.poses };
    super::work::coarse_operations(shape, records.iter().filter(|r| r.is_used()).map(poses).sum())
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
        if context.is_stopped() {
            return Ok(());
        }
        let searched = start..(start + shape.searched).min(records.len());
        let columns = buffers.search.columns.chunks_exact_mut(shape.translations * shape.coarse_row::<T>());
        let powers = buffers.search.power.chunks_exact_mut(shape.coarse_real_row::<T>());
        parallel::each(workers, searched.clone().zip(columns).zip(powers), |_, ((p, columns), coarse_power)| {
            let (masked, power) = (&buffers.masked[p * row..][..row], &buffers.power[p * real..][..real]);
            coarse::shift_images(context, masked, power, columns, coarse_power);
            Ok(())
        })?;
        let shared: &[Record] = &records[searched.clone()];
        let search = &mut buffers.search;
        let view = shape::SearchView { columns: search.columns, power: search.power };
        let log_offsets = &buffers.log_offsets[start * offsets..];
        let energies = search.energies.chunks_exact_mut(shape.searched * shape.translations * PANEL);
        let panels = energies.zip(search.least.chunks_exact_mut(shape.searched)).enumerate();
        parallel::each(workers, panels, |worker, (number, (energies, least))| {
            if context.is_stopped() {
                return Ok(());
            }
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
            let panel = coarse::Panel { poses: &poses[..len], log_priors: &log_priors[..len] };
            coarse::compare_panel(context, worker, &panel, &view, shared, log_offsets, energies, least);
            Ok(())
        })?;
        let search = &buffers.search;
        let bits = buffers.significant[start * words..].chunks_exact_mut(words);
        parallel::each(workers, records[searched].iter_mut().zip(bits).enumerate(), |worker, (q, (record, bits))| {
            if context.is_stopped() {
                return Ok(());
            }
            let found = Found {
                energies: search.energies,
                least: search.least,
                particle: q,
                searched: shape.searched,
                panels: shape.panels(),
                per_class,
                translations: shape.translations,
            };
            significant(context, worker, record, found, bits);
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
    let shape = &context.shape;
    let (row, real, words) = (shape.row::<T>(), shape.real_row::<T>(), shape.words());
    let offsets = shape.translations * (1 + shape.steps);
    let per_list = shape.poses / shape.classes;
    let grid = context.orientations();
    let lists = buffers.poses.chunks_exact_mut(shape.poses).zip(buffers.log_poses.chunks_exact_mut(shape.poses));
    let particles = records.iter_mut().zip(lists).zip(buffers.significant.chunks_exact_mut(words)).enumerate();
    parallel::each(workers, particles, |worker, (p, ((record, (poses, log_priors)), bits))| {
        bits.fill(0);
        if !record.is_used() || context.is_stopped() {
            return Ok(());
        }
        let mut near = std::mem::take(&mut worker.near);
        context.task.search.list(record.index, context.task.assignments[record.index as usize].euler, &mut near);
        if near.is_empty() || near.len() > per_list {
            return Err(Error::internal(format!("{} poses in a local search planned for {per_list}", near.len())));
        }
        record.listed = shape.classes * near.len();
        for (class, model) in context.task.model.classes.iter().enumerate() {
            let share = context.task.class_prior(model);
            for (i, (orientation, prior)) in near.iter().enumerate() {
                poses[class * near.len() + i] = (class * grid) as u32 + orientation;
                log_priors[class * near.len() + i] = scalar((prior * share).ln());
            }
        }
        worker.near = near;
        let search = std::mem::take(&mut worker.lane.search);
        let (masked, power) = (&buffers.masked[p * row..][..row], &buffers.power[p * real..][..real]);
        coarse::shift_images(context, masked, power, search.columns, search.power);
        let view = shape::SearchView { columns: search.columns, power: search.power };
        let listed = record.listed / shape.classes;
        let width = shape.translations * PANEL;
        let mut panels = 0;
        for class in 0..shape.classes {
            let range = class * listed..(class + 1) * listed;
            for (poses, log_priors) in poses[range.clone()].chunks(PANEL).zip(log_priors[range].chunks(PANEL)) {
                let panel = coarse::Panel { poses, log_priors };
                let energies = &mut search.energies[panels * width..][..width];
                let least = &mut search.least[panels..=panels];
                let (alone, log_offsets) = (std::slice::from_ref(&*record), &buffers.log_offsets[p * offsets..]);
                coarse::compare_panel(context, worker, &panel, &view, alone, log_offsets, energies, least);
                panels += 1;
            }
        }
        let found = Found {
            energies: search.energies,
            least: search.least,
            particle: 0,
            searched: 1,
            panels,
            per_class: listed,
            translations: shape.translations,
        };
        significant(context, worker, record, found, bits);
        worker.lane.search = search;
        Ok(())
    })
}

/// Marks a pair that would like a slot.
const WANTED: u32 = u32::MAX - 1;

/// Gives kept columns to the (particle, translation) pairs that have significant samples, as far as they go.
fn keep_columns<T: Scalar>(
    context: &Context<'_, T>,
    records: &[Record],
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
) -> Result<()> {
    let shape = &context.shape;
    let (row, words) = (shape.row::<T>(), shape.words());
    let mut count = 0;
    let slots = buffers.slots.chunks_exact_mut(shape.translations);
    for ((p, record), slots) in records.iter().enumerate().zip(slots) {
        slots.fill(u32::MAX);
        if !record.is_used() {
            continue;
        }
        let poses = if shape.local { record.listed } else { shape.poses };
        let map = &buffers.significant[p * words..][..words];
        pairs::translations_of(map, poses, shape.translations, |t| slots[t] = WANTED);
        for (t, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| **slot == WANTED) {
            *slot = u32::MAX;
            if count < shape.columns {
                buffers.owners[count] = [p as u32, t as u32];
                *slot = count as u32;
                count += 1;
            }
        }
    }
    let makers = [&*buffers.masked, &*buffers.unmasked].map(|images| fine::Columns { images, kept: &[], slots: &[] });
    let columns = buffers.masked_columns.chunks_exact_mut(row).zip(buffers.unmasked_columns.chunks_exact_mut(row));
    parallel::each(workers, buffers.owners[..count].iter().zip(columns), |_, ([p, t], (masked, unmasked))| {
        makers[0].make(context, *p as usize, *t as usize, masked);
        makers[1].make(context, *p as usize, *t as usize, unmasked);
        Ok(())
    })
}
