//! Keeps what was done: the state after every iteration, the finished blocks within one, and word of both.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use crate::checkpoint::Committed;
use crate::checkpoint::Entry;
use crate::checkpoint::Origin;
use crate::checkpoint::Part;
use crate::checkpoint::Parts;
use crate::checkpoint::Retention;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::expectation::products::Supply;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;

use super::attendant::Attendant;
use super::attendant::labels;
use super::attendant::read_parts;
use super::clock::Clock;
use super::crew::Crew;
use super::ranks::Iterate;
use super::ranks::Share;
use super::ranks::Verdict;
use super::saver::Saved;
use super::saver::Saver;
use super::scribe::DoneHalf;
use super::scribe::Scribe;
use super::stop::Cause;
use super::stop::Stop;

/// Shortest time between two words about progress.
const PAUSE: Duration = Duration::from_secs(1);

/// Where an iteration stands.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    iteration: u32,
    /// Particles in finished blocks, of all ranks, and in all.
    done: usize,
    total: usize,
}

/// Keeps what a run has done.
pub struct Keeper<'a> {
    root: PathBuf,
    origin: &'a Origin,
    stop: Arc<Stop>,
    progress: ProgressWriter,
    saver: Saver,
    /// Longest time without a part.
    every: Option<Duration>,
    /// Digest of the checkpoint that the present iteration began from, once that is on disk.
    parent: Option<String>,
    /// What could not be written, until it can.
    unsaved: Option<Arc<State>>,
    parts: Option<Parts>,
    /// What earlier processes finished of half sets.
    earlier: Vec<(usize, Finished)>,
    /// The particles in it.
    resumed: usize,
    /// Who makes which map, and the other ranks.
    share: Share,
    crew: Option<Crew>,
    /// Parts that other ranks have written and no index names yet.
    pending: Vec<(usize, Entry)>,
    scribe: Scribe,
    standing: Standing,
    told: Instant,
    kept: Instant,
    /// Time in which computing waited for writing.
    blocked: Duration,
    clock: Clock,
    /// Something was kept by this process: going on from there is progress.
    has_kept: bool,
    /// Why the latest writing failed, if nothing was written since.
    failure: Option<Error>,
}

impl<'a> Keeper<'a> {
    pub fn new(
        run_dir: &RunDir,
        plan: &Plan,
        origin: &'a Origin,
        stop: Arc<Stop>,
        share: Share,
        crew: Option<Crew>,
    ) -> Result<Self> {
        let keep_last = u32::try_from(plan.keep_last).unwrap_or(u32::MAX);
        let retention = Retention { keep_last, keep_every: plan.keep_every };
        let now = Instant::now();
        Ok(Self {
            root: run_dir.root().to_path_buf(),
            origin,
            clock: Clock::new(stop.time_left()),
            stop,
            progress: ProgressWriter::open(&run_dir.progress())?,
            saver: Saver::new(run_dir.root(), origin, retention),
            every: plan.checkpoint_minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
            parent: None,
            unsaved: None,
            parts: None,
            earlier: Vec::new(),
            resumed: 0,
            share,
            crew,
            pending: Vec::new(),
            scribe: Scribe::new(run_dir.root(), 0, 0)?,
            standing: Standing::default(),
            told: now,
            kept: now,
            blocked: Duration::ZERO,
            has_kept: false,
            failure: None,
        })
    }

    pub fn share(&self) -> Share {
        self.share
    }

    /// The run goes on after the checkpoint with this digest, of this iteration. Returns the particles of the next one
    /// that are done already.
    pub fn goes_on_from(&mut self, iteration: u32, digest: &str) -> Result<usize> {
        self.parent = Some(digest.to_owned());
        let ranks = self.crew.as_ref().map_or(1, |crew| crew.team.size());
        match Parts::load(&self.root, iteration + 1, digest, self.origin, ranks) {
            Ok(None) => Ok(0),
            Ok(Some((parts, finished))) => {
                self.resumed = finished.iter().map(|finished| finished.positions.len()).sum();
                self.earlier = parts.halves().zip(finished).collect();
                self.parts = Some(parts);
                Ok(self.resumed)
            }
            Err(error) => self.repeat(iteration + 1, &error).map(|()| 0),
        }
    }

    fn repeat(&mut self, iteration: u32, error: &Error) -> Result<()> {
        self.warn(&format!("{}; iteration {iteration} begins anew", sentence(error)))
    }

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
    fn settle_all(&mut self) -> Result<()> {
        self.settle()?;
        if let Some(state) = self.unsaved.take() {
            self.saver.begin(state);
            self.settle()?;
        }
        Ok(())
    }

