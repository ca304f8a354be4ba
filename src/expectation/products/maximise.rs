//! Batch phase 6: weighted sums, one coarse orientation at a time.
//!
//! For a child orientation o: G_o = sum_i (v c)_i sum_t w s_t X_i from the unmasked images and
//! W_o = sum_i (v c^2)_i sum_t w are products; they are summed over the particles of a block in canonical
//! order, then scattered into integer sums. Noise, norm and scale need, per particle and shell,
//! sum w Re P conj(F) and sum w |P|^2 with the masked images: products with the transposed factors.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::product::{self, Coefficients, Voxel};
use crate::weights::{BLOCK, Blocks, Cell};

use super::batch::{Context, STRETCH, Tile, Worker, product_f64};
use super::fine::{self, Columns};
use super::shape::{Lane, Pair, TILE};

/// Per-particle, per-shell sums as integers: units of 2^-24.
pub const SHELL_UNITS: f64 = (1_u64 << 24) as f64;

/// Integer volumes: `copies` for each class.
pub struct Volumes<'v, 'f> {
    pub sums: &'v [Mutex<&'f mut [Voxel]>],
    pub copies: usize,
    /// Units of data and weight.
    pub scale: [f64; 2],
}

/// Everything a run of pairs adds to.
pub struct Inputs<'c, T> {
    pub masked: Columns<'c, T>,
    pub unmasked: Columns<'c, T>,
    pub power: &'c [T],
    pub weight: &'c [T],
    /// Shells of well resolved classes: per class and image shell.
    pub resolved: &'c [bool],
}

/// Adds a run of pairs of one pose to the sums.
pub fn accumulate_run<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    pairs: &[Pair],
    block_of: &[u32],
    blocks: &Blocks<'_, T::Cell>,
    inputs: &Inputs<'_, T>,
    volumes: &Volumes<'_, '_>,
) -> Result<()> {
    let children = context.shape.children();
    let active = |place: &u32| blocks.values(*place as usize)[..children].iter().any(|v| product_f64(v.get()) > 0.0);
    if !block_of.iter().any(active) {
        return Ok(());
    }
    fine::project(context, worker, pairs[0][0]);
    let block = |pair: &Pair| pair[1] as usize / context.block_particles;
    let mut start = 0;
    for part in pairs.chunk_by(|a, b| block(a) == block(b)) {
        let places = &block_of[start..start + part.len()];
        start += part.len();
        if places.iter().any(active) {
            accumulate_block(context, worker, part, places, blocks, inputs);
            scatter(context, worker, pairs[0][0], volumes)?;
        }
    }
    Ok(())
}

/// Sums the images of one block of particles into `lane.images`, their weights into `lane.weights`.
fn accumulate_block<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    pairs: &[Pair],
    block_of: &[u32],
    blocks: &Blocks<'_, T::Cell>,
    inputs: &Inputs<'_, T>,
) {
    let (shape, isa) = (&context.shape, context.isa);
    let (row, real, children) = (shape.row::<T>(), shape.real_row::<T>(), shape.children());
    let lane = &mut worker.lane;
    lane.images[..children * row].fill(T::default());
    lane.weights[..shape.turns * real].fill(T::default());
    let mut next = 0;
    while next < pairs.len() {
        // A tile of columns that carry weight.
        let mut chosen = [0_usize; TILE];
        let mut count = 0;
        while next < pairs.len() && count < TILE {
            let values = &blocks.values(block_of[next] as usize)[..children];
            let coefficients = &mut lane.coefficients[count * BLOCK..][..children];
            let mut any = false;
            for (c, v) in coefficients.iter_mut().zip(values) {
                *c = v.get();
                any |= product_f64(*c) > 0.0;
            }
            if any {
                chosen[count] = next;
                count += 1;
            }
            next += 1;
        }
        if count == 0 {
            continue;
        }
        let chosen = &chosen[..count];
        let mut images = Tile::new();
        for (at, scratch) in chosen.iter().zip(lane.unmasked.chunks_exact_mut(row)) {
            images.push(inputs.unmasked.get(context, &pairs[*at], scratch));
        }
        let by_term = Coefficients { values: &*lane.coefficients, stride_row: 1, stride_term: BLOCK };
        product::combine(isa, by_term, images.rows(), children, row, lane.part);
        product::add(isa, &mut lane.images[..children * row], &lane.part[..children * row]);
        tile_weights(context, lane, pairs, chosen, inputs);
        if context.task.comparison == Comparison::Likelihood {
            tile_residuals(context, lane, pairs, chosen, inputs);
        }
    }
}

