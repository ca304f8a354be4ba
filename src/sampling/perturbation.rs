//! The random shift of the whole grid, one an iteration, so that no pose is always between two samples.

/// The next running perturbation, in units of the sampling step: the previous one plus a draw from
/// U(factor/2, factor), wrapped into [-factor, factor]. 0 when `factor` is 0.
///
/// The draw depends on seed and iteration alone, so that a continued run sees the same sequence.
pub fn next_perturbation(previous: f64, factor: f64, seed: u64, iteration: u32) -> f64 {
    if factor <= 0.0 {
        return 0.0;
    }
    let sum = previous + factor * (0.5 + 0.5 * draw(seed, iteration));
    (sum + factor).rem_euclid(2.0 * factor) - factor
}

/// A uniform number in [0, 1): the hash SplitMix64 (Steele et al. 2014) of the two keys.
fn draw(seed: u64, iteration: u32) -> f64 {
    let mix = |mut z: u64| {
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let bits = mix(mix(seed) ^ u64::from(iteration));
    (bits >> 11) as f64 * (-53f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_is_repeatable_and_bounded() {
        for factor in [0.1, 0.5, 1.0] {
            let mut perturbation = 0.0;
            let mut seen = Vec::new();
            for iteration in 0..200 {
                let next = next_perturbation(perturbation, factor, 7, iteration);
                assert_eq!(next, next_perturbation(perturbation, factor, 7, iteration));
                assert!((-factor..=factor).contains(&next));
                let step = (next - perturbation).rem_euclid(2.0 * factor);
                // Rounding of the sum and of the wrap.
                assert!(step > 0.5 * factor - 1e-12 && step < factor + 1e-12, "{step}");
                seen.push(step / factor);
                perturbation = next;
            }
            let mean = seen.iter().sum::<f64>() / seen.len() as f64;
            // Five standard errors of 200 draws from U(0.5, 1).
            assert!((mean - 0.75).abs() < 5.0 * (0.5 / 12f64.sqrt()) / 200f64.sqrt(), "{mean}");
        }
        assert_eq!(next_perturbation(0.3, 0.0, 1, 1), 0.0);
        assert_ne!(next_perturbation(0.0, 0.5, 1, 1), next_perturbation(0.0, 0.5, 2, 1));
        assert_ne!(next_perturbation(0.0, 0.5, 1, 1), next_perturbation(0.0, 0.5, 1, 2));
    }
}
