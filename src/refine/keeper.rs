//! Keeps what was done: the state after every iteration, the finished blocks within one, and word of both.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use crate::arena;
use crate::checkpoint::Committed;
use crate::checkpoint::Origin;
use crate::checkpoint::Part;
use crate::checkpoint::Parts;
use crate::checkpoint::Retention;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::products::Finished;
use crate::expectation::products::Half;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;
use crate::product::Voxel;

use super::clock::Clock;
use super::saver::Saved;
use super::saver::Saver;
use super::stop::Cause;
use super::stop::Stop;

/// Shortest time between two words about progress.
const PAUSE: Duration = Duration::from_secs(1);

/// A finished half set and its integer sums, one volume a class.
pub type DoneHalf<'f> = (Half, Vec<&'f mut [SumVoxel]>);

/// Where an iteration stands.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    iteration: u32,
    /// Particles of the finished half sets, of the finished blocks with those, and in all.
    before: usize,
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
    /// Parts of an earlier process, one a half set.
    earlier: Vec<Part>,
    /// The particles in them.
    resumed: usize,
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
    pub fn new(run_dir: &RunDir, plan: &Plan, origin: &'a Origin, stop: Arc<Stop>) -> Result<Self> {
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
            standing: Standing::default(),
            told: now,
            kept: now,
            blocked: Duration::ZERO,
            has_kept: false,
            failure: None,
        })
    }

    pub fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// The run goes on after the checkpoint with this digest, of this iteration. Returns the particles of the next one
    /// that are done already.
    pub fn goes_on_from(&mut self, iteration: u32, digest: &str) -> Result<usize> {
        self.parent = Some(digest.to_owned());
        match Parts::load(&self.root, iteration + 1, digest, self.origin) {
            Ok(None) => Ok(0),
            Ok(Some((parts, earlier))) => {
                let mut done = 0;
                for part in &earlier {
                    match part.finished() {
                        Ok(finished) => done += finished.positions.len(),
                        Err(error) => return self.repeat(iteration + 1, &error).map(|()| 0),
                    }
                }
                (self.parts, self.earlier, self.resumed) = (Some(parts), earlier, done);
                Ok(done)
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

    /// The expectation step of an iteration begins.
    pub fn begin(&mut self, iteration: u32, particles: usize) -> Result<()> {
        self.standing = Standing { iteration, before: 0, done: self.resumed, total: particles };
        self.clock.begin_batch();
        self.tell()
    }

    /// What an earlier process finished of a half set.
    pub fn earlier(&mut self, half: usize) -> Result<Option<(Finished, Part)>> {
        let Some(part) = self.earlier.get(half).cloned() else { return Ok(None) };
        Ok(Some((part.finished()?, part)))
    }

    /// A half set is finished.
    pub fn half_done(&mut self, particles: usize) {
        self.standing.before += particles;
        self.standing.done = self.standing.before;
    }

    /// Called after every batch: tells, keeps what is due, and says whether the step goes on.
    pub fn after_batch(
        &mut self,
        half: usize,
        labels: &[u8],
        done: &mut [DoneHalf<'_>],
        midway: &mut Midway<'_, '_>,
    ) -> Result<Next> {
        self.standing.done = self.standing.before + midway.particles_done();
        self.clock.end_batch();
        if self.saver.is_done() {
            self.settle()?;
        }
        let bytes = midway.sum_bytes() * (half + 1 - self.whole_halves(half));
        self.stop.needs(self.clock.stopping(bytes));
        let is_complete = self.standing.done == self.standing.total;
        if is_complete && self.stop.time_left().is_some_and(|left| left < self.clock.finishing(bytes)) {
            self.stop.raise(Cause::EndOfTime);
        }
        if self.stop.flag().load(Relaxed) {
            self.stop_midway(self.clock.writing(bytes), |keeper| keeper.write_parts(half, labels, done, midway))?;
            return Ok(Next::Stop);
        }
        // What follows may take long, and nothing stops it.
        let is_before_long = is_complete && self.clock.is_long_rest(bytes);
        if is_before_long || self.every.is_some_and(|every| self.kept.elapsed() >= every) {
            self.try_to_keep(|keeper| keeper.write_parts(half, labels, done, midway))?;
        }
        if self.told.elapsed() >= PAUSE {
            self.tell()?;
        }
        self.clock.begin_batch();
        Ok(Next::GoOn)
    }

    fn whole_halves(&self, half: usize) -> usize {
        (0..half).filter(|h| self.parts.as_ref().is_some_and(|parts| parts.is_whole(*h))).count()
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

    fn write_parts(
        &mut self,
        half: usize,
        labels: &[u8],
        done: &mut [DoneHalf<'_>],
        midway: &mut Midway<'_, '_>,
    ) -> Result<()> {
        let begin = Instant::now();
        self.settle_all()?;
        let Some(parent) = &self.parent else {
            return Err(Error::internal("the checkpoint before it is not on disk"));
        };
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => Parts::new(&self.root, self.standing.iteration, parent, self.origin)?,
        };
        let written = write_all(&mut parts, half, labels, done, midway);
        self.parts = Some(parts);
        let Committed { index, bytes, leftover } = written?;
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

/// The half sets before this one, unless they are kept already, and this one as far as it is.
fn write_all(
    parts: &mut Parts,
    half: usize,
    labels: &[u8],
    done: &mut [DoneHalf<'_>],
    midway: &mut Midway<'_, '_>,
) -> Result<Committed> {
    for (number, (finished, sums)) in done.iter_mut().enumerate() {
        if !parts.is_whole(number) {
            let sums: Vec<&[Voxel]> = sums.iter_mut().map(|s| &*arena::recast::<SumVoxel, Voxel>(s)).collect();
            parts.write(number, labels[number], &finished.finished(), &sums, true)?;
        }
    }
    let finished = midway.finished();
    midway.with_sums(|sums| parts.write(half, labels[half], &finished, sums, false))?;
    parts.commit()
}