/// Sums of weights: per particle of the tile its mass in every child orientation, times its CTF power.
/// Also sum w |P|^2 per particle and shell.
fn tile_weights<T: Scalar>(
    context: &Context<'_, T>,
    lane: &mut Lane<'_, T>,
    pairs: &[Pair],
    chosen: &[usize],
    inputs: &Inputs<'_, T>,
) {
    let (shape, isa) = (&context.shape, context.isa);
    let real = shape.real_row::<T>();
    let (class, _) = context.split(pairs[0][0]);
    let mut weights = Tile::new();
    let mut particles = [0_usize; TILE];
    let mut count = 0;
    for (column, at) in chosen.iter().enumerate() {
        let p = pairs[*at][1] as usize;
        if count == 0 || particles[count - 1] != p {
            particles[count] = p;
            lane.masses[count * BLOCK..][..shape.turns].fill(T::default());
            weights.push(&inputs.weight[p * real..][..real]);
            count += 1;
        }
        let masses = &mut lane.masses[(count - 1) * BLOCK..][..shape.turns];
        for (turn, mass) in masses.iter_mut().enumerate() {
            for step in 0..shape.steps {
                *mass += lane.coefficients[column * BLOCK + turn * shape.steps + step];
            }
        }
    }
    let by_term = Coefficients { values: &*lane.masses, stride_row: 1, stride_term: BLOCK };
    product::combine(isa, by_term, weights.rows(), shape.turns, real, lane.weights_part);
    product::add(isa, &mut lane.weights[..shape.turns * real], &lane.weights_part[..shape.turns * real]);

    if context.task.comparison != Comparison::Likelihood {
        return;
    }
    // sum_o w_o |P_o|^2 per particle, as rows of `means` (free until the residuals).
    for (at, p) in particles[..count].iter().enumerate() {
        let mut squares = Tile::new();
        for square in lane.squares.chunks_exact(real).take(shape.turns) {
            squares.push(square);
        }
        let masses = Coefficients { values: &lane.masses[at * BLOCK..][..shape.turns], stride_row: 1, stride_term: 1 };
        product::combine(isa, masses, squares.rows(), 1, real, lane.means);
        let power = &inputs.power[p * real..][..real];
        let own = &mut lane.own[p * shape.shells..][..shape.shells];
        product::products(isa, &lane.means[..real], power, &mut lane.part[..real]);
        product::range_sums(isa, lane.part, context.shell_ranges, 1, lane.shell_sums);
        for (shell, sum) in lane.shell_sums.iter().copied().enumerate().take(context.used_shells) {
            own[shell] = own[shell].wrapping_add(units(sum));
            if inputs.resolved[class * shape.shells + shell] {
                lane.resolved[*p][1] += scale_units(context, sum, shell);
            }
        }
    }
}

