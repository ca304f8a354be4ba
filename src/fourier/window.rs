//! Windows of half transforms, and the sign that moves the origin to the centre.

use num_complex::Complex;

use super::Real;
use super::frequency;
use super::frequency_index;

/// Multiplies by (-1)^(kx + ky): phases then refer to the centre n/2 of the image instead of its corner.
pub fn checkerboard_2d<T: Real>(half: &mut [Complex<T>], n: usize) {
    checkerboard(half, n, |row| row % n);
}

/// Multiplies by (-1)^(kx + ky + kz): phases then refer to the centre n/2 of the volume.
pub fn checkerboard_3d<T: Real>(half: &mut [Complex<T>], n: usize) {
    checkerboard(half, n, |row| row % n + row / n);
}

fn checkerboard<T: Real>(half: &mut [Complex<T>], n: usize, parity: impl Fn(usize) -> usize) {
    for (row, values) in half.chunks_exact_mut(n / 2 + 1).enumerate() {
        for value in values.iter_mut().skip((parity(row) + 1) % 2).step_by(2) {
            *value = -*value;
        }
    }
}

/// Copies the half transform of an image of edge `n` into that of edge `m`.
///
/// Cropping keeps the square |k| <= m/2, corners included; enlarging copies |k| <= n/2 (a circle, so
/// that the result is isotropic) and fills the rest with zeros.
pub fn window_2d<T: Real>(half: &[Complex<T>], n: usize, out: &mut [Complex<T>], m: usize) {
    assert!(half.len() == n * (n / 2 + 1) && out.len() == m * (m / 2 + 1), "half transforms of edges {n} and {m}");
    window(half, n, out, m, 1);
}

/// The same for volumes (cube and sphere).
pub fn window_3d<T: Real>(half: &[Complex<T>], n: usize, out: &mut [Complex<T>], m: usize) {
    assert!(
        half.len() == n * n * (n / 2 + 1) && out.len() == m * m * (m / 2 + 1),
        "half transforms of edges {n} and {m}"
    );
    window(half, n, out, m, m);
}

fn window<T: Real>(half: &[Complex<T>], n: usize, out: &mut [Complex<T>], m: usize, planes: usize) {
    let zero = Complex::new(T::zero(), T::zero());
    let (from_width, to_width) = (n / 2 + 1, m / 2 + 1);
    let reach = (n / 2) as i64;
    for plane in 0..planes {
        let kz = frequency(plane, m);
        for row in 0..m {
            let ky = frequency(row, m);
            let target = &mut out[(plane * m + row) * to_width..][..to_width];
            target.fill(zero);
            if i64::from(ky.abs().max(kz.abs())) > reach {
                continue;
            }
            let source_row = frequency_index(kz, n) * usize::from(planes > 1) * n + frequency_index(ky, n);
            let source = &half[source_row * from_width..][..from_width];
            if m <= n {
                target.copy_from_slice(&source[..to_width]);
            } else {
                let rest = reach * reach - i64::from(ky).pow(2) - i64::from(kz).pow(2);
                for (kx, value) in source.iter().enumerate() {
                    if (kx * kx) as i64 <= rest {
                        target[kx] = *value;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fourier::RealFft2;

    #[test]
    fn checkerboard_moves_a_centred_point_to_zero_phase() {
        let n = 8;
        let plan = RealFft2::<f64>::new(n);
        let mut image = vec![0.0; n * n];
        image[n / 2 * n + n / 2] = 1.0;
        let mut half = vec![Complex::default(); plan.half_len()];
        plan.forward(&image, &mut half, &mut plan.scratch());
        checkerboard_2d(&mut half, n);
        assert!(half.iter().all(|f| (f - 1.0 / 64.0).norm() < 1e-15));
    }

    #[test]
    fn a_window_there_and_back_keeps_the_circle() {
        let (n, m) = (8, 12);
        let half: Vec<Complex<f64>> = (0..n * 5).map(|i| Complex::new(i as f64 + 1.0, -(i as f64))).collect();
        let mut large = vec![Complex::default(); m * 7];
        window_2d(&half, n, &mut large, m);
        let mut back = vec![Complex::default(); n * 5];
        window_2d(&large, m, &mut back, n);
        for row in 0..n {
            for kx in 0..5_i32 {
                let inside = kx.pow(2) + frequency(row, n).pow(2) <= 16;
                let i = row * 5 + kx as usize;
                assert_eq!(back[i], if inside { half[i] } else { Complex::default() }, "{kx} {row}");
            }
        }
    }

    #[test]
    fn cropping_keeps_the_corners_and_the_positive_nyquist_row() {
        let (n, m) = (8, 4);
        let half: Vec<Complex<f32>> = (0..n * n * 5).map(|i| Complex::new(i as f32, 0.0)).collect();
        let mut small = vec![Complex::default(); m * m * 3];
        window_3d(&half, n, &mut small, m);
        // (kx, ky, kz) = (2, 2, -1) is in the last plane, third row, third column of the source.
        assert_eq!(small[(3 * m + 2) * 3 + 2].re, (((n - 1) * n + 2) * 5 + 2) as f32);
    }
}
