//! The expectation step of one half set: while it runs, and when all of its blocks are finished.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;

use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::group::Group;
use crate::expectation::task::Outcome;
use crate::expectation::task::Task;
use crate::product::Voxel;

use super::finished::Finished;
use super::result;
use super::result::Totals;
use super::work::Work;

/// The finished step of a half set, its sums still integers: see [`Half::finish`].
pub struct Half {
    pub(super) groups: Vec<Group>,
    pub(super) members: Vec<Vec<(usize, u32)>>,
    pub(super) totals: Totals,
    pub(super) scale: [f64; 2],
    pub(super) reference_power: Vec<Vec<f64>>,
}

impl Half {
    /// Everything known beside the sums.
    pub fn finished(&self) -> Finished {
        self.totals.finished(&self.members, self.scale)
    }

    pub fn work(&self) -> Work {
        self.totals.work
    }

    /// Everything summed up: the integers in `sums` become numbers.
    pub fn finish(self, task: &Task<'_>, sums: &mut [&mut [SumVoxel]]) -> Outcome {
        self.totals.finish(task, &self.groups, sums, self.scale, self.reference_power)
    }
}

/// A half set between two batches.
pub struct Midway<'m, 'f> {
    pub(super) totals: &'m mut Totals,
    pub(super) members: &'m [Vec<(usize, u32)>],
    pub(super) scale: [f64; 2],
    pub(super) volumes: &'m [Mutex<&'f mut [Voxel]>],
    pub(super) copies: usize,
    /// Direction masses of the present optics group.
    pub(super) mass: &'m [AtomicI64],
    pub(super) directions: usize,
}

impl Midway<'_, '_> {
    pub fn particles_done(&self) -> usize {
        self.totals.particles_done
    }

    /// Everything known of the finished blocks beside the sums.
    pub fn finished(&mut self) -> Finished {
        self.totals.take_directions(self.mass, self.directions);
        self.totals.finished(self.members, self.scale)
    }

    /// Bytes of the sums of all classes.
    pub fn sum_bytes(&self) -> usize {
        let first = self.volumes.iter().step_by(self.copies);
        first.map(|v| size_of_val(&**v.lock().unwrap_or_else(PoisonError::into_inner))).sum()
    }

    /// Shows the sums of the finished blocks, class after class.
    pub fn with_sums<R>(&mut self, look: impl FnOnce(&[&[Voxel]]) -> R) -> R {
        result::merge_copies(self.volumes, self.copies);
        let first = self.volumes.iter().step_by(self.copies);
        let locked: Vec<_> = first.map(|v| v.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        look(&locked.iter().map(|v| &***v).collect::<Vec<_>>())
    }
}

/// Whether a step goes on after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Stop,
}

/// Who looks on while a step runs.
pub struct Watch<'w> {
    /// Raised from outside when the step shall end soon: a batch whose sums have not begun is dropped.
    pub stop: &'w AtomicBool,
    /// Called after every batch, and after one that was dropped.
    pub after_batch: &'w mut dyn FnMut(&mut Midway<'_, '_>) -> Result<Next>,
}