/// sum w Re P conj(F) per particle and shell, over a tile of columns.
fn tile_residuals<T: Scalar>(
    context: &Context<'_, T>,
    lane: &mut Lane<'_, T>,
    pairs: &[Pair],
    chosen: &[usize],
    inputs: &Inputs<'_, T>,
) {
    let (shape, isa) = (&context.shape, context.isa);
    let row = shape.row::<T>();
    let (class, _) = context.split(pairs[0][0]);
    // The posterior mean reference of each column: its weights times the rows.
    let mut rows: [&[T]; BLOCK] = [&[]; BLOCK];
    for (place, values) in rows.iter_mut().zip(lane.rows.chunks_exact(row)) {
        *place = values;
    }
    let by_row = Coefficients { values: &*lane.coefficients, stride_row: BLOCK, stride_term: 1 };
    product::combine(isa, by_row, &rows[..shape.children()], chosen.len(), row, lane.means);
    for (column, at) in chosen.iter().enumerate() {
        let scratch = &mut lane.masked[..row];
        let image = inputs.masked.get(context, &pairs[*at], scratch);
        let mean = &lane.means[column * row..][..row];
        let p = pairs[*at][1] as usize;
        if column == 0 || pairs[chosen[column - 1]][1] as usize != p {
            product::products(isa, mean, image, &mut lane.part[..row]);
        } else {
            product::add_products(isa, mean, image, &mut lane.part[..row]);
        }
        if chosen.get(column + 1).is_some_and(|next| pairs[*next][1] as usize == p) {
            continue;
        }
        // The last column of this particle.
        let cross = &mut lane.cross[p * shape.shells..][..shape.shells];
        product::range_sums(isa, lane.part, context.shell_ranges, 2, lane.shell_sums);
        for (shell, sum) in lane.shell_sums.iter().copied().enumerate().take(context.used_shells) {
            cross[shell] = cross[shell].wrapping_add(units(sum));
            if inputs.resolved[class * shape.shells + shell] {
                lane.resolved[p][0] += scale_units(context, sum, shell);
            }
        }
    }
}

/// A sum in units of 2^-24, rounded.
pub fn units(sum: f64) -> i64 {
    (sum * SHELL_UNITS + 0.5_f64.copysign(sum)) as i64
}

/// The same sum without its noise weight, for the scale correction, relative to the strongest noise weight.
fn scale_units<T: Scalar>(context: &Context<'_, T>, sum: f64, shell: usize) -> i64 {
    let v = context.group.inverse_sigma2[shell];
    let strongest = context.group.strongest_weight;
    if v > 0.0 { units(sum * (strongest / v)) } else { 0 }
}

/// Products below this are scattered exactly ([`product::add_slice`]).
const EXACT: f64 = (1_u64 << 51) as f64;

/// Adds the phases of the translation children and scatters the slices of all child orientations.
///
/// # Errors
/// A sum of the block is too large for exact integers.
fn scatter<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    pose: u32,
    volumes: &Volumes<'_, '_>,
) -> Result<()> {
    let shape = &context.shape;
    let (row, real, used) = (shape.row::<T>(), shape.real_row::<T>(), 2 * shape.pixels);
    let (class, _) = context.split(pose);
    let lane = &mut worker.lane;
    let volume = &volumes.sums[class * volumes.copies + worker.number % volumes.copies];
    let mut volume = volume.lock().unwrap_or_else(PoisonError::into_inner);
    // The slice of a turn replaces the images of its first step.
    for turn in 0..shape.turns {
        let data = &mut lane.part[..used];
        data.fill(T::default());
        for step in 0..shape.steps {
            let images = &lane.images[(turn * shape.steps + step) * row..][..used];
            product::multiply_add(context.isa, images, &context.step_phases[step * row..][..used], data);
        }
        // NaN is outside, too.
        let inside = |value: &T| (product_f64(*value) * volumes.scale[0]).abs() < EXACT;
        if !data.iter().fold(true, |all, value| all & inside(value)) {
            return Err(Error::new(
                ExitCode::BadData,
                "",
                "the images of a block add up to more in one pose than the noise model allows for",
                "Run `relion-rs check --images`, and normalise or remove what it lists.",
            ));
        }
        lane.images[turn * shape.steps * row..][..used].copy_from_slice(data);
    }
    let carries = |turn: usize| lane.weights[turn * real..][..shape.pixels].iter().any(|w| product_f64(*w) != 0.0);
    let active: [bool; BLOCK] = std::array::from_fn(|turn| turn < shape.turns && carries(turn));
    for start in (0..shape.pixels).step_by(STRETCH) {
        let pixels = start..(start + STRETCH).min(shape.pixels);
        for (turn, rotation) in worker.matrices.iter().enumerate().filter(|(turn, _)| active[*turn]) {
            let data = &lane.images[turn * shape.steps * row..][2 * pixels.start..2 * pixels.end];
            let weight = &lane.weights[turn * real..][pixels.clone()];
            let plane = context.plane(rotation, pixels.clone());
            product::add_slice(context.isa, context.rows(), &mut volume, plane, data, weight, volumes.scale);
        }
    }
    Ok(())
}
