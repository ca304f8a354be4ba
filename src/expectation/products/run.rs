//! One batch: images, the coarse search, the columns that are kept, and then the fine pass.

use std::sync::Mutex;
use std::sync::atomic::AtomicI64;

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
use super::sweeps;

/// All phases of one batch.
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
            let rows = ParticleRows {
                masked: &mut *rows.masked,
                unmasked: &mut *rows.unmasked,
                power: &mut *rows.power,
                weight: &mut *rows.weight,
                log_offsets: &mut *rows.log_offsets,
            };
            load::load(context, limits, images, p, record, worker, rows)
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
    for span in pairs::spans(context, records, buffers.significant) {
        sweeps::fine_pass(context, records, span, workers, buffers, volumes, resolved, mass)?;
    }
    sweeps::merge(context, records, workers);
    Ok(())
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
