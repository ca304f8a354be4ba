//! Batch phase 5: from energies to posterior weights, one particle at a time.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::weights::{Blocks, Cell, Selector};

use super::batch::{Context, Record, product_f64, scalar};
use super::coarse::LARGEST_EXPONENT;

/// Posterior mass as an integer: units of 2^-40, room for 2^22 particles in one direction.
pub const MASS_UNITS: f64 = (1_u64 << 40) as f64;

/// Takes the smallest energy of the particle's blocks into account.
pub fn find_least<T: Scalar>(context: &Context<'_, T>, p: usize, record: &mut Record, blocks: &Blocks<'_, T::Cell>) {
    let children = context.shape.children();
    for block in blocks.range(p) {
        for value in &blocks.values(block)[..children] {
            record.min_energy = record.min_energy.min(product_f64(value.get()));
        }
    }
}

/// Turns energies into weights relative to the best sample, which is remembered (the first of equals).
pub fn convert<T: Scalar>(context: &Context<'_, T>, p: usize, record: &mut Record, blocks: &Blocks<'_, T::Cell>) {
    let shape = &context.shape;
    let delta = context.task.comparison == Comparison::CrossCorrelation;
    for block in blocks.range(p) {
        for (at, value) in blocks.values(block)[..shape.children()].iter().enumerate() {
            let exponent = record.min_energy - product_f64(value.get());
            if exponent == 0.0 && record.best.is_none() {
                let subscript = blocks.subscript(block);
                let translations = shape.translations as u32;
                record.best = Some((subscript / translations, subscript % translations, at as u32));
            }
            let is_best = || {
                let subscript = blocks.subscript(block);
                let translations = shape.translations as u32;
                record.best == Some((subscript / translations, subscript % translations, at as u32))
            };
            value.put(if delta {
                scalar(if exponent == 0.0 && is_best() { 1.0 } else { 0.0 })
            } else if exponent > -LARGEST_EXPONENT {
                Scalar::exp(scalar::<T>(exponent))
            } else {
                T::default()
            });
        }
    }
}

/// Shows the particle's weights to the selector.
pub fn show<T: Scalar>(context: &Context<'_, T>, p: usize, selector: &mut Selector, blocks: &Blocks<'_, T::Cell>) {
    let children = context.shape.children();
    for block in blocks.range(p) {
        for value in &blocks.values(block)[..children] {
            selector.add(product_f64(value.get()));
        }
    }
}

/// Replaces weights by posterior probabilities, zero below the threshold, and sums what only depends on them.
pub fn apply<T: Scalar>(
    context: &Context<'_, T>,
    p: usize,
    record: &mut Record,
    blocks: &Blocks<'_, T::Cell>,
    poses: &[u32],
    direction_mass: &[AtomicI64],
) {
    let (shape, task) = (&context.shape, context.task);
    let prior = crate::expectation::prior::OffsetPrior::new(task, context.group, record.index, record.offset_pixels);
    for block in blocks.range(p) {
        let values = &blocks.values(block)[..shape.children()];
        let subscript = blocks.subscript(block) as usize;
        let (listed, translation) = (subscript / shape.translations, subscript % shape.translations);
        let mut block_mass = 0.0;
        for (at, value) in values.iter().enumerate() {
            let weight = product_f64(value.get());
            if weight <= 0.0 || weight < record.threshold {
                value.put(T::default());
                continue;
            }
            let probability = weight / record.total;
            value.put(scalar(probability));
            block_mass += probability;
            let by = context.group.pixels(task.translations.child(translation, at % shape.steps));
            record.offset2 += probability * prior.squared_angstrom(record.offset_pixels, by);
        }
        let pose = if shape.local { poses[p * shape.poses + listed] } else { listed as u32 };
        if let Some((best, t, child)) = record.best
            && (best as usize, t as usize) == (listed, translation)
        {
            record.best_pose = Some((pose, t, child));
        }
        if block_mass > 0.0 {
            let (class, orientation) = context.split(pose);
            let direction = class * shape.directions + task.orientations.direction_of(orientation);
            direction_mass[direction].fetch_add((block_mass * MASS_UNITS).round_ties_even() as i64, Relaxed);
            record.mass[class] += block_mass;
        }
    }
}
