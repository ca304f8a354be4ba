//! Soft circular and spherical masks, and what fills the outside.

use num_complex::Complex;

use crate::error::Error;
use crate::error::Result;
use crate::fourier;
use crate::fourier::Real;
use crate::fourier::RealFft2;
use crate::fourier::Scratch;

use super::random::Stream;

/// The inside of a solvent mask is 1, less for what is partly flexible.
const LEAST_INSIDE: f32 = 0.5;

/// Refuses a solvent mask without an inside; `place` names its file.
///
/// # Errors
/// `BadData` with the largest value.
pub fn has_inside(place: &str, mask: &[f32]) -> Result<()> {
    let largest = mask.iter().fold(0.0_f32, |most, value| most.max(*value));
    if largest >= LEAST_INSIDE {
        return Ok(());
    }
    Err(Error::bad_data(
        place,
        format!("the largest value of the mask is {largest:e}"),
        "Use a mask that is 1 inside the particle; `relion-rs mask` makes one.",
    ))
}

/// Weight of the outside at distance r: 0 below `radius`, 1 above `radius + edge`, a raised cosine between.
pub fn outside_weight(r: f64, radius: f64, edge: f64) -> f64 {
    if r < radius {
        0.0
    } else if r > radius + edge {
        1.0
    } else if edge > 0.0 {
        0.5 + 0.5 * (std::f64::consts::PI * (radius + edge - r) / edge).cos()
    } else {
        1.0
    }
}

/// A soft circular mask for images of one box.
#[derive(Clone, Debug)]
pub struct CircularMask<T> {
    /// Weight of the outside per pixel.
    outside: Vec<T>,
    sum: f64,
}

impl<T: Real> CircularMask<T> {
    /// Mask about pixel n/2 with radius and edge width in pixels.
    pub fn new(box_pixels: usize, radius_pixels: f64, edge_pixels: f64) -> Self {
        let c = (box_pixels / 2) as f64;
        let outside: Vec<T> = (0..box_pixels * box_pixels)
            .map(|i| {
                let r = ((i % box_pixels) as f64 - c).hypot((i / box_pixels) as f64 - c);
                T::of(outside_weight(r, radius_pixels, edge_pixels))
            })
            .collect();
        let sum = outside.iter().map(|w| w.widen()).sum();
        Self { outside, sum }
    }

    /// Weight of the outside per pixel.
    pub fn outside(&self) -> &[T] {
        &self.outside
    }

    /// Sum of these weights.
    pub fn outside_sum(&self) -> f64 {
        self.sum
    }

    /// Replaces the outside by its weighted mean.
    pub fn fill_with_mean(&self, image: &mut [T]) {
        assert_eq!(image.len(), self.outside.len(), "an image of the mask's box");
        if self.sum > 0.0 {
            let total: f64 = image.iter().zip(&self.outside).map(|(v, w)| v.widen() * w.widen()).sum();
            let mean = T::of(total / self.sum);
            for (v, w) in image.iter_mut().zip(&self.outside) {
                *v = (T::one() - *w) * *v + *w * mean;
            }
        }
    }

    /// Replaces the outside by another image, usually of [`noise_image`].
    pub fn fill_with(&self, image: &mut [T], background: &[T]) {
        assert!(image.len() == self.outside.len() && background.len() == image.len(), "images of the mask's box");
        for ((v, w), b) in image.iter_mut().zip(&self.outside).zip(background) {
            *v = (T::one() - *w) * *v + *w * *b;
        }
    }
}

/// An image of coloured noise. `sigma2(shell)` is the variance of a real component of the transform
/// (shells of this image, 0..=n/2; nothing beyond). `half` is working memory of the plan's half length.
pub fn noise_image<T: Real>(
    plan: &RealFft2<T>,
    sigma2: impl Fn(usize) -> f64,
    stream: &mut Stream,
    half: &mut [Complex<T>],
    image: &mut [T],
    scratch: &mut Scratch<T>,
) {
    let n = plan.edge();
    let width = n / 2 + 1;
    for row in 0..n {
        let ky = fourier::frequency(row, n);
        for kx in 0..width {
            let s = fourier::shell(kx as i32, ky, 0);
            let sigma = if s < width { sigma2(s).sqrt() } else { 0.0 };
            let (re, im) = (stream.gaussian(), stream.gaussian());
            half[row * width + kx] = Complex::new(T::of(sigma * re), T::of(sigma * im));
        }
    }
    // A real image's columns kx = 0 and kx = n/2 are Hermitian.
    for kx in [0, n / 2] {
        for row in 1..n / 2 {
            half[(n - row) * width + kx] = half[row * width + kx].conj();
        }
        for row in [0, n / 2] {
            half[row * width + kx].im = T::zero();
        }
    }
    plan.inverse(half, image, scratch);
}

