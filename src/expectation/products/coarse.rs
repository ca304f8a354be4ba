//! Batch phase 2, first part: every particle against every coarse sample, a panel of 32 orientations at a time.
//!
//! d2 = 1/2 sum (v c^2) |P|^2 - sum Re P conj(v c s F) + constant: two matrix products whose left factor, the
//! slices, is interpolated once for all particles that share the panel.

use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::product;

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
}

/// Interpolates the slices of up to [`PANEL`] poses of one class into rows, and their squares.
pub fn project<T: Scalar>(context: &Context<'_, T>, worker: &mut Worker<'_, T>, poses: &[u32]) {
    let shape = &context.shape;
    let (row, real) = (shape.coarse_row::<T>(), shape.coarse_real_row::<T>());
    let (class, _) = context.split(poses[0]);
    worker.matrices.clear();
    worker.matrices.extend(poses.iter().map(|pose| context.task.orientations.matrix(context.split(*pose).1)));
    let Lane { rows, squares, wide, .. } = &mut worker.lane;
    context.read_slices(class, &worker.matrices, shape.coarse_pixels, row, rows);
    for (slice, square) in rows.chunks_exact_mut(row).zip(squares.chunks_exact_mut(real)).take(poses.len()) {
        slice[2 * shape.coarse_pixels..].fill(T::default());
        product::squares(context.isa, &slice[..2 * shape.coarse_pixels], square);
        square[shape.coarse_pixels..].fill(T::default());
    }
    if !shape.local {
        product::side_by_side(&rows[..poses.len() * row], row, 2 * shape.coarse_pixels, wide);
    }
}

/// Products of the projected poses with shifted images, into `lane.scores`: by image, then pose, [`PANEL`] places an
/// image. In a search everywhere the panel's slices lie side by side, since many images meet them.
pub fn multiply<T: Scalar>(context: &Context<'_, T>, lane: &mut Lane<'_, T>, count: usize, images: &[&[T]]) {
    let shape = &context.shape;
    let Lane { rows, wide, scores, .. } = lane;
    if !shape.local {
        return product::wide_dot(context.isa, wide, 2 * shape.coarse_pixels, images, scores);
    }
    product::dot(context.isa, rows, count, shape.coarse_row::<T>(), images, scores);
    if count < PANEL {
        // From `count` places an image to PANEL, the last first.
        for image in (1..images.len()).rev() {
            scores.copy_within(image * count..(image + 1) * count, image * PANEL);
        }
    }
}

/// Compares the searched particles with a panel. `energies` and `least` are those of the panel: by particle,
/// translation and orientation, and by particle.
pub fn compare_panel<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    panel: &Panel<'_, T>,
    search: &SearchView<'_, T>,
    records: &[Record],
    log_offsets: &[T],
    energies: &mut [T],
    least: &mut [T],
) {
    let shape = &context.shape;
    let (row, real) = (shape.coarse_row::<T>(), shape.coarse_real_row::<T>());
    let count = panel.poses.len();
    let (class, _) = context.split(panel.poses[0]);
    least.fill(T::INFINITY);
    let allowed = |record: &Record| {
        record.is_used() && context.task.only_class.is_none_or(|only| only[record.position] as usize == class)
    };
    if !records.iter().any(allowed) {
        // Panels without a least energy are not looked at.
        return;
    }
    project(context, worker, panel.poses);
    let offsets = shape.translations * (1 + shape.steps);
    for tile_start in (0..records.len()).step_by(TILE) {
        let tile_end = (tile_start + TILE).min(records.len());
        let mut powers = Tile::new();
        for q in tile_start..tile_end {
            powers.push(&search.power[q * real..][..real]);
        }
        let Lane { squares, square_scores, .. } = &mut worker.lane;
        product::dot(context.isa, squares, count, real, powers.rows(), square_scores);
        let columns = (tile_end - tile_start) * shape.translations;
        for column_start in (0..columns).step_by(TILE) {
            let column_end = (column_start + TILE).min(columns);
            let at = |column: usize| (tile_start + column / shape.translations, column % shape.translations);
            let mut images = Tile::new();
            for column in column_start..column_end {
                let (q, t) = at(column);
                images.push(&search.columns[(q * shape.translations + t) * row..][..row]);
            }
            multiply(context, &mut worker.lane, count, images.rows());
            let Lane { scores, square_scores, .. } = &worker.lane;
            for column in column_start..column_end {
                let (q, t) = at(column);
                let record = &records[q];
                let energies = &mut energies[(q * shape.translations + t) * PANEL..][..PANEL];
                if !allowed(record) {
                    energies.fill(T::INFINITY);
                    continue;
                }
                let (energies, rest) = energies.split_at_mut(count);
                rest.fill(T::INFINITY);
                let products = &scores[(column - column_start) * PANEL..][..count];
                let powers = &square_scores[(q - tile_start) * count..][..count];
                if context.task.comparison == Comparison::Likelihood {
                    let offset = log_offsets[q * offsets + t];
                    product::energies(context.isa, powers, products, panel.log_priors, offset, energies, &mut least[q]);
                } else {
                    for (i, energy) in energies.iter_mut().enumerate() {
                        *energy = correlation_energy(products[i], powers[i], record.correlation_power);
                        least[q] = if *energy < least[q] { *energy } else { least[q] };
                    }
                }
            }
        }
    }
}

/// Minus the normalised cross-correlation.
#[inline]
pub fn correlation_energy<T: Scalar>(product: T, power: T, image_power: f64) -> T {
    let norm = (product_f64(power) * image_power).sqrt();
    if norm > 0.0 { scalar(-product_f64(product) / norm) } else { T::default() }
}
