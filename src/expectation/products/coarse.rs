//! Batch phase 2: every particle against every coarse sample, a panel of 32 orientations at a time.
//!
//! d2 = 1/2 sum (v c^2) |P|^2 - sum Re P conj(v c s F) + constant: two matrix products whose left factor, the
//! slices, is interpolated once for all particles that share the panel.

use crate::error::Result;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::product::{self, Scalar as _};
use crate::weights::{Cell, gather, spread};

use super::batch::{Context, Record, Tile, Worker, product_f64, scalar};
use super::shape::{Lane, PANEL, SearchView, TILE};

/// Weights below exp(-24) of the best have no mass ([`crate::weights::mass`]).
pub const LARGEST_EXPONENT: f64 = 24.0;

/// Shifts the searched particles' images by every coarse translation.
pub fn shift_images<T: Scalar>(
    context: &Context<'_, T>,
    masked: &[T],
    power: &[T],
    columns: &mut [T],
    coarse_power: &mut [T],
) {
    let shape = &context.shape;
    let (row, pixels) = (shape.coarse_row::<T>(), 2 * shape.coarse_pixels);
    for (t, column) in columns.chunks_exact_mut(row).enumerate() {
        product::multiply(context.isa, &masked[..pixels], &context.pixel_phases(t)[..pixels], &mut column[..pixels]);
    }
    coarse_power[..shape.coarse_pixels].copy_from_slice(&power[..shape.coarse_pixels]);
}

/// A panel of up to 32 poses of one class: their slices and what they are compared with.
pub struct Panel<'p, T> {
    pub poses: &'p [u32],
    /// Log prior of each pose, for all particles or for the one that is searched.
    pub log_priors: &'p [T],
    /// Number of the panel in the particles' energies.
    pub number: usize,
}

/// Interpolates the slices of up to [`PANEL`] poses of one class into rows, and their squares.
pub fn project<T: Scalar>(context: &Context<'_, T>, worker: &mut Worker<'_, T>, poses: &[u32]) {
    let shape = &context.shape;
    let (row, real) = (shape.coarse_row::<T>(), shape.coarse_real_row::<T>());
    let (class, _) = context.split(poses[0]);
    worker.matrices.clear();
    worker.matrices.extend(poses.iter().map(|pose| context.task.orientations.matrix(context.split(*pose).1)));
    let Lane { rows, squares, .. } = &mut worker.lane;
    context.read_slices(class, &worker.matrices, shape.coarse_pixels, row, rows);
    for (slice, square) in rows.chunks_exact_mut(row).zip(squares.chunks_exact_mut(real)).take(poses.len()) {
        slice[2 * shape.coarse_pixels..].fill(T::default());
        product::squares(context.isa, &slice[..2 * shape.coarse_pixels], square);
        square[shape.coarse_pixels..].fill(T::default());
    }
}

/// Compares the particles `first..first + records.len()` of the search with a panel.
pub fn compare_panel<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    panel: &Panel<'_, T>,
    buffers: &SearchView<'_, T>,
    first: usize,
    records: &[Record],
    log_offsets: &[T],
) -> Result<()> {
    let shape = &context.shape;
    let (row, real) = (shape.coarse_row::<T>(), shape.coarse_real_row::<T>());
    let count = panel.poses.len();
    let (class, _) = context.split(panel.poses[0]);
    project(context, worker, panel.poses);
    let Lane { rows, squares: square_rows, scores, square_scores, .. } = &mut worker.lane;
    let (half, weighs) = (scalar::<T>(0.5), context.task.comparison == Comparison::Likelihood);
    let offsets = shape.translations * (1 + shape.steps);
    for tile_start in (0..records.len()).step_by(TILE) {
        let tile_end = (tile_start + TILE).min(records.len());
        let mut powers = Tile::new();
        for q in tile_start..tile_end {
            powers.push(&buffers.power[(first + q) * real..][..real]);
        }
        product::dot(context.isa, square_rows, count, real, powers.rows(), square_scores);
        let columns = (tile_end - tile_start) * shape.translations;
        for column_start in (0..columns).step_by(TILE) {
            let column_end = (column_start + TILE).min(columns);
            let at = |column: usize| (tile_start + column / shape.translations, column % shape.translations);
            let mut images = Tile::new();
            for column in column_start..column_end {
                let (q, t) = at(column);
                images.push(&buffers.columns[((first + q) * shape.translations + t) * row..][..row]);
            }
            product::dot(context.isa, rows, count, row, images.rows(), scores);
            for column in column_start..column_end {
                let (q, t) = at(column);
                let record = &records[q];
                let place = ((first + q) * shape.panels() + panel.number) * shape.translations + t;
                let energies = &buffers.energies[place * PANEL..][..PANEL];
                let allowed = record.is_used()
                    && context.task.only_class.is_none_or(|only| only[record.position] as usize == class);
                if !allowed {
                    energies.iter().for_each(|e| e.put(T::INFINITY));
                    continue;
                }
                let products = &scores[(column - column_start) * count..][..count];
                let powers = &square_scores[(q - tile_start) * count..][..count];
                if weighs {
                    let offset = log_offsets[q * offsets + t];
                    for i in 0..count {
                        energies[i].put(half * powers[i] - products[i] - panel.log_priors[i] - offset);
                    }
                } else {
                    for i in 0..count {
                        energies[i].put(correlation_energy(products[i], powers[i], record.correlation_power));
                    }
                }
                energies[count..].iter().for_each(|e| e.put(T::INFINITY));
            }
        }
    }
    Ok(())
}