/// Calls `visit(voxel, weight of the outside)` for a sphere about voxel n/2.
fn for_each_voxel<T>(voxels: &mut [T], n: usize, radius: f64, edge: f64, mut visit: impl FnMut(&mut T, f64)) {
    assert_eq!(voxels.len(), n.pow(3), "a volume of edge {n}");
    let c = (n / 2) as f64;
    for (i, row) in voxels.chunks_exact_mut(n).enumerate() {
        let (y, z) = ((i % n) as f64 - c, (i / n) as f64 - c);
        for (x, v) in row.iter_mut().enumerate() {
            let x = x as f64 - c;
            visit(v, outside_weight((x * x + y * y + z * z).sqrt(), radius, edge));
        }
    }
}

/// Multiplies a volume by a soft sphere (solvent flattening without a mask file).
pub fn multiply_by_sphere<T: Real>(voxels: &mut [T], n: usize, radius_pixels: f64, edge_pixels: f64) {
    for_each_voxel(voxels, n, radius_pixels, edge_pixels, |v, w| *v *= T::of(1.0 - w));
}

/// Replaces what is outside a soft sphere by its weighted mean.
pub fn fill_outside_sphere<T: Real>(voxels: &mut [T], n: usize, radius_pixels: f64, edge_pixels: f64) {
    let (mut total, mut sum) = (0.0, 0.0);
    for_each_voxel(voxels, n, radius_pixels, edge_pixels, |v, w| {
        total += w * v.widen();
        sum += w;
    });
    if sum > 0.0 {
        let mean = total / sum;
        for_each_voxel(voxels, n, radius_pixels, edge_pixels, |v, w| {
            *v = T::of((1.0 - w) * v.widen() + w * mean);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_a_raised_cosine() {
        assert_eq!(outside_weight(9.9, 10.0, 4.0), 0.0);
        assert_eq!(outside_weight(14.1, 10.0, 4.0), 1.0);
        assert!((outside_weight(12.0, 10.0, 4.0) - 0.5).abs() < 1e-15);
        assert!((outside_weight(11.0, 10.0, 4.0) - (0.5 - 0.5 * std::f64::consts::FRAC_1_SQRT_2)).abs() < 1e-15);
    }

    #[test]
    fn a_constant_image_stays_and_the_inside_is_untouched() {
        let mask = CircularMask::<f64>::new(16, 5.0, 2.0);
        let mut image = vec![3.0; 256];
        mask.fill_with_mean(&mut image);
        assert!(image.iter().all(|v| (v - 3.0).abs() < 1e-14));
        let mut image: Vec<f64> = (0..256).map(f64::from).collect();
        mask.fill_with_mean(&mut image);
        assert_eq!(image[8 * 16 + 8], 136.0);
        assert_eq!(image[8 * 16 + 12], 140.0);
        // Far corners hold the same mean.
        assert_eq!(image[0], image[15]);
        mask.fill_with(&mut image, &vec![-1.0; 256]);
        assert_eq!((image[0], image[8 * 16 + 8]), (-1.0, 136.0));
    }

    #[test]
    fn noise_has_the_asked_spectrum() {
        let n = 64;
        let plan = RealFft2::<f64>::new(n);
        let mut scratch = plan.scratch();
        let mut half = vec![Complex::default(); plan.half_len()];
        let mut image = vec![0.0; n * n];
        let spectrum = |s: usize| if s < 20 { 4.0 } else { 1.0 };
        let mut power = vec![0.0; n / 2 + 1];
        for item in 0..20 {
            noise_image(&plan, spectrum, &mut Stream::new(1, 0, item), &mut half, &mut image, &mut scratch);
            plan.forward(&image, &mut half, &mut scratch);
            for (p, s) in power.iter_mut().zip(fourier::power_spectrum(&half, n)) {
                *p += s / 2.0 / 20.0;
            }
        }
        // Shells from 5 hold at least 300 independent pixels in 20 images: 4 standard errors are 24 %.
        for (s, p) in power.iter().enumerate().skip(5) {
            assert!((p / spectrum(s) - 1.0).abs() < 0.24, "shell {s}: {p}");
        }
    }

    #[test]
    fn spheres_flatten_and_fill() {
        let n = 12;
        let mut v: Vec<f32> = vec![2.0; n * n * n];
        multiply_by_sphere(&mut v, n, 3.0, 2.0);
        assert_eq!((v[0], v[(6 * n + 6) * n + 6]), (0.0, 2.0));
        let mut v: Vec<f64> = (0..n * n * n).map(|i| i as f64).collect();
        let before = v[(6 * n + 6) * n + 6];
        fill_outside_sphere(&mut v, n, 3.0, 2.0);
        assert_eq!(v[0], v[n - 1]);
        assert_eq!(v[(6 * n + 6) * n + 6], before);
    }
}
