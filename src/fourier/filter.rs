//! Radial filters and resizing by Fourier cropping.

use num_complex::Complex;

use super::Real;
use super::RealFft3;
use super::frequency;
use super::window_3d;

/// Raised-cosine low-pass at radius `r` (in shells): 1 below centre - half_width, 0 above
/// centre + half_width, 0.5 + 0.5 cos in between.
pub fn low_pass_weight(r: f64, centre: f64, half_width: f64) -> f64 {
    let low = (centre - half_width).max(0.0);
    let high = centre + half_width;
    if r < low {
        1.0
    } else if r > high {
        0.0
    } else {
        0.5 + 0.5 * (std::f64::consts::PI * (r - low) / (high - low)).cos()
    }
}

/// Low-pass of a 3D half transform of edge n, two shells wide about `centre_shells`.
///
/// The initial filter of a reference is centred on the unrounded n a / d; those of post-processing and
/// of masks on the nearest shell, ROUND(n a / d). The radius is never rounded.
pub fn low_pass_3d<T: Real>(half: &mut [Complex<T>], n: usize, centre_shells: f64) {
    for (row, values) in half.chunks_exact_mut(n / 2 + 1).enumerate() {
        let (ky, kz) = (f64::from(frequency(row % n, n)), f64::from(frequency(row / n, n)));
        for (kx, value) in values.iter_mut().enumerate() {
            let r = ((kx * kx) as f64 + ky * ky + kz * kz).sqrt();
            *value *= T::of(low_pass_weight(r, centre_shells, 1.0));
        }
    }
}

/// Resamples a volume of edge n to edge m over the same physical size, by cropping or padding its
/// transform; grey values keep their scale.
pub fn resize_volume(voxels: &[f32], n: usize, m: usize) -> Vec<f32> {
    if n == m {
        return voxels.to_vec();
    }
    let half = RealFft3::<f64>::new(n).forward(voxels.iter().map(|v| f64::from(*v)));
    let mut resized = vec![Complex::default(); m * m * (m / 2 + 1)];
    window_3d(&half, n, &mut resized, m);
    drop(half);
    RealFft3::<f64>::new(m).inverse(&mut resized).into_iter().map(|v| v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_raised_cosine_falls_over_two_shells() {
        assert_eq!(low_pass_weight(8.9, 10.0, 1.0), 1.0);
        assert_eq!(low_pass_weight(11.1, 10.0, 1.0), 0.0);
        assert!((low_pass_weight(10.0, 10.0, 1.0) - 0.5).abs() < 1e-15);
        assert!((low_pass_weight(9.5, 10.0, 1.0) - (0.5 + 0.5 * (0.25 * std::f64::consts::PI).cos())).abs() < 1e-15);
    }

    #[test]
    fn resizing_a_smooth_blob_keeps_its_values_and_its_centre() {
        let (n, m) = (32, 48);
        let blob = |edge: usize, sigma: f64| -> Vec<f32> {
            let c = (edge / 2) as f64;
            (0..edge.pow(3))
                .map(|i| {
                    let d = [i % edge, i / edge % edge, i / edge / edge].map(|v| (v as f64 - c) / sigma);
                    (-0.5 * (d[0] * d[0] + d[1] * d[1] + d[2] * d[2])).exp() as f32
                })
                .collect()
        };
        let wide = resize_volume(&blob(n, 3.0), n, m);
        let worst = wide.iter().zip(blob(m, 4.5)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The blob has fallen to 2e-4 of its peak at Nyquist and at the faces.
        assert!(worst < 1e-3, "{worst}");
    }
}
