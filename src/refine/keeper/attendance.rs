//! The keeper beside an expectation step: after every batch it hears the other ranks, keeps what is due and tells.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::checkpoint::Entry;
use crate::checkpoint::Part;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::expectation::products::Supply;
use crate::refine::attendant::Attendant;
use crate::refine::attendant::read_parts;
use crate::refine::crew::Crew;
use crate::refine::scribe::DoneHalf;
use crate::refine::stop::Stop;

use super::Keeper;
use super::PAUSE;

impl Keeper<'_> {
    /// Takes over what the other ranks report.
    pub(super) fn attend(&mut self, crew: &Crew) -> Result<()> {
        if let Some(cause) = self.stop.cause() {
            crew.ledger.ask_to_stop(&cause.to_string());
        }
        for warning in crew.ledger.take_warnings() {
            self.warn(&warning)?;
        }
        self.standing.done = self.resumed.max(crew.ledger.particles() as usize).min(self.standing.total);
        self.pending.extend(crew.take_parts());
        if !self.pending.is_empty() {
            if self.saver.is_done() {
                self.settle()?;
            }
            // Without the checkpoint before it a part counts for nothing; it may still come.
            if self.parent.is_some() {
                self.try_to_keep(Self::commit_pending)?;
            }
        }
        if crew.is_dedicated {
            self.stop.needs(self.clock.stopping(0));
        }
        if self.told.elapsed() >= PAUSE {
            self.tell()?;
        }
        Ok(())
    }
}

impl Attendant for Keeper<'_> {
    fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    fn supply(&self, half: usize) -> Option<Arc<dyn Supply + Send + Sync>> {
        Some(Arc::new(self.crew.as_ref()?.supply(half, &self.share, &self.stop)))
    }

    fn earlier(&mut self, half: usize) -> Result<Vec<(Finished, Part)>> {
        if let Some(crew) = &self.crew {
            // References are made before the first batch.
            crew.pulse.begin(None);
        }
        let entries = self.parts.as_ref().map(|parts| parts.of_rank(0)).unwrap_or_default();
        let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.half == half).collect();
        let parts = read_parts(&self.root, &entries)?;
        parts.iter().for_each(|(finished, _)| self.scribe.take_over(half, finished.positions.len()));
        Ok(parts)
    }

    /// Tells, keeps what is due, and says whether the step goes on.
    fn after_batch(&mut self, half: usize, done: &mut [DoneHalf<'_>], midway: &mut Midway<'_, '_>) -> Result<Next> {
        let before: usize = done.iter().map(|done| done.step.particles_done()).sum();
        self.standing.done = before + midway.particles_done();
        self.clock.end_batch();
        if self.saver.is_done() {
            self.settle()?;
        }
        if let Some(crew) = self.crew.take() {
            crew.ledger.tell_particles(0, self.standing.done as u64);
            crew.pulse.tell_particles(self.standing.done);
            // Writing takes as long as the disk wants.
            crew.pulse.begin(None);
            let attended = self.attend(&crew);
            self.crew = Some(crew);
            attended?;
        }
        let bytes = self.bytes_to_write(done, midway);
        self.stop.needs(self.clock.stopping(bytes));
        let is_complete = self.standing.done == self.standing.total;
        if is_complete && self.stop.time_left().is_some_and(|left| left < self.clock.finishing(bytes)) {
            self.stop.raise_end_of_time();
        }
        if self.stop.flag().load(Relaxed) {
            self.stop_midway(self.clock.writing(bytes), |keeper| keeper.write_parts(done, Some((half, midway))))?;
            return Ok(Next::Stop);
        }
        // What follows may take long, and nothing stops it.
        let is_before_long = is_complete && self.clock.is_long_rest(bytes);
        if is_before_long || self.every.is_some_and(|every| self.kept.elapsed() >= every) {
            self.try_to_keep(|keeper| keeper.write_parts(done, Some((half, midway))))?;
        }
        if self.told.elapsed() >= PAUSE {
            self.tell()?;
        }
        self.clock.begin_batch();
        if let Some(crew) = &self.crew {
            crew.pulse.begin(self.clock.longest_batch());
        }
        Ok(Next::GoOn)
    }
}
