//! Shells of half transforms: indices, averages and correlations.

use num_complex::Complex;

use super::Real;
use super::frequency;

/// Shell of a frequency: ROUND(|k|).
#[inline]
pub fn shell(kx: i32, ky: i32, kz: i32) -> usize {
    shell_of_square((i64::from(kx).pow(2) + i64::from(ky).pow(2) + i64::from(kz).pow(2)) as u64)
}

/// Shell of a squared frequency. An integer's root is never half-way between two integers, so that
/// rounding has no ties.
#[inline]
pub fn shell_of_square(square: u64) -> usize {
    (square as f64).sqrt().round() as usize
}

/// Calls `visit(index, shell)` for the elements of a half transform (2D or 3D by `len`) with shell <= n/2.
fn for_each_in_shells(n: usize, len: usize, mut visit: impl FnMut(usize, usize)) {
    let width = n / 2 + 1;
    assert!(len == n * width || len == n * n * width, "a half transform of edge {n} has not {len} elements");
    for row in 0..len / width {
        let (ky, kz) = (frequency(row % n, n), frequency(row / n, n));
        for kx in 0..width {
            let s = shell(kx as i32, ky, kz);
            if s < width {
                visit(row * width + kx, s);
            }
        }
    }
}

/// Mean of `value` over the elements of each shell 0..=n/2 of a half transform (2D or 3D).
/// The x = 0 column or plane counts fully, both Friedel mates.
pub fn shell_means<T: Real>(half: &[Complex<T>], n: usize, value: impl Fn(Complex<T>) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; n / 2 + 1];
    let mut counts = vec![0_u64; n / 2 + 1];
    for_each_in_shells(n, half.len(), |i, s| {
        sums[s] += value(half[i]);
        counts[s] += 1;
    });
    sums.iter().zip(&counts).map(|(sum, count)| sum / *count as f64).collect()
}

/// Mean of |F|^2 per shell of a half transform (2D or 3D); twice the variance of a real component.
pub fn power_spectrum<T: Real>(half: &[Complex<T>], n: usize) -> Vec<f64> {
    shell_means(half, n, |f| f.re.widen().powi(2) + f.im.widen().powi(2))
}

/// Sum of |F|^2 per shell 0..=n/2 of a 2D half transform, each Friedel pair once (kx = 0, ky < 0 left out).
pub fn half_plane_sums<T: Real>(half: &[Complex<T>], n: usize, sums: &mut [f64]) {
    let width = n / 2 + 1;
    sums.fill(0.0);
    for_each_in_shells(n, half.len(), |i, s| {
        if !(i % width == 0 && i / width > n / 2) {
            sums[s] += half[i].re.widen().powi(2) + half[i].im.widen().powi(2);
        }
    });
}

/// Number of 2D half-plane pixels per shell 0..=n/2 of a box of edge n (kx = 0, ky < 0 left out).
pub fn half_plane_counts(n: usize) -> Vec<usize> {
    let width = n / 2 + 1;
    let mut counts = vec![0; width];
    for_each_in_shells(n, n * width, |i, s| {
        if !(i % width == 0 && i / width > n / 2) {
            counts[s] += 1;
        }
    });
    counts
}

/// Fourier shell correlation of two half transforms (2D or 3D) of edge n, shells 0..=n/2:
/// sum Re(a conj b) / sqrt(sum |a|^2 sum |b|^2), 0 where undefined.
pub fn fsc<T: Real>(a: &[Complex<T>], b: &[Complex<T>], n: usize) -> Vec<f64> {
    assert_eq!(a.len(), b.len(), "transforms of one size");
    let mut sums = vec![[0.0_f64; 3]; n / 2 + 1];
    for_each_in_shells(n, a.len(), |i, s| {
        let (p, q) = ([a[i].re.widen(), a[i].im.widen()], [b[i].re.widen(), b[i].im.widen()]);
        sums[s][0] += p[0] * q[0] + p[1] * q[1];
        sums[s][1] += p[0] * p[0] + p[1] * p[1];
        sums[s][2] += q[0] * q[0] + q[1] * q[1];
    });
    sums.iter().map(|[cross, p, q]| if *p > 0.0 && *q > 0.0 { cross / (p * q).sqrt() } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_round_the_radius() {
        assert_eq!(shell(3, -4, 0), 5);
        assert_eq!(shell(1, 1, 0), 1);
        assert_eq!(shell(1, 1, 1), 2);
        assert_eq!(shell(-2, 1, 1), 2);
        assert_eq!(shell(2, 2, 0), 3);
    }

    #[test]
    fn half_plane_counts_hold_each_friedel_pair_once() {
        // Edge 4: shell 1 holds (1,0), (0,1), (1,1), (1,-1).
        assert_eq!(half_plane_counts(4)[..2], [1, 4]);
    }

    #[test]
    fn fsc_of_a_map_with_itself_is_one_and_with_its_negative_minus_one() {
        let n = 8;
        let a: Vec<Complex<f64>> = (0..n * n * 5).map(|i| Complex::new((i % 7) as f64 + 1.0, (i % 5) as f64)).collect();
        let b: Vec<Complex<f64>> = a.iter().map(|v| -*v).collect();
        assert!(fsc(&a, &a, n).iter().all(|f| (f - 1.0).abs() < 1e-14));
        assert!(fsc(&a, &b, n).iter().all(|f| (f + 1.0).abs() < 1e-14));
        assert_eq!(fsc(&a, &vec![Complex::default(); a.len()], n), vec![0.0; 5]);
    }

    #[test]
    fn power_of_a_constant_transform() {
        let half = vec![Complex::new(3.0_f32, 4.0); 6 * 4];
        assert_eq!(power_spectrum(&half, 6), vec![25.0; 4]);
        let counts = half_plane_counts(6);
        let mut sums = [9.0; 4];
        half_plane_sums(&half, 6, &mut sums);
        assert!(sums.iter().zip(&counts).all(|(s, c)| *s == 25.0 * *c as f64));
    }
}