/// Minus the normalised cross-correlation.
#[inline]
pub fn correlation_energy<T: Scalar>(product: T, power: T, image_power: f64) -> T {
    let norm = (product_f64(power) * image_power).sqrt();
    if norm > 0.0 { scalar(-product_f64(product) / norm) } else { T::default() }
}

/// Finds the significant samples of one particle and sets their bits: the smallest set of coarse samples that
/// holds the wanted share of the posterior. Each class has `per_class` poses.
pub fn significant<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    record: &mut Record,
    energies: &[T::Cell],
    bits: &mut [u64],
    per_class: usize,
) {
    bits.fill(0);
    if !record.is_used() {
        return;
    }
    let shape = &context.shape;
    let mut least = [T::INFINITY; PANEL];
    for row in energies.chunks_exact(PANEL) {
        for (least, e) in least.iter_mut().zip(gather::<_, PANEL>(row, T::INFINITY)) {
            *least = if e < *least { e } else { *least };
        }
    }
    let least = least.into_iter().map(product_f64).fold(f64::INFINITY, f64::min);
    if least == f64::INFINITY {
        record.set_aside = Some("no pose has a prior probability".to_owned());
        return;
    }
    let options = context.task.options;
    let selector = &mut worker.lane.selector;
    let threshold = match context.task.comparison {
        Comparison::CrossCorrelation => {
            let mut found = false;
            for e in energies {
                let best = !found && product_f64(e.get()) == least;
                found |= best;
                e.put(scalar(if best { 1.0 } else { 0.0 }));
            }
            record.coarse_kept = 1;
            1.0
        }
        Comparison::Likelihood => {
            selector.start(options.adaptive_fraction, options.max_significant, T::DIGITS);
            for row in energies.chunks_exact(PANEL) {
                let mut weights: [T; PANEL] = gather(row, T::INFINITY);
                product::weigh(context.isa, scalar(least), scalar(LARGEST_EXPONENT), &mut weights);
                spread(&weights, row);
                selector.show(&weights);
            }
            let selection = loop {
                if let Some(selection) = selector.finish_pass() {
                    break selection;
                }
                for row in energies.chunks_exact(PANEL) {
                    selector.show(&gather::<_, PANEL>(row, T::default()));
                }
            };
            record.coarse_kept = selection.count as usize;
            selection.threshold
        }
    };
    mark(energies, shape.translations, per_class, threshold, bits);
}

/// Sets the bits of the samples at or above the threshold. Each class has `per_class` poses, in whole panels.
fn mark<C: Cell<Value: product::Scalar>>(
    energies: &[C],
    translations: usize,
    per_class: usize,
    threshold: f64,
    bits: &mut [u64],
) {
    let panels = per_class.div_ceil(PANEL);
    for (panel, rows) in energies.chunks_exact(PANEL * translations).enumerate() {
        let first = panel / panels * per_class + panel % panels * PANEL;
        for (t, row) in rows.chunks_exact(PANEL).enumerate() {
            let weights = gather::<_, PANEL>(row, C::Value::default());
            let kept = |w: &C::Value| w.to_f64() > 0.0 && w.to_f64() >= threshold;
            if !weights.iter().fold(false, |any, w| any | kept(w)) {
                continue;
            }
            for (i, weight) in weights.iter().enumerate() {
                if kept(weight) {
                    let sample = (first + i) * translations + t;
                    bits[sample / 64] |= 1 << (sample % 64);
                }
            }
        }
    }
}
