//! Transforms between a volume and the sphere of its oversampled transform, without the padded cube.
//!
//! Lines are padded one at a time, and only frequencies inside the sphere's box are kept: memory is
//! n (2R + 1)(R + 1) numbers, and a plane a thread, instead of (padding n)^2 (padding n / 2 + 1).

use std::sync::Arc;

use num_complex::Complex;
use rayon::prelude::*;
use realfft::ComplexToReal;
use realfft::RealFftPlanner;
use realfft::RealToComplex;
use rustfft::Fft;
use rustfft::FftPlanner;

use crate::arena::Pool;
use crate::arena::Taken;
use crate::fourier::Real;

use super::Geometry;
use super::SphereRows;

/// Columns transformed together, for the cache.
const COLUMNS: usize = 16;

/// Plan for one geometry. Work runs on the current rayon pool, with the same bits on any number of threads.
pub struct PaddedTransform<'a, T: Real> {
    n: usize,
    padded: usize,
    rows: &'a SphereRows,
    thread_len: usize,
    row_forward: Arc<dyn RealToComplex<T>>,
    row_inverse: Arc<dyn ComplexToReal<T>>,
    column_forward: Arc<dyn Fft<T>>,
    column_inverse: Arc<dyn Fft<T>>,
}

/// What a thread works with: single lines of its own, and a plane and columns of the working memory.
struct Lines<'p, 'w, T> {
    real: Vec<T>,
    half: Vec<Complex<T>>,
    inner: Vec<Complex<T>>,
    columns_and_plane: Taken<'p, 'w, Complex<T>>,
}

/// Complex numbers of working memory that the transforms of a geometry want on so many threads.
pub fn work_len(geometry: &Geometry, threads: usize) -> usize {
    slab_len(geometry.box_pixels, &geometry.rows) + threads * thread_len(geometry)
}

fn slab_len(n: usize, rows: &SphereRows) -> usize {
    n * (2 * rows.radius() + 1) * (rows.radius() + 1)
}

fn thread_len(geometry: &Geometry) -> usize {
    COLUMNS * geometry.padded_pixels + geometry.box_pixels * (geometry.rows.radius() + 1)
}

impl<'a, T: Real> PaddedTransform<'a, T> {
    pub fn new(geometry: &'a Geometry) -> Self {
        let (mut real, mut complex) = (RealFftPlanner::new(), FftPlanner::new());
        let padded = geometry.padded_pixels;
        Self {
            n: geometry.box_pixels,
            padded,
            rows: &geometry.rows,
            thread_len: thread_len(geometry),
            row_forward: real.plan_fft_forward(padded),
            row_inverse: real.plan_fft_inverse(padded),
            column_forward: complex.plan_fft_forward(padded),
            column_inverse: complex.plan_fft_inverse(padded),
        }
    }

