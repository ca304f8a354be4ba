//! Where a step's blocks come from: all of them, or those that are handed to this process on request.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::error::Result;

use super::result::Totals;

/// Hands out the blocks of one half set's step; asked by the thread that reads ahead.
pub trait Supply: Sync {
    /// Whether this process takes part in the step: blocks are left, or its result is asked of it in any case.
    fn is_wanted(&self) -> Result<bool>;

    /// Puts the numbers of up to `most` blocks of an optics group into `out`, which is empty, in canonical order. None
    /// when all are given away or the run stops.
    fn next(&self, optics: usize, most: usize, out: &mut Vec<u32>) -> Result<()>;
}

/// Everything that is not finished yet.
pub struct Everything {
    /// Per optics group its unfinished blocks, the last first.
    left: Mutex<Vec<Vec<u32>>>,
}

impl Everything {
    pub fn of(totals: &Totals) -> Self {
        Self { left: Mutex::new(totals.unfinished()) }
    }
}

impl Supply for Everything {
    fn is_wanted(&self) -> Result<bool> {
        Ok(true)
    }

    fn next(&self, optics: usize, most: usize, out: &mut Vec<u32>) -> Result<()> {
        let left = &mut self.left.lock().unwrap_or_else(PoisonError::into_inner)[optics];
        let from = left.len() - most.min(left.len());
        out.extend(left.drain(from..).rev());
        Ok(())
    }
}
