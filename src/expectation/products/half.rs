//! The expectation step of one half set: while it runs, and when all of its blocks are finished.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::group::Group;
use crate::expectation::task::Outcome;
use crate::expectation::task::Task;
use crate::product::Voxel;

use super::begun;
use super::finished::Finished;
use super::result::Totals;
use super::supply::Supply;
use super::work::Work;

/// The finished step of a half set, its sums still integers: see [`Half::finish`].
pub struct Half {
    pub(in crate::expectation) groups: Vec<Group>,
    pub(in crate::expectation) members: Vec<Vec<(usize, u32)>>,
    pub(in crate::expectation) totals: Totals,
    pub(in crate::expectation) scale: [f64; 2],
    pub(in crate::expectation) reference_power: Vec<Vec<f64>>,
    /// This process took no part in it.
    pub(in crate::expectation) is_idle: bool,
}

impl Half {
    /// A step in which this process takes no part.
    pub(in crate::expectation) fn idle(task: &Task<'_>, block_particles: usize) -> Self {
        let geometry = task.geometry();
        let groups: Vec<Group> =
            (0..task.dataset.optics.len()).map(|optics| Group::new(task, &geometry, optics)).collect();
        let members: Vec<Vec<(usize, u32)>> = groups.iter().map(|group| begun::members(task, group)).collect();
        let totals = Totals::new(task, &groups, &members, block_particles);
        Self { groups, members, totals, scale: [0.0; 2], reference_power: Vec::new(), is_idle: true }
    }

    /// Nothing of the step was done here, and its units were not looked for.
    pub fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Particles of finished blocks.
    pub fn particles_done(&self) -> usize {
        self.totals.particles_done
    }

    /// Takes over what all processes together finished of this step, in place of this one's share.
    ///
    /// # Errors
    /// It is not of this step.
    pub fn replace(&mut self, task: &Task<'_>, block_particles: usize, all: Finished) -> Result<()> {
        self.totals = Totals::new(task, &self.groups, &self.members, block_particles);
        self.absorb(all)
    }

    /// Adds what other processes finished of the same step; their sums are added elsewhere.
    ///
    /// # Errors
    /// It is not of this step, or blocks were done twice.
    pub fn absorb(&mut self, other: Finished) -> Result<()> {
        if self.is_idle {
            // Who took part knows the units.
            (self.scale, self.is_idle) = ([other.scale[0], other.scale[1]], false);
        }
        self.totals.absorb(self.scale, other)
    }

    /// Everything known beside the sums.
    pub fn finished(&self) -> Finished {
        self.totals.finished(&self.members, self.scale)
    }

    pub fn work(&self) -> Work {
        self.totals.work
    }

    /// Everything summed up: the integers in `sums` become numbers.
    pub fn finish(self, task: &Task<'_>, sums: &mut [&mut [SumVoxel]]) -> Outcome {
        self.finish_some(task, sums, &|_| true)
    }

    /// As [`Self::finish`], for the volumes of the classes that `is_mine` names; the others stay as they are.
    pub fn finish_some(
        self,
        task: &Task<'_>,
        sums: &mut [&mut [SumVoxel]],
        is_mine: &dyn Fn(usize) -> bool,
    ) -> Outcome {
        self.totals.finish(task, &self.groups, sums, is_mine, self.scale, self.reference_power)
    }
}

/// A half set between two batches.
pub struct Midway<'m, 'f> {
    pub(in crate::expectation) totals: &'m mut Totals,
    pub(in crate::expectation) members: &'m [Vec<(usize, u32)>],
    pub(in crate::expectation) scale: [f64; 2],
    pub(in crate::expectation) volumes: &'m [Mutex<&'f mut [Voxel]>],
    pub(in crate::expectation) copies: usize,
    /// Brings together what lies elsewhere of the finished blocks: masses of directions, copies of volumes.
    pub(in crate::expectation) gather: &'m mut dyn FnMut(&mut Totals) -> Result<()>,
}

impl Midway<'_, '_> {
    pub fn particles_done(&self) -> usize {
        self.totals.particles_done
    }

    /// Everything known of the finished blocks beside the sums, which are now ready to be shown.
    ///
    /// # Errors
    /// A device did not hand them over.
    pub fn finished(&mut self) -> Result<Finished> {
        (self.gather)(self.totals)?;
        Ok(self.totals.finished(self.members, self.scale))
    }

    /// Bytes of the sums of all classes.
    pub fn sum_bytes(&self) -> usize {
        let first = self.volumes.iter().step_by(self.copies);
        first.map(|v| size_of_val(&**v.lock().unwrap_or_else(PoisonError::into_inner))).sum()
    }

    /// Shows the sums of the blocks that were finished at the last call of [`Self::finished`], class after class.
    pub fn with_sums<R>(&mut self, look: impl FnOnce(&[&[Voxel]]) -> R) -> R {
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
    /// Hands out the blocks; without it all that are unfinished are done here.
    pub supply: Option<&'w dyn Supply>,
    /// Raised from outside when the step shall end soon: a batch whose sums have not begun is dropped.
    pub stop: &'w AtomicBool,
    /// Called after every batch, and after one that was dropped.
    pub after_batch: &'w mut dyn FnMut(&mut Midway<'_, '_>) -> Result<Next>,
}