    /// The slab between the passes, and what threads take.
    fn split<'w>(&self, work: &'w mut [Complex<T>]) -> (&'w mut [Complex<T>], Pool<'w, Complex<T>>) {
        let (slab, threads) = work.split_at_mut(slab_len(self.n, self.rows));
        (slab, Pool::new(threads, self.thread_len))
    }

    /// sphere(k) = scale * sum over the voxels of value(x, y, z) exp(-2 pi i k (r - n/2) / padded), for
    /// |k| <= radius; stored voxels beyond the radius become 0. `work` holds [`work_len`] numbers.
    pub fn forward(
        &self,
        value: impl Fn(usize, usize, usize) -> T + Sync,
        scale: f64,
        sphere: &mut [Complex<T>],
        work: &mut [Complex<T>],
    ) {
        let (n, r) = (self.n, self.rows.radius());
        let (width, high) = (r + 1, 2 * r + 1);
        assert!(sphere.len() == self.rows.len(), "a volume of the geometry's size");
        let (work, pool) = self.split(work);
        // Rows and columns of each plane; work holds [ky][z][kx].
        by_plane(work, width, n).into_par_iter().enumerate().for_each_init(
            || self.lines(&pool),
            |lines, (z, mut out)| {
                let (columns, plane) = lines.columns_and_plane.split_at_mut(COLUMNS * self.padded);
                for y in 0..n {
                    lines.real.fill(T::zero());
                    for x in 0..n {
                        lines.real[self.wrapped(x)] = value(x, y, z);
                    }
                    self.row_forward
                        .process_with_scratch(&mut lines.real, &mut lines.half, &mut lines.inner)
                        .expect("buffers are sized by the plan");
                    plane[y * width..][..width].copy_from_slice(&lines.half[..width]);
                }
                for first in (0..width).step_by(COLUMNS) {
                    let count = COLUMNS.min(width - first);
                    columns[..count * self.padded].fill(zero());
                    for y in 0..n {
                        self.gather(&plane[y * width + first..][..count], self.wrapped(y), columns);
                    }
                    self.transform(&self.column_forward, count, columns, &mut lines.inner);
                    for (ky, row) in (0..high).zip(out.iter_mut()) {
                        self.scatter(&mut row[first..first + count], self.frequency(ky), columns);
                    }
                }
            },
        );
        // Columns along z.
        let scale = T::of(scale);
        sphere.fill(zero());
        self.by_row(sphere).into_par_iter().zip(work.par_chunks_exact(n * width)).for_each_init(
            || self.lines(&pool),
            |lines, ((y, mut rows), slab)| {
                let (columns, _) = lines.columns_and_plane.split_at_mut(COLUMNS * self.padded);
                for first in (0..width).step_by(COLUMNS) {
                    let count = COLUMNS.min(width - first);
                    columns[..count * self.padded].fill(zero());
                    for (z, row) in slab.chunks_exact(width).enumerate() {
                        self.gather(&row[first..first + count], self.wrapped(z), columns);
                    }
                    self.transform(&self.column_forward, count, columns, &mut lines.inner);
                    for (kz, row) in rows.iter_mut().enumerate() {
                        let inside = self.inside(y, kz).clamp(first, first + count) - first;
                        let at = self.frequency(kz);
                        for i in 0..inside {
                            row[first + i] = columns[i * self.padded + at] * scale;
                        }
                    }
                }
            },
        );
    }

    /// voxel(r) = sum over |k| <= radius, Friedel mates included, of value(k) exp(2 pi i k (r - n/2) / padded),
    /// for the n^3 central voxels; not scaled, and Nyquist frequencies count once. `value(index, square)` is asked
    /// once for every stored voxel inside, by flat index and squared |k|; on the plane x = 0 it must be Hermitian.
    /// `work` holds [`work_len`] numbers.
    pub fn inverse(&self, value: impl Fn(usize, u64) -> Complex<T> + Sync, work: &mut [Complex<T>], voxels: &mut [T]) {
        let (n, r) = (self.n, self.rows.radius());
        let (width, high) = (r + 1, 2 * r + 1);
        assert_eq!(voxels.len(), n.pow(3), "a volume of edge {n}");
        let (work, pool) = self.split(work);
        work.par_chunks_exact_mut(n * width).enumerate().for_each_init(
            || self.lines(&pool),
            |lines, (ky, slab)| {
                let (columns, _) = lines.columns_and_plane.split_at_mut(COLUMNS * self.padded);
                let y = ky as i32 - r as i32;
                for first in (0..width).step_by(COLUMNS) {
                    let count = COLUMNS.min(width - first);
                    columns[..count * self.padded].fill(zero());
                    for kz in 0..high {
                        let z = kz as i32 - r as i32;
                        let (start, at) = (self.rows.row(z, y).start, self.frequency(kz));
                        let base = (i64::from(z).pow(2) + i64::from(y).pow(2)) as u64;
                        let inside = self.inside(y, kz).min(first + count);
                        for (x, column) in (first..inside).zip(columns.chunks_exact_mut(self.padded)) {
                            column[at] = value(start + x, base + (x * x) as u64);
                        }
                    }
                    self.transform(&self.column_inverse, count, columns, &mut lines.inner);
                    for (z, row) in slab.chunks_exact_mut(width).enumerate() {
                        self.scatter(&mut row[first..first + count], self.wrapped(z), columns);
                    }
                }
            },
        );
        let work = &*work;
        voxels.par_chunks_exact_mut(n * n).enumerate().for_each_init(
            || self.lines(&pool),
            |lines, (z, out)| {
                let (columns, plane) = lines.columns_and_plane.split_at_mut(COLUMNS * self.padded);
                for first in (0..width).step_by(COLUMNS) {
                    let count = COLUMNS.min(width - first);
                    columns[..count * self.padded].fill(zero());
                    for ky in 0..high {
                        let row = &work[(ky * n + z) * width..][..width];
                        self.gather(&row[first..first + count], self.frequency(ky), columns);
                    }
                    self.transform(&self.column_inverse, count, columns, &mut lines.inner);
                    for y in 0..n {
                        let row = &mut plane[y * width + first..][..count];
                        self.scatter(row, self.wrapped(y), columns);
                    }
                }
                for (y, out) in out.chunks_exact_mut(n).enumerate() {
                    lines.half.fill(zero());
                    lines.half[..width].copy_from_slice(&plane[y * width..][..width]);
                    lines.half[0].im = T::zero();
                    lines.half[self.padded / 2].im = T::zero();
                    self.row_inverse
                        .process_with_scratch(&mut lines.half, &mut lines.real, &mut lines.inner)
                        .expect("buffers are sized by the plan");
                    for (x, v) in out.iter_mut().enumerate() {
                        *v = lines.real[self.wrapped(x)];
                    }
                }
            },
        );
    }

    fn lines<'p, 'w>(&self, pool: &'p Pool<'w, Complex<T>>) -> Lines<'p, 'w, T> {
        let inner = [
            self.row_forward.get_scratch_len(),
            self.row_inverse.get_scratch_len(),
            self.column_forward.get_inplace_scratch_len(),
            self.column_inverse.get_inplace_scratch_len(),
        ];
        Lines {
            real: vec![T::zero(); self.padded],
            half: vec![zero(); self.padded / 2 + 1],
            inner: vec![zero(); inner.into_iter().max().unwrap_or(0)],
            columns_and_plane: pool.take(),
        }
    }

    /// Place of voxel i on a padded line whose origin is the box centre.
    fn wrapped(&self, i: usize) -> usize {
        (i + self.padded - self.n / 2) % self.padded
    }

    /// Place of stored frequency index k (0 for -radius) on a padded line.
    fn frequency(&self, k: usize) -> usize {
        (k + self.padded - self.rows.radius()) % self.padded
    }

    /// Number of voxels with x >= 0 and |k| <= radius in the row of frequency y and index kz.
    fn inside(&self, y: i32, kz: usize) -> usize {
        let r = self.rows.radius() as i64;
        let rest = r * r - i64::from(y).pow(2) - (kz as i64 - r).pow(2);
        if rest < 0 { 0 } else { rest.isqrt() as usize + 1 }
    }

    fn gather(&self, piece: &[Complex<T>], at: usize, columns: &mut [Complex<T>]) {
        for (value, column) in piece.iter().zip(columns.chunks_exact_mut(self.padded)) {
            column[at] = *value;
        }
    }

    fn scatter(&self, piece: &mut [Complex<T>], at: usize, columns: &[Complex<T>]) {
        for (value, column) in piece.iter_mut().zip(columns.chunks_exact(self.padded)) {
            *value = column[at];
        }
    }

    fn transform(&self, plan: &Arc<dyn Fft<T>>, count: usize, columns: &mut [Complex<T>], inner: &mut [Complex<T>]) {
        plan.process_with_scratch(&mut columns[..count * self.padded], inner);
    }

    /// The stored rows inside the sphere's box, for each y in -radius..=radius the rows of all z.
    fn by_row<'b>(&self, sphere: &'b mut [Complex<T>]) -> Vec<(i32, Vec<&'b mut [Complex<T>]>)> {
        let (edge, r) = (self.rows.edge(), self.rows.radius() as i32);
        let mut by_y: Vec<(i32, Vec<&mut [Complex<T>]>)> = (-r..=r).map(|y| (y, Vec::new())).collect();
        let mut rest = sphere;
        for z in -edge..=edge {
            for y in -edge..=edge {
                let (row, tail) = rest.split_at_mut(self.rows.row(z, y).len());
                rest = tail;
                if y.abs() <= r && z.abs() <= r {
                    by_y[(y + r) as usize].1.push(row);
                }
            }
        }
        by_y
    }
}

fn zero<T: Real>() -> Complex<T> {
    Complex::new(T::zero(), T::zero())
}

/// Rows of a buffer [ky][z][kx], for each z the rows of all ky.
fn by_plane<T>(work: &mut [T], width: usize, n: usize) -> Vec<Vec<&mut [T]>> {
    let mut planes: Vec<Vec<&mut [T]>> = (0..n).map(|_| Vec::new()).collect();
    for (i, row) in work.chunks_exact_mut(width).enumerate() {
        planes[i % n].push(row);
    }
    planes
}
