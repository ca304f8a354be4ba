//! Beam tilt and higher-order aberrations as Zernike polynomials (Zivanov et al. 2020).
//!
//! The radius is the frequency in 1/Angstrom, not normalised to an aperture. Odd orders shift
//! phases; even orders add to the argument of the CTF.

use std::f64::consts::PI;

use num_complex::Complex;

use crate::dataset::OpticsGroup;
use crate::fourier::Real;

use super::ctf;

/// Order n and azimuthal order m of the odd polynomial with running index i.
pub fn odd_order(i: usize) -> (i32, i32) {
    let k = (0..).find(|k| (k + 1) * (k + 2) > i).expect("some k is large enough");
    let n = 2 * k as i32 + 1;
    (n, 2 * (i as i32 - (k * k + k) as i32) - n)
}

/// Order n and azimuthal order m of the even polynomial with running index i.
pub fn even_order(i: usize) -> (i32, i32) {
    let k = i.isqrt();
    (2 * k as i32, 2 * (i as i32 - (k * k + k) as i32))
}

/// Z_n^m at (x, y): R_n^|m|(rho) times cos(m phi) for m >= 0, sin(|m| phi) for m < 0.
pub fn zernike(n: i32, m: i32, x: f64, y: f64) -> f64 {
    let rho = x.hypot(y);
    let order = m.abs();
    let factorial = |k: i32| (1..=k).map(f64::from).product::<f64>();
    let radial: f64 = (0..=(n - order) / 2)
        .map(|k| {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            sign * factorial(n - k) / (factorial(k) * factorial((n + order) / 2 - k) * factorial((n - order) / 2 - k))
                * rho.powi(n - 2 * k)
        })
        .sum();
    let turn = f64::from(order) * y.atan2(x);
    radial * if m >= 0 { turn.cos() } else { turn.sin() }
}

/// Coefficients of the odd polynomials with the beam tilt added.
fn odd_coefficients(optics: &OpticsGroup) -> Vec<f64> {
    let mut c = optics.odd_zernike.clone();
    let [tx, ty] = optics.beam_tilt_mrad;
    if tx != 0.0 || ty != 0.0 {
        let lambda = ctf::wavelength_angstrom(optics.voltage_kilovolt);
        let s = 20_000.0 * optics.spherical_aberration_mm * lambda * lambda * PI;
        if c.len() < 5 {
            c.resize(5, 0.0);
        }
        // Together -s rho^2 (tx x + ty y): the linear parts of the two orders cancel.
        c[1] -= 2.0 * s * tx / 3.0;
        c[0] -= 2.0 * s * ty / 3.0;
        c[4] -= s * tx / 3.0;
        c[3] -= s * ty / 3.0;
    }
    c
}

fn sum(c: &[f64], order: fn(usize) -> (i32, i32), optics: &OpticsGroup, kx: &[i16], ky: &[i16]) -> Option<Vec<f64>> {
    if c.iter().all(|v| *v == 0.0) {
        return None;
    }
    let f = ctf::frequency_matrix(optics);
    let value = |(kx, ky): (&i16, &i16)| {
        let (kx, ky) = (f64::from(*kx), f64::from(*ky));
        let (x, y) = (f[0][0] * kx + f[0][1] * ky, f[1][0] * kx + f[1][1] * ky);
        c.iter()
            .enumerate()
            .map(|(i, c)| {
                let (n, m) = order(i);
                c * zernike(n, m, x, y)
            })
            .sum()
    };
    Some(kx.iter().zip(ky).map(value).collect())
}

/// Phase errors phi in radians of a group's images at integer frequencies; `None` without beam tilt and odd
/// aberrations. Images are corrected by exp(-i phi), predictions multiplied by exp(i phi).
pub fn phase_errors(optics: &OpticsGroup, kx: &[i16], ky: &[i16]) -> Option<Vec<f64>> {
    sum(&odd_coefficients(optics), odd_order, optics, kx, ky)
}

/// What a group's even aberrations add to the argument of the CTF, in radians; `None` without any.
pub fn gamma_offsets(optics: &OpticsGroup, kx: &[i16], ky: &[i16]) -> Option<Vec<f64>> {
    sum(&optics.even_zernike, even_order, optics, kx, ky)
}

/// exp(i phi) per pixel; its conjugate corrects an observed image.
pub fn phase_factors<T: Real>(errors: &[f64]) -> Vec<Complex<T>> {
    errors.iter().map(|phi| Complex::new(T::of(phi.cos()), T::of(phi.sin()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::ctf::tests::optics;

    #[test]
    fn running_indices_enumerate_the_orders() {
        let odd: Vec<_> = (0..6).map(odd_order).collect();
        assert_eq!(odd, [(1, -1), (1, 1), (3, -3), (3, -1), (3, 1), (3, 3)]);
        assert_eq!(odd_order(6), (5, -5));
        let even: Vec<_> = (0..5).map(even_order).collect();
        assert_eq!(even, [(0, 0), (2, -2), (2, 0), (2, 2), (4, -4)]);
    }

    #[test]
    fn known_polynomials() {
        let (x, y) = (0.3, -0.2_f64);
        let rho2 = x * x + y * y;
        assert!((zernike(2, 0, x, y) - (2.0 * rho2 - 1.0)).abs() < 1e-15);
        assert!((zernike(3, 1, x, y) - (3.0 * rho2 - 2.0) * x).abs() < 1e-15);
        assert!((zernike(2, -2, x, y) - 2.0 * x * y).abs() < 1e-15);
        assert!((zernike(4, 0, x, y) - (6.0 * rho2 * rho2 - 6.0 * rho2 + 1.0)).abs() < 1e-15);
    }

    #[test]
    fn beam_tilt_is_a_cubic_phase() {
        // 300 kV, Cs 2.7 mm: 65.7552 Angstrom^3 per mrad; box 4 of 1 Angstrom: kx = 1 is 0.25 per Angstrom.
        let mut group = optics(4);
        group.beam_tilt_mrad = [1.0, 0.0];
        let phi = phase_errors(&group, &[1, 0, 1], &[0, 1, 1]).expect("a tilt has phases");
        assert!((phi[0] + 1.027_42).abs() < 1e-5, "{}", phi[0]);
        assert!(phi[1].abs() < 1e-12);
        group.beam_tilt_mrad = [0.4, -0.7];
        let s = 65.7552;
        let phi = phase_errors(&group, &[1], &[1]).expect("a tilt has phases");
        assert!((phi[0] + s * (0.4 - 0.7) * 0.25 * 0.125).abs() < 1e-5);
        assert_eq!(phase_errors(&optics(4), &[1], &[1]), None);
    }

    #[test]
    fn the_magnification_distorts_frequencies() {
        let mut group = optics(4);
        group.even_zernike = vec![0.0, 0.0, 1.0];
        group.magnification = [[1.02, 0.01], [0.01, 0.99]];
        let offset = gamma_offsets(&group, &[1], &[-1]).expect("an even aberration");
        let (x, y) = (0.25 * (1.02 - 0.01), 0.25 * (0.01 - 0.99_f64));
        assert!((offset[0] - (2.0 * (x * x + y * y) - 1.0)).abs() < 1e-14);
    }
}
