//! Transforms between a volume and the sphere of its oversampled transform, without the padded cube.
//!
//! Lines are padded one at a time, only frequencies inside the sphere's box are kept, and of the columns along z a
//! few at a time: memory is n^2 (R + 1) numbers and little more, instead of (padding n)^2 (padding n / 2 + 1).

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

/// What a thread works with: single lines of its own, and columns of the working memory.
struct Lines<'p, 'w, T> {
    real: Vec<T>,
    half: Vec<Complex<T>>,
    inner: Vec<Complex<T>>,
    columns: Taken<'p, 'w, Complex<T>>,
}

/// Working memory, cut up.
struct Work<'w, T> {
    /// Rows along kx of every voxel (y, z): [z][y][kx].
    planes: &'w mut [Complex<T>],
    /// [`COLUMNS`] values of kx between the passes along y and z.
    slab: &'w mut [Complex<T>],
    columns: Pool<'w, Complex<T>>,
}

/// Complex numbers of working memory that the transforms of a geometry want on so many threads.
pub fn work_len(geometry: &Geometry, threads: usize) -> usize {
    let (n, rows) = (geometry.box_pixels, &geometry.rows);
    planes_len(n, rows) + slab_len(n, rows) + threads * COLUMNS * geometry.padded_pixels
}

fn planes_len(n: usize, rows: &SphereRows) -> usize {
    n * n * (rows.radius() + 1)
}

fn slab_len(n: usize, rows: &SphereRows) -> usize {
    n * (2 * rows.radius() + 1) * COLUMNS
}

/// Plan for one geometry. Work runs on the current rayon pool, with the same bits on any number of threads.
pub struct PaddedTransform<'a, T: Real> {
    n: usize,
    padded: usize,
    rows: &'a SphereRows,
    row_forward: Arc<dyn RealToComplex<T>>,
    row_inverse: Arc<dyn ComplexToReal<T>>,
    column_forward: Arc<dyn Fft<T>>,
    column_inverse: Arc<dyn Fft<T>>,
}

impl<'a, T: Real> PaddedTransform<'a, T> {
    pub fn new(geometry: &'a Geometry) -> Self {
        let (mut real, mut complex) = (RealFftPlanner::new(), FftPlanner::new());
        let padded = geometry.padded_pixels;
        Self {
            n: geometry.box_pixels,
            padded,
            rows: &geometry.rows,
            row_forward: real.plan_fft_forward(padded),
            row_inverse: real.plan_fft_inverse(padded),
            column_forward: complex.plan_fft_forward(padded),
            column_inverse: complex.plan_fft_inverse(padded),
        }
    }