    fn saved(&mut self, saved: Saved) -> Result<()> {
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

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    fn warn(&mut self, text: &str) -> Result<()> {
        self.progress.write(Event::Warning { text: text.to_owned() })
    }

    /// The expectation step of an iteration begins: the other ranks hear of it. `counts`: blocks per half set and optics
    /// group.
    pub fn begin(&mut self, state: &mut State, counts: &[Vec<usize>], iterate: Iterate) -> Result<()> {
        let iteration = state.iteration;
        self.standing = Standing { iteration, done: self.resumed, total: state.half_of.len() };
        self.scribe = Scribe::new(&self.root, iteration, 0)?;
        self.pending.clear();
        if let Some(crew) = &self.crew {
            crew.open(counts, &self.earlier);
            let of_others = |rank| self.parts.iter().flat_map(move |parts: &Parts| parts.of_rank(rank));
            let earlier = (1..crew.team.size()).flat_map(|rank| of_others(rank).map(move |entry| (rank, entry)));
            crew.order(Iterate { earlier: earlier.collect(), ..iterate }, state)?;
            crew.pulse.begin(None);
        }
        self.clock.begin_batch();
        self.tell()
    }

    /// This rank's step is over (`done`: its half sets; none when it was stopped). Waits for the other ranks; whether the
    /// iteration goes on. After a stop everything is kept.
    pub fn close(&mut self, done: Option<&mut [DoneHalf<'_>]>) -> Result<bool> {
        let was_stopped = done.is_none();
        let Some(crew) = self.crew.take() else { return Ok(!was_stopped) };
        let stop = was_stopped.then(|| self.stop.cause().map_or_else(String::new, |cause| cause.to_string()));
        let verdict = crew.close(stop, &mut || self.attend(&crew));
        // What was reported last, so that nothing of this iteration is taken for the next.
        self.attend(&crew)?;
        if matches!(verdict, Ok(Verdict::Stopped)) {
            if let Some(done) = done {
                self.try_to_keep(|keeper| keeper.write_parts(done, None))?;
            }
            if !crew.wait_for_parts(&Arc::clone(&self.stop), &mut || self.attend(&crew))? {
                self.warn("not all ranks kept what they had done: it is done again")?;
            }
            if !self.pending.is_empty() {
                self.try_to_keep(Self::commit_pending)?;
            }
            let Standing { iteration, done, .. } = self.standing;
            self.tell()?;
            self.tell_cause(crew.ledger.stop().unwrap_or_default(), iteration, done)?;
        }
        self.crew = Some(crew);
        Ok(verdict? == Verdict::Whole)
    }

    /// Takes over what the other ranks report.
    fn attend(&mut self, crew: &Crew) -> Result<()> {
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

    /// Maps are being made; the last ones take longer than those before.
    pub fn making_maps(&self, last: bool) {
        if let Some(crew) = &self.crew {
            crew.pulse.begin_maps(self.clock.latest_rest().filter(|_| !last));
        }
    }

    /// The run is over: the other ranks end too.
    pub fn dismiss(&mut self, code: ExitCode) -> Result<()> {
        self.crew.as_mut().map_or(Ok(()), |crew| crew.dismiss(code))
    }

    /// Sizes of what a stop would have to write.
    fn bytes_to_write(&self, done: &[DoneHalf<'_>], midway: &Midway<'_, '_>) -> usize {
        midway.sum_bytes() * (1 + done.iter().filter(|done| !self.scribe.has(done)).count())
    }

    /// Keeps the finished blocks before a stop, unless there is no time for it.
    fn stop_midway(&mut self, writing: Duration, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
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

    /// Tells why the run stops before an iteration that this process has not begun. What an earlier one did of it stays
    /// done.
    pub fn tell_stop_before(&mut self, iteration: u32) -> Result<()> {
        self.tell_stop(iteration, self.resumed)
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

    /// Tells why the run stops, and where it stands.
    fn tell_stop(&mut self, iteration: u32, particles_done: usize) -> Result<()> {
        let cause = self.stop.cause().map_or_else(String::new, |cause| cause.to_string());
        self.tell_cause(cause, iteration, particles_done)
    }

    fn tell_cause(&mut self, cause: String, iteration: u32, particles_done: usize) -> Result<()> {
        self.progress.write(Event::Stopping { cause, iteration, particles_done })
    }

    /// What cannot be written is told; the run goes on, and what was kept before stays.
    fn try_to_keep(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
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

    fn write_parts(&mut self, done: &mut [DoneHalf<'_>], midway: Option<(usize, &mut Midway<'_, '_>)>) -> Result<()> {
        self.settle_all()?;
        if self.parent.is_none() {
            return Err(no_parent());
        }
        let begin = Instant::now();
        let written = self.scribe.write(labels(self.share.halves()), done, midway)?;
        self.commit_since(begin, written.into_iter().map(|entry| (0, entry)).collect())
    }

    /// Parts of other ranks are on disk: from now on they count.
    fn commit_pending(&mut self) -> Result<()> {
        self.settle_all()?;
        if self.parent.is_none() {
            return Err(no_parent());
        }
        let parts = std::mem::take(&mut self.pending);
        self.commit_since(Instant::now(), parts)
    }

    fn commit_since(&mut self, begin: Instant, mut written: Vec<(usize, Entry)>) -> Result<()> {
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

    /// Time in which computing waited for writing, since the last call.
    pub fn take_blocked(&mut self) -> f64 {
        std::mem::take(&mut self.blocked).as_secs_f64()
    }

    /// What the iteration took after its expectation step.
    pub fn rest_took(&mut self, time: Duration) {
        self.clock.rest_took(time);
    }

    fn tell(&mut self) -> Result<()> {
        self.told = Instant::now();
        let Standing { iteration, done, total, .. } = self.standing;
        self.progress.write(Event::Batch { iteration, particles_done: done, particles_total: total })
    }
}

/// An error in one line, for a warning.
fn sentence(error: &Error) -> String {
    match error.place.as_str() {
        "" => error.problem.clone(),
        place => format!("{place}: {}", error.problem),
    }
}

fn no_parent() -> Error {
    Error::internal("the checkpoint before it is not on disk")
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
            self.stop.raise(Cause::EndOfTime);
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
