//! Bytes of the three ways to store fine weights (Zhang et al., ISBRA 2018, section 4; in bytes).
//!
//! `coarse` is the number N of coarse samples, `significant` the number n of those that are kept, `scalar`
//! the bytes of one weight. Every coarse sample has 32 children.

use super::BLOCK;

/// Bytes of a subscript.
const SUBSCRIPT: usize = 4;

/// Every child of every coarse sample: 32 s N.
pub fn dense_bytes(coarse: usize, scalar: usize) -> usize {
    BLOCK * scalar * coarse
}

/// One subscript beside every value: 32 (s + 4) n.
pub fn csr_bytes(significant: usize, scalar: usize) -> usize {
    BLOCK * (scalar + SUBSCRIPT) * significant
}

/// One subscript beside every block of 32 values: (32 s + 4) n.
pub fn block_bytes(significant: usize, scalar: usize) -> usize {
    (BLOCK * scalar + SUBSCRIPT) * significant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formulas() {
        assert_eq!(dense_bytes(1000, 8), 256_000);
        assert_eq!(csr_bytes(1000, 8), 384_000);
        assert_eq!(block_bytes(1000, 8), 260_000);
        assert_eq!(block_bytes(1000, 4), 132_000);
    }

    /// Shares n/N at which the sparse forms stop paying: 0.667 and 0.985 in f64, 0.500 and 0.970 in f32.
    #[test]
    fn break_even_points() {
        let share = |sparse: fn(usize, usize) -> usize, scalar| {
            dense_bytes(1_000_000, scalar) as f64 / sparse(1_000_000, scalar) as f64
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 5e-4, "{a} {b}");
        close(share(csr_bytes, 8), 0.667);
        close(share(block_bytes, 8), 0.985);
        close(share(csr_bytes, 4), 0.500);
        close(share(block_bytes, 4), 0.970);
    }
}
