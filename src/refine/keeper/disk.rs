//! What reaches the disk: the state after an iteration, and within one the parts of all ranks.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::checkpoint::Committed;
use crate::checkpoint::Entry;
use crate::checkpoint::Parts;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::products::Midway;
use crate::model::State;
use crate::plan::progress::Event;
use crate::refine::attendant::labels;
use crate::refine::saver::Saved;
use crate::refine::scribe::DoneHalf;

use super::Keeper;
use super::Standing;
use super::words::sentence;

impl Keeper<'_> {
    /// Begins to write the state after an iteration.
    pub fn save(&mut self, state: &State) -> Result<()> {
        let begin = Instant::now();
        if let Some(crew) = &self.crew {
            crew.pulse.begin(None);
        }
        self.settle()?;
        (self.parent, self.unsaved, self.parts) = (None, None, None);
        (self.earlier, self.resumed) = (Vec::new(), 0);
        self.saver.begin(Arc::new(state.clone()));
        self.blocked += begin.elapsed();
        self.kept = Instant::now();
        Ok(())
    }

    /// Waits for the state that is being written, and tells what became of it.
    pub fn settle(&mut self) -> Result<()> {
        match self.saver.wait()? {
            None => Ok(()),
            Some(Ok(saved)) => self.saved(saved),
            Some(Err(unsaved)) => {
                let iteration = unsaved.state.iteration;
                let stays = if iteration > 0 { ", the one before stays" } else { "" };
                self.warn(&format!(
                    "{}; the run goes on without a checkpoint of iteration {iteration}{stays}",
                    sentence(&unsaved.error)
                ))?;
                (self.unsaved, self.failure) = (Some(unsaved.state), Some(unsaved.error));
                Ok(())
            }
        }
    }

    /// As [`Self::settle`]; a state that could not be written is tried once more.
    pub(super) fn settle_all(&mut self) -> Result<()> {
        self.settle()?;
        if let Some(state) = self.unsaved.take() {
            self.saver.begin(state);
            self.settle()?;
        }
        Ok(())
    }

    pub(super) fn saved(&mut self, saved: Saved) -> Result<()> {
        (self.has_kept, self.failure) = (true, None);
        self.parent = Some(saved.digest);
        self.clock.wrote(saved.bytes, saved.seconds);
        if let Some(error) = saved.leftover {
            self.warn(&sentence(&error))?;
        }
        let file = self.relative(&saved.path);
        let Saved { iteration, bytes, seconds, .. } = saved;
        self.progress.write(Event::Checkpoint { iteration, file, bytes, seconds })
    }

    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    /// Sizes of what a stop would have to write.
    pub(super) fn bytes_to_write(&self, done: &[DoneHalf<'_>], midway: &Midway<'_, '_>) -> usize {
        midway.sum_bytes() * (1 + done.iter().filter(|done| !self.scribe.has(done)).count())
    }

    /// Keeps the finished blocks before a stop, unless there is no time for it.
    pub(super) fn stop_midway(&mut self, writing: Duration, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        // A process that did nothing else keeps what it did: otherwise starting again and again might come to nothing.
        let is_late = self.has_kept && self.stop.time_left().is_some_and(|left| left < writing / 2);
        if is_late {
            let iteration = self.standing.iteration;
            self.warn(&format!(
                "no time is left to keep the finished part of iteration {iteration}: the run goes on from the \
                 checkpoint before it"
            ))?;
        } else if self.standing.done > 0 {
            self.try_to_keep(write)?;
        }
        if self.crew.is_some() {
            // The others have not stopped yet.
            return Ok(());
        }
        self.tell()?;
        let Standing { iteration, done, .. } = self.standing;
        self.tell_stop(iteration, done)
    }

    /// The run stops before its end. What could not be written yet is tried once more.
    ///
    /// # Errors
    /// Nothing that this process did could be written: starting again would do the same.
    pub fn stopped(&mut self) -> Result<()> {
        self.settle_all()?;
        match self.failure.take() {
            Some(error) if !self.has_kept => Err(error),
            _ => Ok(()),
        }
    }

    /// What cannot be written is told; the run goes on, and what was kept before stays.
    pub(super) fn try_to_keep(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        let outcome = write(self);
        self.blocked += begin.elapsed();
        self.kept = Instant::now();
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                self.warn(&format!(
                    "{}; what is finished of iteration {} is not kept yet, earlier checkpoints stay",
                    sentence(&error),
                    self.standing.iteration
                ))?;
                self.failure = Some(error);
                Ok(())
            }
        }
    }

    pub(super) fn write_parts(
        &mut self,
        done: &mut [DoneHalf<'_>],
        midway: Option<(usize, &mut Midway<'_, '_>)>,
    ) -> Result<()> {
        self.settle_all()?;
        if self.parent.is_none() {
            return Err(no_parent());
        }
        let begin = Instant::now();
        let written = self.scribe.write(labels(self.share.halves()), done, midway)?;
        self.commit_since(begin, written.into_iter().map(|entry| (0, entry)).collect())
    }

    /// Parts of other ranks are on disk: from now on they count.
    pub(super) fn commit_pending(&mut self) -> Result<()> {
        self.settle_all()?;
        if self.parent.is_none() {
            return Err(no_parent());
        }
        let parts = std::mem::take(&mut self.pending);
        self.commit_since(Instant::now(), parts)
    }

    pub(super) fn commit_since(&mut self, begin: Instant, mut written: Vec<(usize, Entry)>) -> Result<()> {
        written.retain(|(_, entry)| entry.iteration() == Some(self.standing.iteration));
        if written.is_empty() {
            return Ok(());
        }
        let parent = self.parent.as_ref().ok_or_else(no_parent)?;
        let new = || Parts::new(&self.root, self.standing.iteration, parent, self.origin);
        let parts = self.parts.get_or_insert_with(new);
        let bytes = written.iter().map(|(_, entry)| entry.bytes()).sum();
        written.into_iter().for_each(|(rank, entry)| parts.put(rank, entry));
        let Committed { index, leftover } = parts.commit()?;
        (self.has_kept, self.failure) = (true, None);
        let seconds = begin.elapsed().as_secs_f64();
        self.clock.wrote(bytes, seconds);
        if let Some(error) = leftover {
            self.warn(&sentence(&error))?;
        }
        let file = self.relative(&index);
        let Standing { iteration, done, .. } = self.standing;
        self.progress.write(Event::Part { iteration, file, bytes, seconds, particles_done: done })
    }
}

fn no_parent() -> Error {
    Error::internal("the checkpoint before it is not on disk")
}
