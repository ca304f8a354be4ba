//! One-dimensional transforms of the lines of an image or volume.

use std::sync::Arc;

use num_complex::Complex;
use realfft::ComplexToReal;
use realfft::RealFftPlanner;
use realfft::RealToComplex;
use rustfft::Fft;
use rustfft::FftPlanner;

use super::Real;

/// Columns transformed together: a cache line of f64 pairs is 4, a page walk wants more.
const COLUMNS: usize = 16;

/// Working memory of one thread; made by the `scratch` method of a plan, reused for every call.
#[derive(Clone, Debug)]
pub struct Scratch<T> {
    pub(super) row: Vec<T>,
    pub(super) columns: Vec<Complex<T>>,
    pub(super) inner: Vec<Complex<T>>,
}

/// The plans for lines of n elements.
pub(super) struct Lines<T: Real> {
    pub n: usize,
    row_forward: Arc<dyn RealToComplex<T>>,
    row_inverse: Arc<dyn ComplexToReal<T>>,
    column_forward: Arc<dyn Fft<T>>,
    column_inverse: Arc<dyn Fft<T>>,
}

/// Direction of a pass over columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Inverse,
}

impl<T: Real> Lines<T> {
    pub fn new(n: usize) -> Self {
        assert!(n >= 2 && n.is_multiple_of(2), "transforms are planned for even edges, not {n}");
        let mut real = RealFftPlanner::new();
        let mut complex = FftPlanner::new();
        Self {
            n,
            row_forward: real.plan_fft_forward(n),
            row_inverse: real.plan_fft_inverse(n),
            column_forward: complex.plan_fft_forward(n),
            column_inverse: complex.plan_fft_inverse(n),
        }
    }

    pub fn scratch(&self) -> Scratch<T> {
        let inner = [
            self.row_forward.get_scratch_len(),
            self.row_inverse.get_scratch_len(),
            self.column_forward.get_inplace_scratch_len(),
            self.column_inverse.get_inplace_scratch_len(),
        ];
        let zero = Complex::new(T::zero(), T::zero());
        Scratch {
            row: vec![T::zero(); self.n],
            columns: vec![zero; self.n * COLUMNS],
            inner: vec![zero; inner.into_iter().max().unwrap_or(0)],
        }
    }

    /// Transforms `scratch.row` into `half` (n/2 + 1 entries).
    pub fn row_forward(&self, half: &mut [Complex<T>], scratch: &mut Scratch<T>) {
        self.row_forward
            .process_with_scratch(&mut scratch.row, half, &mut scratch.inner)
            .expect("buffers are sized by the plan");
    }

    /// Transforms `half` (destroyed) into `scratch.row`. The imaginary parts at 0 and Nyquist are ignored.
    pub fn row_inverse(&self, half: &mut [Complex<T>], scratch: &mut Scratch<T>) {
        half[0].im = T::zero();
        half[self.n / 2].im = T::zero();
        self.row_inverse
            .process_with_scratch(half, &mut scratch.row, &mut scratch.inner)
            .expect("buffers are sized by the plan");
    }

    /// Transforms the columns of one contiguous plane of n rows, and multiplies by `scale`.
    pub fn plane_columns(&self, plane: &mut [Complex<T>], direction: Direction, scale: T, scratch: &mut Scratch<T>) {
        let width = plane.len() / self.n;
        for first in (0..width).step_by(COLUMNS) {
            let count = COLUMNS.min(width - first);
            for (j, row) in plane.chunks_exact(width).enumerate() {
                self.gather(&row[first..first + count], j, scratch);
            }
            self.columns(count, direction, scratch);
            for (j, row) in plane.chunks_exact_mut(width).enumerate() {
                self.scatter(&mut row[first..first + count], j, scale, scratch);
            }
        }
    }

    /// Transforms the columns over `rows` (n rows of one width, anywhere in memory), and multiplies by `scale`.
    pub fn row_columns(&self, rows: &mut [&mut [Complex<T>]], dir: Direction, scale: T, scratch: &mut Scratch<T>) {
        let width = rows[0].len();
        for first in (0..width).step_by(COLUMNS) {
            let count = COLUMNS.min(width - first);
            for (j, row) in rows.iter().enumerate() {
                self.gather(&row[first..first + count], j, scratch);
            }
            self.columns(count, dir, scratch);
            for (j, row) in rows.iter_mut().enumerate() {
                self.scatter(&mut row[first..first + count], j, scale, scratch);
            }
        }
    }

    fn gather(&self, piece: &[Complex<T>], j: usize, scratch: &mut Scratch<T>) {
        for (value, column) in piece.iter().zip(scratch.columns.chunks_exact_mut(self.n)) {
            column[j] = *value;
        }
    }

    fn columns(&self, count: usize, direction: Direction, scratch: &mut Scratch<T>) {
        let plan = match direction {
            Direction::Forward => &self.column_forward,
            Direction::Inverse => &self.column_inverse,
        };
        plan.process_with_scratch(&mut scratch.columns[..count * self.n], &mut scratch.inner);
    }

    fn scatter(&self, piece: &mut [Complex<T>], j: usize, scale: T, scratch: &Scratch<T>) {
        for (value, column) in piece.iter_mut().zip(scratch.columns.chunks_exact(self.n)) {
            *value = column[j] * scale;
        }
    }
}
