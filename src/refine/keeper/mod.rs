//! Keeps what was done: the state after every iteration, the finished blocks within one, and word of both.

mod attendance;
mod disk;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::checkpoint::Entry;
use crate::checkpoint::Origin;
use crate::checkpoint::Parts;
use crate::checkpoint::Retention;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::ProgressWriter;
use crate::refine::clock::Clock;
use crate::refine::crew::Crew;
use crate::refine::ranks::Iterate;
use crate::refine::ranks::Share;
use crate::refine::ranks::Verdict;
use crate::refine::saver::Saver;
use crate::refine::scribe::DoneHalf;
use crate::refine::scribe::Scribe;
use crate::refine::stop::Stop;

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
        // A stop that came between two half sets ended the step as well.
        let stop = self.stop.cause().map(|cause| cause.to_string()).or_else(|| was_stopped.then(String::new));
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

    /// Time in which computing waited for writing, since the last call.
    pub fn take_blocked(&mut self) -> f64 {
        std::mem::take(&mut self.blocked).as_secs_f64()
    }

    /// What the iteration took after its expectation step.
    pub fn rest_took(&mut self, time: Duration) {
        self.clock.rest_took(time);
    }
}
