//! The compressed array of fine weights: blocks of 32 values, one subscript a block, one start a particle.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::Error;
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

/// The values of up to `N` places; `rest` where there are fewer.
#[inline(always)]
pub fn gather<C: Cell, const N: usize>(places: &[C], rest: C::Value) -> [C::Value; N] {
    let mut values = [rest; N];
    for (value, place) in values.iter_mut().zip(places) {
        *value = place.get();
    }
    values
}

/// Puts the leading values into the places.
#[inline(always)]
pub fn spread<C: Cell>(values: &[C::Value], places: &[C]) {
    for (value, place) in values.iter().zip(places) {
        place.put(*value);
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

    /// Gives a block to every sample: `samples` are (particle, subscript), the subscripts of one particle ascending,
    /// particles in any order. `places[i]` becomes the block of sample i.
    ///
    /// Fails when there are more samples than blocks, or subscripts out of order: defects of the caller.
    pub fn assign(&mut self, samples: impl Iterator<Item = (usize, u32)> + Clone, places: &mut [u32]) -> Result<()> {
        assign(self.starts, self.subscripts, samples, places)
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

/// [`Blocks::assign`], where the values lie elsewhere: fills `starts` (one more than particles) and `subscripts`.
pub fn assign(
    starts: &mut [u32],
    subscripts: &mut [u32],
    samples: impl Iterator<Item = (usize, u32)> + Clone,
    places: &mut [u32],
) -> Result<()> {
    starts.fill(0);
    for (particle, _) in samples.clone() {
        starts[particle + 1] += 1;
    }
    for p in 1..starts.len() {
        starts[p] += starts[p - 1];
    }
    if starts[starts.len() - 1] as usize > subscripts.len() {
        return Err(Error::internal("more samples than blocks of weights"));
    }
    // While samples are dealt out, starts[p] is the next free block of particle p.
    for (i, (particle, subscript)) in samples.enumerate() {
        let place = starts[particle];
        subscripts[place as usize] = subscript;
        places[i] = place;
        starts[particle] += 1;
    }
    starts.rotate_right(1);
    starts[0] = 0;
    let ascending = |w: &[u32]| subscripts[w[0] as usize..w[1] as usize].is_sorted_by(|a, b| a < b);
    if !starts.windows(2).all(ascending) {
        return Err(Error::internal("subscripts of a particle must ascend"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_own_consecutive_blocks() {
        let (mut starts, mut subscripts, mut places) = ([0; 4], [0; 5], [0; 5]);
        let values: Vec<AtomicU32> = (0..5 * BLOCK).map(|_| AtomicU32::new(0)).collect();
        let mut blocks = Blocks::new(&mut starts, &mut subscripts, &values);
        let samples = [(2, 1), (0, 3), (2, 2), (0, 9), (2, 4)];
        blocks.assign(samples.into_iter(), &mut places).unwrap();
        assert_eq!((blocks.range(0), blocks.range(1), blocks.range(2)), (0..2, 2..2, 2..5));
        assert_eq!(places, [2, 0, 3, 1, 4]);
        assert_eq!(blocks.subscript(4), 4);
        blocks.values(4)[31].put(0.25);
        assert_eq!(blocks.values(4)[31].get(), 0.25);
    }

    #[test]
    fn defects_of_the_caller_are_reported() {
        let (mut starts, mut subscripts, mut places) = ([0; 2], [0; 2], [0; 3]);
        let values: Vec<AtomicU64> = (0..2 * BLOCK).map(|_| AtomicU64::new(0)).collect();
        let mut blocks = Blocks::new(&mut starts, &mut subscripts, &values);
        assert!(blocks.assign([(0, 7), (0, 7)].into_iter(), &mut places).is_err());
        assert!(blocks.assign([(0, 1), (0, 2), (0, 3)].into_iter(), &mut places).is_err());
    }
}
