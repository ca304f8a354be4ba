//! Squared differences term by term, as the two passes make them: what precisions are
//! compared by. Only tests and measurements call this.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use num_complex::Complex;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::images::ImageSource;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Task;
use crate::product;
use crate::product::Isa;

use super::ahead;
use super::batch;
use super::batch::Context;
use super::batch::Record;
use super::batch::Setting;
use super::batch::Worker;
use super::batch::product_f64;
use super::coarse;
use super::engine;
use super::engine::Config;
use super::fine;
use super::half::Next;
use super::load;
use super::load::Limits;
use super::load::ParticleRows;
use super::shape;
use super::shape::PANEL;

/// Which pass makes the terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    Coarse,
    Fine,
}

/// The parts of a squared difference that depend on the pose: it is `square - product` and a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// 1/2 sum v c^2 |P|^2.
    pub square: f64,
    /// sum v c Re P conj(s F).
    pub product: f64,
}

/// The terms of some of the task's particles (positions in it, all of one optics group), each with some poses: by
/// particle, pose and translation, in the fine pass by child of both.
///
/// # Errors
/// Those of reading, and an image that would be set aside.
pub fn terms<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    isa: Isa,
    wanted: &[(usize, Vec<u32>)],
    pass: Pass,
    frame: &mut Frame<'_>,
) -> Result<Vec<Terms>> {
    let positions: Vec<usize> = wanted.iter().map(|(position, _)| *position).collect();
    let mut all = Vec::new();
    each_loaded::<T>(task, source, isa, &positions, frame, |context, worker, loaded| {
        let poses = &wanted[loaded.number].1;
        match pass {
            Pass::Coarse => coarse_terms(context, worker, poses, (loaded.columns, loaded.coarse_power), &mut all),
            Pass::Fine => fine_terms(context, worker, poses, (loaded.masked, loaded.power), &mut all),
        }
    })?;
    Ok(all)
}

/// A particle as both passes compare it.
pub(super) struct Loaded<'l, T> {
    /// Which of those that were asked for.
    pub number: usize,
    pub record: &'l Record,
    pub masked: &'l [T],
    pub power: &'l [T],
    /// The same for the coarse pass, under every translation.
    pub columns: &'l [T],
    pub coarse_power: &'l [T],
    pub log_offsets: &'l [T],
}

/// Loads particles (positions in the task, all of one optics group) one after another.
///
/// # Errors
/// Those of reading, and an image that would be set aside.
pub(super) fn each_loaded<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    isa: Isa,
    positions: &[usize],
    frame: &mut Frame<'_>,
    mut visit: impl FnMut(&Context<'_, T>, &mut Worker<'_, T>, &Loaded<'_, T>),
) -> Result<()> {
    let config = Config {
        isa,
        threads: 1,
        block_particles: positions.len(),
        blocks_per_batch: 1,
        sum_copies: 1,
        energy_bytes: 0,
        weight_bytes: 0,
        column_bytes: 0,
        pixel_bytes: size_of::<f32>(),
    };
    let members: Vec<(usize, u32)> = positions.iter().map(|position| (*position, task.particles[*position])).collect();
    let optics = task.dataset.particles[members[0].1 as usize].optics as usize;
    let geometry = &task.geometry();
    let group = &Group::new(task, geometry, optics);
    let shape = config.shape::<T>(task, group, members.len());
    frame.child(Kind::Iteration, |frame| -> Result<Next> {
        let mut references = shape::references::<T>(frame, task.model.classes.len(), geometry.rows.len())?;
        engine::build_references(frame, task, geometry, config.threads, &mut references)?;
        let references: Vec<&[Complex<T>]> = references.iter().map(|r| &**r).collect();
        let mut tables = shape::tables::<T>(frame, &shape)?;
        engine::fill_tables(task, group, &shape, &mut tables);
        let ranges = engine::shell_ranges(group);
        let never = &AtomicBool::new(false);
        let dc: Vec<f64> = references.iter().map(|r| batch::reference_dc(geometry, r)).collect();
        let setting = Setting {
            task,
            group,
            geometry,
            shape,
            block_particles: config.block_particles,
            reference_dc: &dc,
            shell_ranges: &ranges,
            stop: never,
        };
        let context = engine::context(setting, config.isa, &references, &tables);
        let images = shape::image_buffers(frame, &shape)?;
        frame.child(Kind::Batch, |frame| {
            let mut worker = Worker::new(frame, 0, group, &shape)?;
            let (row, real) = (shape.row::<T>(), shape.real_row::<T>());
            let [masked, unmasked] = ["masked image", "unmasked image"].map(|name| frame.zeroed::<T>(name, row));
            let (masked, unmasked) = (masked?, unmasked?);
            let [power, weight] = ["CTF power", "CTF weight"].map(|name| frame.zeroed::<T>(name, real));
            let (power, weight) = (power?, weight?);
            let log_offsets = frame.alloc("offset priors", shape.translations * (1 + shape.steps))?;
            let columns = frame.zeroed("coarse columns", shape.translations * shape.coarse_row::<T>())?;
            let coarse_power = frame.zeroed("coarse CTF power", shape.coarse_real_row::<T>())?;
            let mut record = Record::default();
            let given = AtomicBool::new(false);
            let next = |_: usize, blocks: &mut Vec<u32>| {
                // One block holds them all.
                blocks.extend((!given.swap(true, SeqCst)).then_some(0));
                Ok(())
            };
            let group =
                ahead::Members { all: &members, block_particles: config.block_particles, next: &next, has: &|_| false };
            ahead::each_batch(source, task.dataset, &shape, &group, images, |members, images| {
                for (p, (position, particle)) in members.iter().enumerate() {
                    record.start(*particle, *position, &shape);
                    let rows = ParticleRows {
                        masked: &mut *masked,
                        unmasked: &mut *unmasked,
                        power: &mut *power,
                        weight: &mut *weight,
                        log_offsets: &mut *log_offsets,
                    };
                    let limits = Limits { data: f64::INFINITY, weight: f64::INFINITY };
                    load::load(&context, limits, images, p, &mut record, &mut worker.loader, rows)?;
                    if let Some(cause) = &record.set_aside {
                        return Err(Error::internal(cause.clone()));
                    }
                    coarse::shift_images(&context, masked, power, columns, coarse_power);
                    let loaded =
                        Loaded { number: p, record: &record, masked, power, columns, coarse_power, log_offsets };
                    visit(&context, &mut worker, &loaded);
                }
                Ok(Next::GoOn)
            })
        })
    })?;
    Ok(())
}