    fn split<'w>(&self, work: &'w mut [Complex<T>]) -> Work<'w, T> {
        let (planes, rest) = work.split_at_mut(planes_len(self.n, self.rows));
        let (slab, columns) = rest.split_at_mut(slab_len(self.n, self.rows));
        Work { planes, slab, columns: Pool::new(columns, COLUMNS * self.padded) }
    }

    /// Stretches of kx that are transformed together: the first, and how many.
    fn stretches(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let width = self.rows.radius() + 1;
        (0..width).step_by(COLUMNS).map(move |first| (first, COLUMNS.min(width - first)))
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
        let Work { planes, slab, columns } = self.split(work);
        planes.par_chunks_exact_mut(width).enumerate().for_each_init(
            || self.lines(&columns),
            |lines, (row, out)| {
                let (y, z) = (row % n, row / n);
                lines.real.fill(T::zero());
                for x in 0..n {
                    lines.real[self.wrapped(x)] = value(x, y, z);
                }
                self.row_forward
                    .process_with_scratch(&mut lines.real, &mut lines.half, &mut lines.inner)
                    .expect("buffers are sized by the plan");
                out.copy_from_slice(&lines.half[..width]);
            },
        );
        let scale = T::of(scale);
        sphere.fill(zero());
        let mut rows_of = self.by_row(sphere);
        for (first, count) in self.stretches() {
            // Along y: the slab holds [z][ky][kx].
            let pieces = slab.par_chunks_exact_mut(high * COLUMNS).zip(planes.par_chunks_exact(n * width));
            pieces.for_each_init(
                || self.lines(&columns),
                |lines, (out, plane)| {
                    lines.columns[..count * self.padded].fill(zero());
                    for (y, row) in plane.chunks_exact(width).enumerate() {
                        self.gather(&row[first..first + count], self.wrapped(y), &mut lines.columns);
                    }
                    self.transform(&self.column_forward, count, lines);
                    for (ky, row) in out.chunks_exact_mut(COLUMNS).enumerate() {
                        self.scatter(&mut row[..count], self.frequency(ky), &lines.columns);
                    }
                },
            );
            // Along z.
            let slab = &*slab;
            rows_of.par_iter_mut().enumerate().for_each_init(
                || self.lines(&columns),
                |lines, (ky, (y, rows))| {
                    lines.columns[..count * self.padded].fill(zero());
                    for z in 0..n {
                        let row = &slab[(z * high + ky) * COLUMNS..][..count];
                        self.gather(row, self.wrapped(z), &mut lines.columns);
                    }
                    self.transform(&self.column_forward, count, lines);
                    for (kz, row) in rows.iter_mut().enumerate() {
                        let inside = self.inside(*y, kz).clamp(first, first + count) - first;
                        let at = self.frequency(kz);
                        for i in 0..inside {
                            row[first + i] = lines.columns[i * self.padded + at] * scale;
                        }
                    }
                },
            );
        }
    }

    /// voxel(r) = sum over |k| <= radius, Friedel mates included, of value(k) exp(2 pi i k (r - n/2) / padded),
    /// for the n^3 central voxels; not scaled, and Nyquist frequencies count once. `value(index, square)` is asked
    /// once for every stored voxel inside, by flat index and squared |k|; on the plane x = 0 it must be Hermitian.
    /// `work` holds [`work_len`] numbers.
    pub fn inverse(&self, value: impl Fn(usize, u64) -> Complex<T> + Sync, work: &mut [Complex<T>], voxels: &mut [T]) {
        let (n, r) = (self.n, self.rows.radius());
        let (width, high) = (r + 1, 2 * r + 1);
        assert_eq!(voxels.len(), n.pow(3), "a volume of edge {n}");
        let Work { planes, slab, columns } = self.split(work);
        for (first, count) in self.stretches() {
            // Along z: the slab holds [ky][z][kx].
            slab.par_chunks_exact_mut(n * COLUMNS).enumerate().for_each_init(
                || self.lines(&columns),
                |lines, (ky, out)| {
                    let y = ky as i32 - r as i32;
                    lines.columns[..count * self.padded].fill(zero());
                    for kz in 0..high {
                        let z = kz as i32 - r as i32;
                        let (start, at) = (self.rows.row(z, y).start, self.frequency(kz));
                        let base = (i64::from(z).pow(2) + i64::from(y).pow(2)) as u64;
                        let inside = self.inside(y, kz).min(first + count);
                        for (x, column) in (first..inside).zip(lines.columns.chunks_exact_mut(self.padded)) {
                            column[at] = value(start + x, base + (x * x) as u64);
                        }
                    }
                    self.transform(&self.column_inverse, count, lines);
                    for (z, row) in out.chunks_exact_mut(COLUMNS).enumerate() {
                        self.scatter(&mut row[..count], self.wrapped(z), &lines.columns);
                    }
                },
            );
            // Along y.
            let slab = &*slab;
            planes.par_chunks_exact_mut(n * width).enumerate().for_each_init(
                || self.lines(&columns),
                |lines, (z, plane)| {
                    lines.columns[..count * self.padded].fill(zero());
                    for ky in 0..high {
                        let row = &slab[(ky * n + z) * COLUMNS..][..count];
                        self.gather(row, self.frequency(ky), &mut lines.columns);
                    }
                    self.transform(&self.column_inverse, count, lines);
                    for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                        self.scatter(&mut row[first..first + count], self.wrapped(y), &lines.columns);
                    }
                },
            );
        }
        voxels.par_chunks_exact_mut(n).zip(planes.par_chunks_exact(width)).for_each_init(
            || self.lines(&columns),
            |lines, (out, row)| {
                lines.half.fill(zero());
                lines.half[..width].copy_from_slice(row);
                lines.half[0].im = T::zero();
                lines.half[self.padded / 2].im = T::zero();
                self.row_inverse
                    .process_with_scratch(&mut lines.half, &mut lines.real, &mut lines.inner)
                    .expect("buffers are sized by the plan");
                for (x, v) in out.iter_mut().enumerate() {
                    *v = lines.real[self.wrapped(x)];
                }
            },
        );
    }

    fn lines<'p, 'w>(&self, columns: &'p Pool<'w, Complex<T>>) -> Lines<'p, 'w, T> {
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
            columns: columns.take(),
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

    fn transform(&self, plan: &Arc<dyn Fft<T>>, count: usize, lines: &mut Lines<'_, '_, T>) {
        plan.process_with_scratch(&mut lines.columns[..count * self.padded], &mut lines.inner);
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
