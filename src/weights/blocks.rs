//! The compressed array of fine weights: blocks of 32 values, one subscript a block, one start a particle.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::Result;

/// Values of one block: 8 orientation children (outer) times 4 translation children (inner).
pub const BLOCK: usize = 32;

/// A place for one scalar that several threads may write, each its own.
pub trait Cell: Sized + Sync + Send + 'static {
    type Value: Copy;
    fn put(&self, value: Self::Value);
    fn get(&self) -> Self::Value;
}

impl Cell for AtomicU32 {
    type Value = f32;
    #[inline(always)]
    fn put(&self, value: f32) {
        self.store(value.to_bits(), Relaxed);
    }
    #[inline(always)]
    fn get(&self) -> f32 {
        f32::from_bits(self.load(Relaxed))
    }
}

impl Cell for AtomicU64 {
    type Value = f64;
    #[inline(always)]
    fn put(&self, value: f64) {
        self.store(value.to_bits(), Relaxed);
    }
    #[inline(always)]
    fn get(&self) -> f64 {
        f64::from_bits(self.load(Relaxed))
    }
}

/// The array of one batch. Particle p owns blocks `starts[p]..starts[p + 1]`, in ascending order of
/// their subscripts; a subscript is the index of the coarse sample whose children the block holds.
pub struct Blocks<'f, C> {
    starts: &'f mut [u32],
    subscripts: &'f mut [u32],
    values: &'f [C],
}

impl<'f, C: Cell> Blocks<'f, C> {
    /// Over memory for `starts.len() - 1` particles and `subscripts.len()` blocks.
    pub fn new(starts: &'f mut [u32], subscripts: &'f mut [u32], values: &'f [C]) -> Self {
        assert!(values.len() >= subscripts.len() * BLOCK, "32 values a block");
        if let Some(first) = starts.first_mut() {
            *first = 0;
        }
        Self { starts, subscripts, values }
    }

    /// Blocks that fit.
    pub fn capacity(&self) -> usize {
        self.subscripts.len()
    }

    /// Fills the blocks of particle `p`; particles come in order. Returns false, and leaves `p` without
    /// blocks, when they do not fit.
    pub fn fill(&mut self, p: usize, subscripts: impl Iterator<Item = u32>) -> Result<bool> {
        let start = self.starts[p] as usize;
        let mut end = start;
        let mut last = None;
        for subscript in subscripts {
            if end == self.subscripts.len() {
                self.starts[p + 1] = start as u32;
                return Ok(false);
            }
            if last.is_some_and(|last| last >= subscript) {
                return Err(crate::error::Error::internal("subscripts of a particle must ascend"));
            }
            last = Some(subscript);
            self.subscripts[end] = subscript;
            end += 1;
        }
        self.starts[p + 1] = end as u32;
        Ok(true)
    }

    /// Block numbers of particle `p`.
    pub fn range(&self, p: usize) -> std::ops::Range<usize> {
        self.starts[p] as usize..self.starts[p + 1] as usize
    }

    /// The coarse sample of a block.
    pub fn subscript(&self, block: usize) -> u32 {
        self.subscripts[block]
    }

    /// The 32 places of a block.
    pub fn values(&self, block: usize) -> &[C] {
        &self.values[block * BLOCK..][..BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_own_consecutive_blocks() {
        let (mut starts, mut subscripts) = ([0; 4], [0; 5]);
        let values: Vec<AtomicU32> = (0..5 * BLOCK).map(|_| AtomicU32::new(0)).collect();
        let mut blocks = Blocks::new(&mut starts, &mut subscripts, &values);
        assert!(blocks.fill(0, [3, 9].into_iter()).unwrap());
        assert!(blocks.fill(1, [].into_iter()).unwrap());
        assert!(blocks.fill(2, [1, 2, 4].into_iter()).unwrap());
        assert_eq!((blocks.range(0), blocks.range(1), blocks.range(2)), (0..2, 2..2, 2..5));
        assert_eq!(blocks.subscript(4), 4);
        blocks.values(4)[31].put(0.25);
        assert_eq!(blocks.values(4)[31].get(), 0.25);
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let (mut starts, mut subscripts) = ([0; 3], [0; 2]);
        let values: Vec<AtomicU64> = (0..2 * BLOCK).map(|_| AtomicU64::new(0)).collect();
        let mut blocks = Blocks::new(&mut starts, &mut subscripts, &values);
        assert!(blocks.fill(0, [7].into_iter()).unwrap());
        assert!(!blocks.fill(1, [1, 2].into_iter()).unwrap());
        assert_eq!(blocks.range(1), 1..1);
    }

    #[test]
    fn subscripts_out_of_order_are_a_defect() {
        let (mut starts, mut subscripts) = ([0; 2], [0; 2]);
        let values: Vec<AtomicU32> = (0..2 * BLOCK).map(|_| AtomicU32::new(0)).collect();
        assert!(Blocks::new(&mut starts, &mut subscripts, &values).fill(0, [7, 7].into_iter()).is_err());
    }
}
