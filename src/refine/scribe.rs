//! Writes what this rank finished of an iteration: a part for every half set.

use std::collections::BTreeMap;
use std::path::Path;

use crate::arena;
use crate::checkpoint::Entry;
use crate::checkpoint::PartWriter;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::products::Finished;
use crate::expectation::products::Half;
use crate::expectation::products::Midway;
use crate::product::Voxel;

/// A finished half set and its integer sums, one volume a class.
pub struct DoneHalf<'f> {
    /// Among the half sets, from 0.
    pub half: usize,
    pub step: Half,
    pub sums: Vec<&'f mut [SumVoxel]>,
}

/// Writes the parts of this rank in one iteration.
pub struct Scribe {
    writer: PartWriter,
    /// By half set: particles in the part that is on disk.
    written: BTreeMap<usize, usize>,
}

impl Scribe {
    /// # Errors
    /// The folder cannot be read.
    pub fn new(run_folder: &Path, iteration: u32, rank: usize) -> Result<Self> {
        Ok(Self { writer: PartWriter::new(run_folder, iteration, rank)?, written: BTreeMap::new() })
    }

    /// This rank goes on with a part that holds so many particles of a half set.
    pub fn take_over(&mut self, half: usize, particles: usize) {
        *self.written.entry(half).or_default() += particles;
    }

    /// Whether a finished half set is on disk as it is.
    pub fn has(&self, done: &DoneHalf<'_>) -> bool {
        done.step.particles_done() <= self.written.get(&done.half).copied().unwrap_or(0)
    }

    /// Writes what is new since the last time: of the half sets that are done, and of the one that is under way.
    pub fn write(
        &mut self,
        labels: &[u8],
        done: &mut [DoneHalf<'_>],
        midway: Option<(usize, &mut Midway<'_, '_>)>,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        // Nothing counts as written unless all is reported.
        let mut written = self.written.clone();
        for DoneHalf { half, step, sums } in done {
            let finished = step.finished();
            if !self.is_new(*half, &finished) {
                continue;
            }
            let sums: Vec<&[Voxel]> = sums.iter_mut().map(|s| &*arena::recast::<SumVoxel, Voxel>(s)).collect();
            entries.push(self.writer.write(*half, labels[*half], &finished, &sums)?);
            written.insert(*half, finished.positions.len());
        }
        if let Some((half, midway)) = midway {
            let finished = midway.finished()?;
            if self.is_new(half, &finished) {
                entries.push(midway.with_sums(|sums| self.writer.write(half, labels[half], &finished, sums))?);
                written.insert(half, finished.positions.len());
            }
        }
        self.written = written;
        Ok(entries)
    }

    fn is_new(&self, half: usize, finished: &Finished) -> bool {
        finished.positions.len() > self.written.get(&half).copied().unwrap_or(0)
    }
}
