//! Batch phase 4: the children of every significant coarse sample, one coarse orientation at a time.
//!
//! The children's slices are interpolated once for all particles that want them; multiplied by the conjugate
//! phases of the translation children they make up to 32 rows, and one product with the shifted images fills
//! whole blocks of weights.

use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::product;
use crate::weights::{Blocks, Cell};

use super::batch::{Context, Record, Tile, Worker, scalar};
use super::coarse::correlation_energy;
use super::shape::{Lane, Pair, TILE};

/// Shifted images of the batch: kept columns, and the means to make the others.
#[derive(Clone, Copy)]
pub struct Columns<'c, T> {
    pub images: &'c [T],
    pub kept: &'c [T],
    pub slots: &'c [u32],
}

impl<'c, T: Scalar> Columns<'c, T> {
    /// The image of a pair shifted by its translation: a kept column, or made in `scratch`.
    #[inline]
    pub fn get<'t>(&self, context: &Context<'_, T>, pair: &Pair, scratch: &'t mut [T]) -> &'t [T]
    where
        'c: 't,
    {
        let row = context.shape.row::<T>();
        let (p, t) = (pair[1] as usize, pair[2] as usize);
        let slot = self.slots[p * context.shape.translations + t];
        if slot != u32::MAX {
            return &self.kept[slot as usize * row..][..row];
        }
        self.make(context, p, t, scratch);
        scratch
    }

    /// Shifts the image of particle `p` by translation `t`.
    pub fn make(&self, context: &Context<'_, T>, p: usize, t: usize, out: &mut [T]) {
        let row = context.shape.row::<T>();
        let used = 2 * context.shape.pixels;
        product::multiply(
            context.isa,
            &self.images[p * row..][..used],
            &context.pixel_phases(t)[..used],
            &mut out[..used],
        );
    }
}

/// Interpolates the children of a pose into `slices`, their squares, and the rows of the products.
pub fn project<T: Scalar>(context: &Context<'_, T>, worker: &mut Worker<'_, T>, pose: u32) {
    let shape = &context.shape;
    let (row, real, used) = (shape.row::<T>(), shape.real_row::<T>(), 2 * shape.pixels);
    let (class, orientation) = context.split(pose);
    worker.matrices.clear();
    context.task.orientations.child_matrices(orientation, &mut worker.matrices);
    let Lane { rows, slices, squares: square_rows, .. } = &mut worker.lane;
    context.read_slices(class, &worker.matrices, shape.pixels, row, slices);
    for (turn, slice) in slices.chunks_exact_mut(row).enumerate().take(shape.turns) {
        slice[used..].fill(T::default());
        let square = &mut square_rows[turn * real..][..real];
        product::squares(context.isa, &slice[..used], square);
        square[shape.pixels..].fill(T::default());
        for step in 0..shape.steps {
            let target = &mut rows[(turn * shape.steps + step) * row..][..row];
            let phases = &context.step_phases[step * row..][..used];
            product::multiply_conjugate(context.isa, &slice[..used], phases, &mut target[..used]);
            target[used..].fill(T::default());
        }
    }
}

/// Log priors a run of pairs needs.
#[derive(Clone, Copy)]
pub struct Priors<'p, T> {
    pub log_offsets: &'p [T],
    /// Local searches: per particle and listed pose.
    pub log_poses: &'p [T],
}

impl<T: Scalar> Priors<'_, T> {
    #[inline]
    fn pose(&self, context: &Context<'_, T>, pair: &Pair) -> T {
        if context.shape.local {
            return self.log_poses[pair[1] as usize * context.shape.poses + pair[3] as usize];
        }
        let (class, orientation) = context.split(pair[0]);
        context.log_directions[class * context.shape.directions + context.task.orientations.direction_of(orientation)]
    }
}

/// Fills the blocks of a run of pairs of one pose with energies.
pub fn compare_run<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    pairs: &[Pair],
    block_of: &[u32],
    records: &[Record],
    masked: Columns<'_, T>,
    power: &[T],
    priors: Priors<'_, T>,
    blocks: &Blocks<'_, T::Cell>,
) {
    project(context, worker, pairs[0][0]);
    let shape = &context.shape;
    let (row, real, children) = (shape.row::<T>(), shape.real_row::<T>(), shape.children());
    let weighs = context.task.comparison == Comparison::Likelihood;
    let half = scalar::<T>(0.5);
    let Lane { rows, squares: square_rows, scores, square_scores, masked: scratch, .. } = &mut worker.lane;
    for (tile, places) in pairs.chunks(TILE).zip(block_of.chunks(TILE)) {
        let mut images = Tile::new();
        for (pair, scratch) in tile.iter().zip(scratch.chunks_exact_mut(row)) {
            images.push(masked.get(context, pair, scratch));
        }
        product::dot(context.isa, rows, children, row, images.rows(), scores);
        let mut powers = Tile::new();
        for pair in tile.chunk_by(|a, b| a[1] == b[1]) {
            powers.push(&power[pair[0][1] as usize * real..][..real]);
        }
        product::dot(context.isa, square_rows, shape.turns, real, powers.rows(), square_scores);
        let mut i = 0;
        for (same, run) in tile.chunk_by(|a, b| a[1] == b[1]).enumerate() {
            let own = &square_scores[same * shape.turns..][..shape.turns];
            let p = run[0][1] as usize;
            let offsets = &priors.log_offsets[p * shape.translations * (1 + shape.steps)..];
            let offsets = &offsets[shape.translations..];
            for pair in run {
                let products = &scores[i * children..][..children];
                let values = blocks.values(places[i] as usize);
                if weighs {
                    let pose = priors.pose(context, pair);
                    let offset = &offsets[pair[2] as usize * shape.steps..][..shape.steps];
                    for turn in 0..shape.turns {
                        for step in 0..shape.steps {
                            let at = turn * shape.steps + step;
                            values[at].put(half * own[turn] - products[at] - pose - offset[step]);
                        }
                    }
                } else {
                    for (at, product) in products.iter().enumerate() {
                        let energy = correlation_energy(*product, own[at / shape.steps], records[p].correlation_power);
                        values[at].put(energy);
                    }
                }
                i += 1;
            }
        }
    }
}
