//! The fine pass of a batch, in as many sweeps as the memory of the weights asks for.

use std::sync::atomic::AtomicI64;
use std::time::Instant;

use crate::error::Result;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::weights::Blocks;

use super::batch::Context;
use super::batch::Record;
use super::batch::Worker;
use super::fine;
use super::maximise;
use super::maximise::Volumes;
use super::pairs;
use super::pairs::Source;
use super::parallel;
use super::posterior;
use super::shape::Buffers;
use super::work::lap;

/// The fine pass over the chunks of pairs that fit the weights. With one chunk every product is made once; with
/// several, energies are made anew for each of: their minimum, the passes of the selection, the sums. Returns the
/// seconds that the sums took.
pub fn fine_pass<T: Scalar>(
    context: &Context<'_, T>,
    all_records: &mut [Record],
    span: std::ops::Range<usize>,
    workers: &mut [Worker<'_, T>],
    buffers: &mut Buffers<'_, T>,
    volumes: &Volumes<'_, '_>,
    resolved: &[bool],
    mass: &[AtomicI64],
) -> Result<f64> {
    let shape = context.shape;
    let listed = if shape.local {
        pairs::sort_local(context, all_records, span.clone(), buffers.significant, buffers.poses, buffers.pairs)
    } else {
        0
    };
    let masked = fine::Columns { images: buffers.masked, kept: buffers.masked_columns, slots: buffers.slots };
    let unmasked = fine::Columns { images: buffers.unmasked, kept: buffers.unmasked_columns, slots: buffers.slots };
    let inputs = maximise::Inputs { masked, unmasked, power: buffers.power, weight: buffers.weight, resolved };
    let priors = fine::Priors { log_offsets: buffers.log_offsets, log_poses: buffers.log_poses };
    let poses: &[u32] = buffers.poses;
    let mut blocks = Blocks::new(&mut buffers.starts[..all_records.len() + 1], buffers.subscripts, buffers.values);
    let selectors = &mut buffers.selectors[span.clone()];
    let mut chunk = Chunk { range: 0..0, runs: 0, ready: false };
    let delta = context.task.comparison == Comparison::CrossCorrelation;

    /// Which result a sweep over the chunks is for.
    #[derive(Clone, Copy, PartialEq)]
    enum Sweep {
        Least,
        Select,
        Sums,
    }
    let mut seconds = 0.0;
    let mut sweep = Sweep::Least;
    let mut single = false;
    loop {
        let mut source = Source::new(shape.local, listed, span.clone());
        let mut first = true;
        loop {
            if !(single && chunk.ready) {
                let range = source.take(context, all_records, buffers.significant, buffers.pairs);
                if range.is_empty() && !first {
                    break;
                }
                chunk.range = range;
                let pairs = &buffers.pairs[chunk.range.clone()];
                chunk.runs = pairs::runs(pairs, buffers.runs);
                pairs::assign(context, pairs, &mut blocks, buffers.block_of)?;
                let (runs, block_of) = (&*buffers.runs, &*buffers.block_of);
                parallel::each(workers, 0..chunk.runs, |worker, run| {
                    let range = runs[run] as usize..runs[run + 1] as usize;
                    let places = &block_of[range.clone()];
                    fine::compare_run(
                        context,
                        worker,
                        &pairs[range],
                        places,
                        all_records,
                        masked,
                        buffers.power,
                        priors,
                        &blocks,
                    );
                    Ok(())
                })?;
                chunk.ready = true;
                if sweep != Sweep::Least {
                    each_record(workers, all_records, &span, |_, p, record| {
                        posterior::convert(context, p, record, &blocks)
                    })?;
                }
            }
            match sweep {
                Sweep::Least => each_record(workers, all_records, &span, |_, p, record| {
                    posterior::find_least(context, p, record, &blocks)
                })?,
                Sweep::Select => {
                    let open = span.clone().zip(selectors.iter_mut()).filter(|(_, selector)| selector.is_open());
                    parallel::each(workers, open, |_, (p, selector)| {
                        posterior::show(context, p, selector, &blocks);
                        Ok(())
                    })?;
                }
                Sweep::Sums => {
                    let mut begin = Instant::now();
                    each_record(workers, all_records, &span, |_, p, record| {
                        posterior::apply(context, p, record, &blocks, poses, mass)
                    })?;
                    let pairs = &buffers.pairs[chunk.range.clone()];
                    let (runs, block_of) = (&*buffers.runs, &*buffers.block_of);
                    parallel::each(workers, 0..chunk.runs, |worker, run| {
                        let range = runs[run] as usize..runs[run + 1] as usize;
                        let places = &block_of[range.clone()];
                        maximise::accumulate_run(context, worker, &pairs[range], places, &blocks, &inputs, volumes)
                    })?;
                    seconds += lap(&mut begin);
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
                    each_record(workers, all_records, &span, |_, p, record| {
                        posterior::convert(context, p, record, &blocks)
                    })?;
                }
                let fraction = if delta { 1.0 } else { context.task.options.adaptive_fraction };
                let both = all_records[span.clone()].iter_mut().zip(selectors.iter_mut());
                for (record, selector) in both.filter(|(record, _)| record.is_used()) {
                    selector.start(fraction, None, T::DIGITS);
                    record.total = 0.0;
                }
                sweep = Sweep::Select;
            }
            Sweep::Select => {
                let mut open = false;
                let both = all_records[span.clone()].iter_mut().zip(selectors.iter_mut());
                for (record, selector) in both.filter(|(_, selector)| selector.is_open()) {
                    if let Some(selection) = selector.finish_pass() {
                        (record.threshold, record.total) = (selection.threshold, selection.total);
                        if selection.total == 0.0 {
                            record.set_aside = Some("no pose of the fine search has a probability".to_owned());
                        }
                    }
                    open |= selector.is_open();
                }
                if !open {
                    sweep = Sweep::Sums;
                }
            }
            Sweep::Sums => break,
        }
    }
    Ok(seconds)
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
    span: &std::ops::Range<usize>,
    work: impl Fn(&mut Worker<'_, T>, usize, &mut Record) + Sync,
) -> Result<()> {
    let used = span.clone().zip(&mut records[span.clone()]).filter(|(_, record)| record.is_used());
    parallel::each(workers, used, |worker, (p, record)| {
        work(worker, p, record);
        Ok(())
    })
}

/// Moves the workers' per-particle sums into the records.
pub fn merge<T: Scalar>(context: &Context<'_, T>, records: &mut [Record], workers: &mut [Worker<'_, T>]) {
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
