//! Transforms of square real images.

use num_complex::Complex;

use super::Real;
use super::Scratch;
use super::lines::Direction;
use super::lines::Lines;

/// Plan for real images of even edge n. The half transform has n rows of n/2 + 1 coefficients.
pub struct RealFft2<T: Real> {
    lines: Lines<T>,
}

impl<T: Real> RealFft2<T> {
    pub fn new(n: usize) -> Self {
        Self { lines: Lines::new(n) }
    }

    /// Edge of the image in pixels.
    pub fn edge(&self) -> usize {
        self.lines.n
    }

    /// Coefficients of the half transform: n (n/2 + 1).
    pub fn half_len(&self) -> usize {
        self.lines.n * (self.lines.n / 2 + 1)
    }

    /// Working memory for one thread.
    pub fn scratch(&self) -> Scratch<T> {
        self.lines.scratch()
    }

    /// half(k) = 1/n^2 sum image(r) exp(-2 pi i k r / n).
    pub fn forward(&self, image: &[T], half: &mut [Complex<T>], scratch: &mut Scratch<T>) {
        let n = self.lines.n;
        assert!(image.len() == n * n && half.len() == self.half_len(), "an image of {n} x {n} and its half transform");
        for (row, out) in image.chunks_exact(n).zip(half.chunks_exact_mut(n / 2 + 1)) {
            scratch.row.copy_from_slice(row);
            self.lines.row_forward(out, scratch);
        }
        self.lines.plane_columns(half, Direction::Forward, T::of(1.0 / (n * n) as f64), scratch);
    }

    /// image(r) = sum half(k) exp(2 pi i k r / n). Destroys `half`.
    pub fn inverse(&self, half: &mut [Complex<T>], image: &mut [T], scratch: &mut Scratch<T>) {
        let n = self.lines.n;
        assert!(image.len() == n * n && half.len() == self.half_len(), "an image of {n} x {n} and its half transform");
        self.lines.plane_columns(half, Direction::Inverse, T::one(), scratch);
        for (row, out) in half.chunks_exact_mut(n / 2 + 1).zip(image.chunks_exact_mut(n)) {
            self.lines.row_inverse(row, scratch);
            out.copy_from_slice(&scratch.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fourier::frequency;

    /// Rounding of a transform of 12 x 12 numbers of order one.
    const TOLERANCE: f64 = 1e-14;

    #[test]
    fn forward_is_the_defining_sum_and_inverse_undoes_it() {
        let n = 12;
        let image: Vec<f64> = (0..n * n).map(|i| ((i * i + 7 * i) % 31) as f64 / 31.0 - 0.4).collect();
        let plan = RealFft2::<f64>::new(n);
        let mut scratch = plan.scratch();
        let mut half = vec![Complex::default(); plan.half_len()];
        plan.forward(&image, &mut half, &mut scratch);
        for row in 0..n {
            for kx in 0..=n / 2 {
                let ky = f64::from(frequency(row, n));
                let mut sum = Complex::new(0.0, 0.0);
                for (i, v) in image.iter().enumerate() {
                    let turn = (kx as f64 * (i % n) as f64 + ky * (i / n) as f64) / n as f64;
                    sum += Complex::from_polar(*v, -std::f64::consts::TAU * turn);
                }
                let off = (sum / (n * n) as f64 - half[row * (n / 2 + 1) + kx]).norm();
                assert!(off < TOLERANCE, "({kx}, {ky}): {off}");
            }
        }
        let mut back = vec![0.0; n * n];
        plan.inverse(&mut half, &mut back, &mut scratch);
        let worst = image.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 10.0 * TOLERANCE, "{worst}");
    }
}
