//! Translations of images.

use std::f64::consts::TAU;

use num_complex::Complex;

use crate::fourier::Real;

/// Moves the content of an image of edge n by whole pixels, +x right and +y up the rows; vacated pixels are 0.
pub fn shift_whole_pixels<T: Real>(image: &[T], n: usize, dx: i64, dy: i64, out: &mut [T]) {
    assert!(image.len() == n * n && out.len() == n * n, "images of edge {n}");
    out.fill(T::zero());
    let edge = n as i64;
    let first = dx.clamp(0, edge) as usize;
    let last = (edge + dx).clamp(0, edge) as usize;
    if first >= last {
        return;
    }
    for y in dy.max(0)..(edge + dy).min(edge) {
        let source = ((y - dy) * edge + first as i64 - dx) as usize;
        let target = y as usize * n;
        out[target + first..target + last].copy_from_slice(&image[source..source + last - first]);
    }
}

/// Phases of translations of images of one box, by way of a table an axis that is used again: exp(a + b) = exp(a)
/// exp(b) saves a sine per pixel.
pub struct Phases {
    n: usize,
    axes: [Vec<Complex<f64>>; 2],
}

impl Phases {
    /// `n` is the full box, whatever the window of the pixel list.
    pub fn new(n: usize) -> Self {
        Self { n, axes: [Vec::with_capacity(n + 1), Vec::with_capacity(n + 1)] }
    }

    /// exp(-2 pi i (kx dx + ky dy) / n): multiplying a transform by it moves the content by (dx, dy) pixels.
    pub fn fill<T: Real>(&mut self, kx: &[i16], ky: &[i16], dx: f64, dy: f64, out: &mut [Complex<T>]) {
        assert!(kx.len() == ky.len() && kx.len() == out.len(), "one factor per pixel");
        let n = self.n as f64;
        let mut low = [0; 2];
        for (axis, (k, d)) in [(kx, dx), (ky, dy)].into_iter().enumerate() {
            low[axis] = k.iter().copied().min().unwrap_or(0);
            let high = k.iter().copied().max().unwrap_or(0);
            self.axes[axis].clear();
            let phase = |k: i16| Complex::from_polar(1.0, -TAU * f64::from(k) * d / n);
            self.axes[axis].extend((low[axis]..=high).map(phase));
        }
        let [x, y] = &self.axes;
        for ((kx, ky), factor) in kx.iter().zip(ky).zip(out) {
            let f = x[(kx - low[0]) as usize] * y[(ky - low[1]) as usize];
            *factor = Complex::new(T::of(f.re), T::of(f.im));
        }
    }
}

/// As [`Phases::fill`], once.
pub fn phase_factors<T: Real>(kx: &[i16], ky: &[i16], dx: f64, dy: f64, n: usize, out: &mut [Complex<T>]) {
    Phases::new(n).fill(kx, ky, dx, dy, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fourier;
    use crate::fourier::RealFft2;
    use crate::imaging::PixelList;

    #[test]
    fn whole_pixels_move_and_nothing_wraps() {
        let n = 4;
        let image: Vec<f32> = (1..=16).map(|v| v as f32).collect();
        let mut out = vec![9.0; 16];
        shift_whole_pixels(&image, n, 1, -2, &mut out);
        assert_eq!(out, [0.0, 9.0, 10.0, 11.0, 0.0, 13.0, 14.0, 15.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        shift_whole_pixels(&image, n, -5, 0, &mut out);
        assert!(out.iter().all(|v| *v == 0.0));
        shift_whole_pixels(&image, n, 0, 7, &mut out);
        assert!(out.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn phases_move_the_content_in_the_same_direction() {
        let n = 16;
        let plan = RealFft2::<f64>::new(n);
        let mut scratch = plan.scratch();
        let mut image = vec![0.0; n * n];
        image[8 * n + 8] = 1.0;
        image[8 * n + 9] = 2.0;
        let mut moved = vec![0.0; n * n];
        shift_whole_pixels(&image, n, 3, -2, &mut moved);
        let mut a = vec![Complex::default(); plan.half_len()];
        let mut b = a.clone();
        plan.forward(&image, &mut a, &mut scratch);
        plan.forward(&moved, &mut b, &mut scratch);
        let pixels = PixelList::new(n);
        let mut factors = vec![Complex::default(); pixels.len()];
        phase_factors(&pixels.kx, &pixels.ky, 3.0, -2.0, n, &mut factors);
        for (i, factor) in factors.iter().enumerate() {
            let at = pixels.index_in_half(i, n);
            assert!((a[at] * factor - b[at]).norm() < 1e-15, "{}", fourier::shell_of_square(at as u64));
        }
    }
}
