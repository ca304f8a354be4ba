//! The smallest set of samples that holds a share of the posterior, of many particles at once: as
//! `crate::weights::Selector`, by kernels.

use std::ops::Range;

use crate::error::Result;
use crate::expectation::scalar::Scalar;
use crate::weights::BINS;

use super::arguments::Descend;
use super::arguments::Histogram;
use super::arguments::Least;
use super::arguments::Pointer;
use super::arguments::Samples;
use super::arguments::Start;
use super::arguments::StateWords;
use super::link::Link;
use super::link::grid;

/// Threads of a block that looks at samples.
const THREADS: u32 = 256;
/// Samples that a block looks at, about.
const SAMPLES_A_BLOCK: usize = 16 * THREADS as usize;
/// Blocks for one particle, at most.
const MOST_BLOCKS: usize = 64;

/// Searches of some particles of a batch.
#[derive(Clone)]
pub struct Searches<T> {
    /// The particles, by their places in the batch; all pointers are those of the whole batch.
    pub particles: Range<usize>,
    pub values: Pointer<T>,
    pub ranges: Pointer<[u64; 2]>,
    pub states: Pointer<StateWords>,
    pub bins: Pointer<[u64; 2]>,
    /// Samples of a particle, about.
    pub samples: usize,
}

impl<T: Scalar> Searches<T> {
    pub fn samples(&self) -> Samples<T> {
        Samples { values: self.values, ranges: self.ranges.plus(self.particles.start) }
    }

    pub fn states(&self) -> Pointer<StateWords> {
        self.states.plus(self.particles.start)
    }

    fn bins(&self) -> Pointer<[u64; 2]> {
        self.bins.plus(self.particles.start * BINS)
    }

    /// A grid over the samples of each particle.
    pub fn grid(&self) -> crate::device::Grid {
        let blocks = self.samples.div_ceil(SAMPLES_A_BLOCK).clamp(1, MOST_BLOCKS);
        grid([blocks, self.particles.len(), 1], THREADS)
    }

    /// Nothing is known of them.
    pub fn start(&self, link: &Link<'_>) -> Result<()> {
        let particles = self.particles.len();
        let over = grid([particles.div_ceil(128), 1, 1], 128);
        link.launch("start", over, &Start { states: self.states(), particles: particles as u32 })
    }

    pub fn least(&self, link: &Link<'_>) -> Result<()> {
        link.launch("least", self.grid(), &Least { samples: self.samples(), states: self.states() })
    }

    /// Shows the samples that are there now to pass `pass` of the selection.
    pub fn show(&self, link: &Link<'_>, pass: usize) -> Result<()> {
        let arguments = Histogram {
            samples: self.samples(),
            states: self.states(),
            bins: self.bins(),
            is_first: u32::from(pass == 0),
        };
        link.launch("histogram", self.grid(), &arguments)
    }

    /// Ends pass `pass`.
    pub fn descend(&self, link: &Link<'_>, pass: usize, fraction: f64, maximum: Option<u64>) -> Result<()> {
        let arguments = Descend {
            states: self.states(),
            bins: self.bins(),
            fraction,
            maximum: maximum.unwrap_or(u64::MAX),
            particles: self.particles.len() as u32,
            is_first: u32::from(pass == 0),
            zero_bits: f64::MANTISSA_DIGITS - T::DIGITS,
        };
        link.launch("descend", grid([self.particles.len(), 1, 1], 32), &arguments)
    }
}

/// Passes that resolve all bits of a weight: ten each of 29 (f32) or 58 (f64).
pub fn passes<T: Scalar>() -> usize {
    let resolved: u32 = 58 - (f64::MANTISSA_DIGITS - T::DIGITS);
    resolved.div_ceil(10) as usize
}
