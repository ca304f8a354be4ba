//! The engine's own coarse pass on all cores of the machine: panels of 32 projections, tiles of 24 columns.

use std::time::Instant;

use rayon::prelude::*;

use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::gpu::trial::Operands;
use crate::product;
use crate::product::Isa;
use crate::product::WIDE;

use super::measure;
use super::measure::Measured;
use super::measure::Sampled;

/// Columns that one product takes at a time, as in the expectation step.
const TILE: usize = 24;

/// # Errors
/// Those of [`measure::errors`].
pub fn measure<T: Scalar>(operands: &Operands<T>, isa: Isa, sampled: &[Sampled]) -> Result<Measured> {
    let powers = half_powers(operands, isa);
    let mut energies = vec![T::default(); operands.sizes.poses * operands.sizes.columns()];
    let seconds = measure::median(|| {
        let start = Instant::now();
        compare(operands, isa, &powers, &mut energies);
        Ok(start.elapsed().as_secs_f64())
    })?;
    // From panels to the places of a device.
    let sizes = operands.sizes;
    let columns = sizes.columns();
    let mut placed = vec![T::default(); energies.len()];
    for (panel, energies) in energies.chunks(WIDE * columns).enumerate() {
        let count = energies.len() / columns;
        for (at, energy) in energies.iter().enumerate() {
            let (column, pose) = (at / count, panel * WIDE + at % count);
            placed[sizes.at(column / sizes.translations, pose, column % sizes.translations)] = *energy;
        }
    }
    Ok(Measured { seconds, ..measure::errors("cpu", &placed, sampled)? })
}

/// |P|^2 v c^2 by panel, particle and pose of the panel.
fn half_powers<T: Scalar>(operands: &Operands<T>, isa: Isa) -> Vec<T> {
    let sizes = operands.sizes;
    let (row, real) = (sizes.stride(), sizes.power_stride());
    let power: Vec<&[T]> = operands.power.chunks_exact(real).collect();
    let panels: Vec<Vec<T>> = operands
        .rows
        .par_chunks(WIDE * row)
        .map(|rows| {
            let count = rows.len() / row;
            let mut squares = vec![T::default(); count * real];
            for (row, square) in rows.chunks_exact(row).zip(squares.chunks_exact_mut(real)) {
                product::squares(isa, &row[..2 * sizes.pixels], square);
            }
            let mut out = vec![T::default(); count * power.len()];
            product::dot(isa, &squares, count, real, &power, &mut out);
            out
        })
        .collect();
    panels.concat()
}

/// Energies by panel, column and pose of the panel.
fn compare<T: Scalar>(operands: &Operands<T>, isa: Isa, powers: &[T], energies: &mut [T]) {
    let sizes = operands.sizes;
    let (row, columns) = (sizes.stride(), sizes.columns());
    let length = 2 * sizes.pixels;
    let images: Vec<&[T]> = operands.columns.chunks_exact(row).collect();
    let rows = operands.rows.par_chunks(WIDE * row);
    let powers = powers.par_chunks(WIDE * sizes.particles);
    let priors = operands.log_poses.par_chunks(WIDE);
    let panels = energies.par_chunks_mut(WIDE * columns).zip(rows).zip(powers).zip(priors);
    let scratch = || (vec![T::default(); WIDE * length], vec![T::default(); WIDE * TILE]);
    panels.for_each_init(scratch, |(wide, scores), (((energies, rows), powers), priors)| {
        let count = priors.len();
        product::side_by_side(rows, row, length, wide);
        let mut least = T::INFINITY;
        for (tile, images) in images.chunks(TILE).enumerate() {
            product::wide_dot(isa, wide, length, images, scores);
            for i in 0..images.len() {
                let column = tile * TILE + i;
                let powers = &powers[column / sizes.translations * count..][..count];
                let (scores, out) = (&scores[i * WIDE..][..count], &mut energies[column * count..][..count]);
                let offset = operands.log_offsets[column];
                product::energies(isa, powers, scores, priors, offset, out, &mut least);
            }
        }
    });
}
