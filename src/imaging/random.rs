//! Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011).
//!
//! A number depends on key and counter only, never on what was drawn before, so that results do not
//! depend on threads or on the order of work.

const ROUNDS: u32 = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words for a key and a counter.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let mut c = counter;
    let mut k = key;
    for round in 0..ROUNDS {
        if round > 0 {
            k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
        }
        let p = [u64::from(MULTIPLIERS[0]) * u64::from(c[0]), u64::from(MULTIPLIERS[1]) * u64::from(c[2])];
        c = [(p[1] >> 32) as u32 ^ c[1] ^ k[0], p[1] as u32, (p[0] >> 32) as u32 ^ c[3] ^ k[1], p[0] as u32];
    }
    c
}

/// A stream of numbers for one purpose and one item (a particle, say).
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    item: u64,
    next: u64,
    words: [u32; 4],
    /// Unused pairs in `words`.
    left: usize,
    spare: Option<f64>,
}

impl Stream {
    /// The stream of `item` for a `purpose` (any fixed number per use, so that uses do not share numbers).
    pub fn new(seed: u64, purpose: u32, item: u64) -> Self {
        Self { key: Self::key(seed, purpose), item, next: 0, words: [0; 4], left: 0, spare: None }
    }

    /// The key of all streams of a purpose.
    pub fn key(seed: u64, purpose: u32) -> [u32; 2] {
        let mixed = philox([seed as u32, (seed >> 32) as u32], [purpose, 0, 0, 0]);
        [mixed[0], mixed[1]]
    }

    /// Uniform 64 bits.
    pub fn bits(&mut self) -> u64 {
        if self.left == 0 {
            let (next, item) = (self.next, self.item);
            self.words = philox(self.key, [next as u32, (next >> 32) as u32, item as u32, (item >> 32) as u32]);
            self.next += 1;
            self.left = 2;
        }
        self.left -= 1;
        let [a, b] = [self.words[2 * self.left], self.words[2 * self.left + 1]];
        u64::from(a) << 32 | u64::from(b)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Standard normal (Box & Muller 1958).
    pub fn gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_words() {
        assert_eq!(philox([0, 0], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0, !0], [!0; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn moments_of_the_normal_distribution() {
        let mut stream = Stream::new(1, 2, 3);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|_| stream.gaussian()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let square = draws.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        // Four standard errors.
        assert!(mean.abs() < 0.0127 && (square - 1.0).abs() < 0.018, "{mean} {square}");
    }

    #[test]
    fn streams_of_different_items_and_purposes_differ_and_repeat() {
        let first = |purpose, item| Stream::new(7, purpose, item).bits();
        assert_eq!(first(1, 5), first(1, 5));
        assert_ne!(first(1, 5), first(1, 6));
        assert_ne!(first(1, 5), first(2, 5));
    }
}