/// One product with each of the columns; by row, then by column.
fn products<T: Scalar>(context: &Context<'_, T>, rows: &[T], count: usize, length: usize, columns: &[T]) -> Vec<f64> {
    let columns: Vec<&[T]> = columns.chunks_exact(length).collect();
    let mut out = vec![T::default(); count * columns.len()];
    product::dot(context.isa, rows, count, length, &columns, &mut out);
    (0..count).flat_map(|r| (0..columns.len()).map(move |c| c * count + r)).map(|at| product_f64(out[at])).collect()
}

fn coarse_terms<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    poses: &[u32],
    (columns, power): (&[T], &[T]),
    out: &mut Vec<Terms>,
) {
    let (row, real) = (context.shape.coarse_row::<T>(), context.shape.coarse_real_row::<T>());
    for panel in poses.chunks(PANEL) {
        coarse::project(context, worker, panel);
        let squares = products(context, worker.lane.squares, panel.len(), real, power);
        let images: Vec<&[T]> = columns.chunks_exact(row).collect();
        let products: Vec<f64> = images
            .iter()
            .flat_map(|image| {
                coarse::multiply(context, &mut worker.lane, panel.len(), &[image]);
                worker.lane.scores[..panel.len()].iter().map(|p| product_f64(*p)).collect::<Vec<f64>>()
            })
            .collect();
        for (pose, square) in squares.iter().enumerate() {
            let of_pose = products.iter().skip(pose).step_by(panel.len());
            out.extend(of_pose.map(|product| Terms { square: 0.5 * square, product: *product }));
        }
    }
}

fn fine_terms<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    poses: &[u32],
    (masked, power): (&[T], &[T]),
    out: &mut Vec<Terms>,
) {
    let shape = &context.shape;
    let (row, real) = (shape.row::<T>(), shape.real_row::<T>());
    let columns = fine::Columns { images: masked, kept: &[], slots: &[] };
    let mut column = vec![T::default(); row];
    for pose in poses {
        fine::project(context, worker, *pose);
        let squares = products(context, worker.lane.squares, shape.turns, real, power);
        for translation in 0..shape.translations {
            columns.make(context, 0, translation, &mut column);
            let products = products(context, worker.lane.rows, shape.children(), row, &column);
            for (square, products) in squares.iter().zip(products.chunks_exact(shape.steps)) {
                out.extend(products.iter().map(|product| Terms { square: 0.5 * square, product: *product }));
            }
        }
    }
}
