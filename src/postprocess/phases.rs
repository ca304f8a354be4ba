//! Random phases (Chen et al. 2013).

use num_complex::Complex;
use rayon::prelude::*;

use crate::fourier::frequency;
use crate::imaging::random::philox;

/// Sets the random numbers of this use apart from others of the same seed.
const PURPOSE: u32 = 0x7068_6173;

/// Gives every coefficient at radius `from_shell` and beyond a random phase; amplitudes stay.
///
/// A phase depends on seed, `map` and coefficient only, so that threads do not matter. Friedel mates of the kx = 0
/// and Nyquist planes get opposite phases: the map stays real with the amplitudes it had.
pub fn randomise_phases(half: &mut [Complex<f64>], n: usize, from_shell: usize, seed: u64, map: u32) {
    let width = n / 2 + 1;
    let limit = (from_shell * from_shell) as i64;
    half.par_chunks_exact_mut(width).enumerate().for_each(|(row, values)| {
        let (y, z) = (row % n, row / n);
        let rest = i64::from(frequency(y, n)).pow(2) + i64::from(frequency(z, n)).pow(2);
        let mate = (n - z) % n * n + (n - y) % n;
        for (kx, value) in values.iter_mut().enumerate() {
            if (kx * kx) as i64 + rest < limit {
                continue;
            }
            let has_mate = kx == 0 || kx == n / 2;
            let owner = if has_mate { row.min(mate) } else { row };
            let uniform = uniform(seed, map, (owner * width + kx) as u64);
            *value = if has_mate && row == mate {
                Complex::new(if uniform < 0.5 { value.norm() } else { -value.norm() }, 0.0)
            } else {
                let phase = std::f64::consts::TAU * uniform;
                Complex::from_polar(value.norm(), if owner == row { phase } else { -phase })
            };
        }
    });
}

fn uniform(seed: u64, map: u32, index: u64) -> f64 {
    let words = philox([seed as u32, (seed >> 32) as u32], [index as u32, (index >> 32) as u32, map, PURPOSE]);
    let bits = u64::from(words[0]) << 32 | u64::from(words[1]);
    (bits >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fourier::RealFft3;

    /// Rounding of two transforms of 1000 numbers of order one.
    const TOLERANCE: f64 = 1e-12;

    #[test]
    fn amplitudes_stay_and_the_map_is_real() {
        let n = 10;
        let plan = RealFft3::<f64>::new(n);
        let voxels: Vec<f64> = (0..n * n * n).map(|i| ((i * i + 5 * i) % 89) as f64 / 89.0).collect();
        let before = plan.forward(voxels.iter().copied());
        let mut random = before.clone();
        randomise_phases(&mut random, n, 2, 3, 1);
        // A transform of a real map survives the way to the map and back.
        let again = plan.forward(plan.inverse(&mut random.clone()).into_iter());
        let mut same_phase = 0;
        for (i, ((a, b), c)) in before.iter().zip(&random).zip(&again).enumerate() {
            assert!((a.norm() - b.norm()).abs() < TOLERANCE && (b - c).norm() < TOLERANCE, "element {i}");
            same_phase += usize::from((a - b).norm() < TOLERANCE);
        }
        // Radius below 2: in the half with both mates of kx = 0, 1 + 4 + 4 at kx = 0 and 1 + 4 + 4 at kx = 1 are kept;
        // of self-conjugate elements (8 in all) some keep their sign.
        assert!((18..=26).contains(&same_phase), "{same_phase}");
        let mut other = before.clone();
        randomise_phases(&mut other, n, 2, 3, 2);
        assert!(other != random, "the two halves share their phases");
    }
}
