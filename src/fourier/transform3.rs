//! Transforms of cubic real volumes, in place on one buffer.

use num_complex::Complex;
use rayon::prelude::*;

use super::Real;
use super::Scratch;
use super::lines::Direction;
use super::lines::Lines;

/// Complex numbers in the half transform of a volume of edge n, and in the packed volume: n^2 (n/2 + 1).
pub fn half_volume_len(n: usize) -> usize {
    n.pow(2) * (n / 2 + 1)
}

/// Plan for real volumes of even edge n.
///
/// One buffer of n * n rows of n/2 + 1 complex numbers holds either the half transform or the
/// *packed* real volume: voxels 2j and 2j + 1 of a row are the real and imaginary part of its
/// element j (the last element of a row is unused). Transforms run in place.
///
/// Lines are transformed independently, so that the result has the same bits on any number of threads.
/// Work runs on the current rayon pool; a pool of one thread makes it sequential.
pub struct RealFft3<T: Real> {
    lines: Lines<T>,
}

impl<T: Real> RealFft3<T> {
    pub fn new(n: usize) -> Self {
        Self { lines: Lines::new(n) }
    }

    /// Edge of the volume in voxels.
    pub fn edge(&self) -> usize {
        self.lines.n
    }

    /// Complex numbers in the buffer: n^2 (n/2 + 1).
    pub fn half_len(&self) -> usize {
        half_volume_len(self.lines.n)
    }

    /// Packed volume -> half transform, in place; divides by n^3.
    pub fn forward_in_place(&self, buffer: &mut [Complex<T>]) {
        let n = self.lines.n;
        let width = n / 2 + 1;
        assert!(buffer.len() == self.half_len(), "a packed volume of edge {n}");
        buffer.par_chunks_exact_mut(n * width).for_each_init(
            || self.lines.scratch(),
            |scratch, plane| {
                // The planes that padding added transform to themselves.
                if plane.iter().all(|v| v.re.is_zero() && v.im.is_zero()) {
                    return;
                }
                for row in plane.chunks_exact_mut(width) {
                    for (pair, packed) in scratch.row.chunks_exact_mut(2).zip(row.iter()) {
                        pair.copy_from_slice(&[packed.re, packed.im]);
                    }
                    self.lines.row_forward(row, scratch);
                }
                self.lines.plane_columns(plane, Direction::Forward, T::one(), scratch);
            },
        );
        self.depth_columns(buffer, Direction::Forward, T::of(1.0 / (n as f64).powi(3)));
    }

    /// Half transform -> packed volume, in place; does not scale.
    pub fn inverse_in_place(&self, buffer: &mut [Complex<T>]) {
        let n = self.lines.n;
        let width = n / 2 + 1;
        assert!(buffer.len() == self.half_len(), "a half transform of edge {n}");
        self.depth_columns(buffer, Direction::Inverse, T::one());
        buffer.par_chunks_exact_mut(n * width).for_each_init(
            || self.lines.scratch(),
            |scratch, plane| {
                self.lines.plane_columns(plane, Direction::Inverse, T::one(), scratch);
                for row in plane.chunks_exact_mut(width) {
                    self.lines.row_inverse(row, scratch);
                    for (packed, pair) in row.iter_mut().zip(scratch.row.chunks_exact(2)) {
                        *packed = Complex::new(pair[0], pair[1]);
                    }
                }
            },
        );
    }

    /// Transforms along z: row y of every plane together.
    fn depth_columns(&self, buffer: &mut [Complex<T>], direction: Direction, scale: T) {
        let n = self.lines.n;
        let mut rows_of_y: Vec<Vec<&mut [Complex<T>]>> = (0..n).map(|_| Vec::with_capacity(n)).collect();
        for (i, row) in buffer.chunks_exact_mut(n / 2 + 1).enumerate() {
            rows_of_y[i % n].push(row);
        }
        rows_of_y.par_iter_mut().for_each_init(
            || self.lines.scratch(),
            |scratch: &mut Scratch<T>, rows| self.lines.row_columns(rows, direction, scale, scratch),
        );
    }

    /// Fills a buffer with a volume given in storage order (x fastest).
    pub fn pack(&self, voxels: impl Iterator<Item = T>, buffer: &mut [Complex<T>]) {
        let n = self.lines.n;
        let mut voxels = voxels;
        for row in buffer.chunks_exact_mut(n / 2 + 1) {
            for packed in &mut row[..n / 2] {
                let re = voxels.next().expect("n^3 voxels");
                let im = voxels.next().expect("n^3 voxels");
                *packed = Complex::new(re, im);
            }
            row[n / 2] = Complex::new(T::zero(), T::zero());
        }
    }

    /// The voxels of a packed buffer, in storage order.
    pub fn unpack<'a>(&self, buffer: &'a [Complex<T>]) -> impl Iterator<Item = T> + 'a {
        let half = self.lines.n / 2;
        buffer.chunks_exact(half + 1).flat_map(move |row| row[..half].iter().flat_map(|v| [v.re, v.im]))
    }

    /// Half transform of a volume, in a new buffer.
    pub fn forward(&self, voxels: impl Iterator<Item = T>) -> Vec<Complex<T>> {
        let mut buffer = vec![Complex::new(T::zero(), T::zero()); self.half_len()];
        self.pack(voxels, &mut buffer);
        self.forward_in_place(&mut buffer);
        buffer
    }

    /// Volume of a half transform, which is destroyed.
    pub fn inverse(&self, half: &mut [Complex<T>]) -> Vec<T> {
        self.inverse_in_place(half);
        self.unpack(half).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fourier::RealFft2;

    /// Rounding of a transform of 1000 numbers of order one.
    const TOLERANCE: f64 = 1e-13;

    fn volume(n: usize) -> Vec<f64> {
        (0..n * n * n).map(|i| ((i * i + 3 * i) % 101) as f64 / 101.0 - 0.3).collect()
    }

    #[test]
    fn planes_then_depth_equal_the_volume_transform() {
        let n = 10;
        let v = volume(n);
        let half = RealFft3::<f64>::new(n).forward(v.iter().copied());
        let plane = RealFft2::<f64>::new(n);
        let mut scratch = plane.scratch();
        let mut planes = vec![Complex::new(0.0, 0.0); n * plane.half_len()];
        for (p, out) in v.chunks_exact(n * n).zip(planes.chunks_exact_mut(plane.half_len())) {
            plane.forward(p, out, &mut scratch);
        }
        for kz in 0..n {
            for i in 0..plane.half_len() {
                let sum: Complex<f64> = (0..n)
                    .map(|z| {
                        planes[z * plane.half_len() + i]
                            * Complex::from_polar(1.0, -std::f64::consts::TAU * (kz * z) as f64 / n as f64)
                    })
                    .sum();
                let off = (sum / n as f64 - half[kz * plane.half_len() + i]).norm();
                assert!(off < TOLERANCE, "plane {kz}, element {i}: {off}");
            }
        }
    }

    #[test]
    fn inverse_undoes_forward() {
        let n = 12;
        let plan = RealFft3::<f64>::new(n);
        let v = volume(n);
        let back = plan.inverse(&mut plan.forward(v.iter().copied()));
        let worst = v.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < TOLERANCE, "{worst}");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let n = 24;
        let v: Vec<f32> = volume(n).iter().map(|x| *x as f32).collect();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| RealFft3::<f32>::new(n).forward(v.iter().copied()))
        };
        assert_eq!(run(1), run(3));
    }
}
