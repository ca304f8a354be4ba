//! Batch phase 5: from energies to posterior weights, one particle at a time.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::product;
use crate::weights::{BLOCK, Blocks, Selector, gather, spread};

use super::batch::{Context, Record, product_f64, scalar};
use super::coarse::LARGEST_EXPONENT;

/// Posterior mass as an integer: units of 2^-40, room for 2^22 particles in one direction.
pub const MASS_UNITS: f64 = (1_u64 << 40) as f64;

/// Takes the smallest energy of the particle's blocks into account.
pub fn find_least<T: Scalar>(context: &Context<'_, T>, p: usize, record: &mut Record, blocks: &Blocks<'_, T::Cell>) {
    let children = context.shape.children();
    let mut least = [T::INFINITY; BLOCK];
    for block in blocks.range(p) {
        let energies = gather::<_, BLOCK>(&blocks.values(block)[..children], T::INFINITY);
        for (least, e) in least.iter_mut().zip(energies) {
            *least = if e < *least { e } else { *least };
        }
    }
    record.min_energy = least.into_iter().map(product_f64).fold(record.min_energy, f64::min);
}

/// Turns energies into weights relative to the best sample, which is remembered (the first of equals).
pub fn convert<T: Scalar>(context: &Context<'_, T>, p: usize, record: &mut Record, blocks: &Blocks<'_, T::Cell>) {
    let shape = &context.shape;
    let least: T = scalar(record.min_energy);
    for block in blocks.range(p) {
        let places = &blocks.values(block)[..shape.children()];
        let mut values = gather::<_, BLOCK>(places, T::INFINITY);
        let subscript = blocks.subscript(block) as usize;
        let sample = (subscript / shape.translations, subscript % shape.translations);
        if record.best.is_none()
            && least < T::INFINITY
            && let Some(at) = values.iter().position(|e| *e == least)
        {
            record.best = Some((sample.0 as u32, sample.1 as u32, at as u32));
        }
        match context.task.comparison {
            Comparison::Likelihood => {
                product::weigh(context.isa, least, scalar(LARGEST_EXPONENT), &mut values);
            }
            Comparison::CrossCorrelation => {
                values.fill(T::default());
                if let Some((pose, t, at)) = record.best
                    && (pose as usize, t as usize) == sample
                {
                    values[at as usize] = scalar(1.0);
                }
            }
        }
        spread(&values, places);
    }
}

/// Shows the particle's weights to the selector.
pub fn show<T: Scalar>(context: &Context<'_, T>, p: usize, selector: &mut Selector<'_>, blocks: &Blocks<'_, T::Cell>) {
    let children = context.shape.children();
    for block in blocks.range(p) {
        selector.show(&gather::<_, BLOCK>(&blocks.values(block)[..children], T::default()));
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
    let threshold: T = scalar(record.threshold);
    for block in blocks.range(p) {
        let values = &blocks.values(block)[..shape.children()];
        let subscript = blocks.subscript(block) as usize;
        let (listed, translation) = (subscript / shape.translations, subscript % shape.translations);
        let mut weights = gather::<_, BLOCK>(values, T::default());
        let kept = |w: &T| *w > T::default() && *w >= threshold;
        if !weights.iter().fold(false, |any, w| any | kept(w)) {
            weights.fill(T::default());
            spread(&weights, values);
            continue;
        }
        let mut squared = [0.0; BLOCK];
        for (step, squared) in squared.iter_mut().enumerate().take(shape.steps) {
            let by = context.group.pixels(task.translations.child(translation, step));
            *squared = prior.squared_angstrom(record.offset_pixels, by);
        }
        let mut block_mass = 0.0;
        for (at, weight) in weights.iter_mut().enumerate() {
            if !kept(weight) {
                *weight = T::default();
                continue;
            }
            let probability = product_f64(*weight) / record.total;
            *weight = scalar(probability);
            block_mass += probability;
            record.offset2 += probability * squared[at % shape.steps];
        }
        spread(&weights, values);
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
