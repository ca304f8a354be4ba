//! A rank that does what rank 0 orders.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::background::Background;
use crate::checkpoint::Entry;
use crate::checkpoint::Part;
use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::expectation::products::Supply;
use crate::model::State;
use crate::plan::InstructionSet;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;
use crate::refine::Job;
use crate::refine::attendant::Attendant;
use crate::refine::attendant::labels;
use crate::refine::attendant::read_parts;
use crate::refine::files::Files;
use crate::refine::images::Images;
use crate::refine::inputs::Inputs;
use crate::refine::scribe::DoneHalf;
use crate::refine::scribe::Scribe;
use crate::refine::step::Engine;
use crate::refine::stop::Stop;

use super::life::ABSENCE;
use super::life::SILENCE;
use super::message::Order;
use super::message::Report;
use super::message::Verdict;
use super::pulse::Pulse;
use super::roster::Chosen;
use super::share::Share;
use super::supply::Remote;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Works for rank 0 until it says that this is the end.
///
/// # Errors
/// Whatever is wrong here; the caller tells rank 0.
pub fn follow(
    run_dir: &RunDir,
    plan: &Plan,
    isa: InstructionSet,
    on: &Chosen,
    team: &Team,
    leader: &str,
    stop: &Arc<Stop>,
) -> Result<ExitCode> {
    let pulse = Arc::new(Pulse::default());
    pulse.begin(None);
    let _beating = start_beating(*team, Arc::clone(&pulse), run_dir.clone(), leader.to_owned())?;
    let inputs = Inputs::load_for(plan, isa, &on.identity)?;
    // Rank 0 tells what there is to say about them.
    let (images, _) = Images::of_run(&inputs)?;
    let files = Files::new(run_dir, plan);
    let job = Job { plan, inputs: &inputs, images: &images, files: &files };
    let mut engine = Engine::new(plan, &inputs, Vec::new(), on.device.as_ref())?;
    engine.notes().iter().try_for_each(|note| run_dir.tell_log(team.rank(), note))?;
    let mut longest_maps = None;
    loop {
        pulse.wait();
        match team.receive::<Order>(Some(0), Tag::Order)?.1 {
            Order::End { code } => return Ok(ExitCode::from_code(code).unwrap_or(ExitCode::Internal)),
            Order::Iterate(iterate) => {
                pulse.tell_particles(0);
                let mut state: State = team.broadcast_from(0)?;
                for class in state.halves.iter_mut().flat_map(|half| &mut half.classes) {
                    class.map.data = vec![0.0; class.map.box_pixels.pow(3)];
                    team.broadcast_numbers(0, &mut class.map.data)?;
                }
                let mut follower = Follower {
                    team: *team,
                    share: Share::new(*team, state.halves.len(), plan.classes),
                    run_folder: run_dir.root().to_path_buf(),
                    stop: Arc::clone(stop),
                    pulse: Arc::clone(&pulse),
                    every: plan.checkpoint_minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
                    earlier: iterate.earlier.into_iter().filter(|(r, _)| *r == team.rank()).map(|(_, e)| e).collect(),
                    scribe: Scribe::new(run_dir.root(), state.iteration, team.rank())?,
                    kept: Instant::now(),
                    batch: Instant::now(),
                    longest: None,
                    longest_maps,
                };
                engine.assist(&job, &mut follower, state, iterate.last, iterate.usual_spread)?;
                longest_maps = follower.longest_maps;
            }
        }
    }
}

/// Shows that this rank lives, and looks whether rank 0 does, which is on the node `leader`.
fn start_beating(team: Team, pulse: Arc<Pulse>, run_dir: RunDir, leader: String) -> Result<Background> {
    Background::start("beat", move |over| {
        if let Err(error) = beat(&team, &pulse, &leader, over) {
            // Rank 0 cannot say it any more. Where it cannot be written, standard error has it.
            let failed = Event::Failed { code: error.code as u8, message: error.to_string() };
            let _ = ProgressWriter::open(&run_dir.progress()).and_then(|mut writer| writer.write(failed));
            let _ = writeln!(std::io::stderr(), "error: rank {}: {error}", team.rank());
            team.abort(error.code as u8);
        }
    })
}

fn beat(team: &Team, pulse: &Pulse, leader: &str, over: &AtomicBool) -> Result<()> {
    // Nothing is said of rank 0 before it was heard.
    let (mut heard, mut sent) = (None, None::<Instant>);
    let mut passed = Instant::now();
    while !over.load(SeqCst) {
        if passed.elapsed() > ABSENCE {
            // This rank was suspended, perhaps with all others.
            heard = heard.map(|_| Instant::now());
        }
        passed = Instant::now();
        if sent.is_none_or(|sent| sent.elapsed() >= BEAT) {
            sent = Some(Instant::now());
            team.send(0, Tag::Beat, &pulse.beat())?;
        }
        while team.poll::<()>(Some(0), Tag::Alive)?.is_some() {
            heard = Some(Instant::now());
        }
        if let Some(silence) =
            heard.map(|heard| heard.elapsed()).filter(|silence| *silence > SILENCE && !pulse.is_parting())
        {
            return Err(Error::new(
                ExitCode::Internal,
                format!("rank 0 on {leader}"),
                format!("gives no sign of life for {} s", silence.as_secs()),
                "Look at its node; run the same command again: it goes on from the last checkpoint.",
            ));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// One iteration of a follower.
pub struct Follower {
    pub team: Team,
    pub share: Share,
    run_folder: PathBuf,
    stop: Arc<Stop>,
    pulse: Arc<Pulse>,
    /// Longest time without a part.
    every: Option<Duration>,
    /// Parts that this rank goes on with.
    earlier: Vec<Entry>,
    scribe: Scribe,
    kept: Instant,
    batch: Instant,
    /// Longest batch so far, and longest making of maps.
    longest: Option<Duration>,
    longest_maps: Option<Duration>,
}

impl Follower {
    fn report(&self, report: &Report) -> Result<()> {
        self.team.send(0, Tag::Report, report)
    }

    /// Writes what is new. What cannot be written is told, and the work goes on.
    fn keep(&mut self, done: &mut [DoneHalf<'_>], midway: Option<(usize, &mut Midway<'_, '_>)>) -> Result<()> {
        self.kept = Instant::now();
        match self.scribe.write(labels(self.share.halves()), done, midway) {
            Ok(entries) if entries.is_empty() => Ok(()),
            Ok(entries) => self.report(&Report::Parts(entries)),
            Err(error) => self.report(&Report::Warning(format!("{}: {}; not kept yet", error.place, error.problem))),
        }
    }

    /// Tells that the step is over here, and hears how it ends for all. After a stop everything is kept.
    pub fn close(&mut self, done: &mut [DoneHalf<'_>]) -> Result<Verdict> {
        let stop = self.stop.cause().map(|cause| cause.to_string());
        self.report(&Report::Ended { stop })?;
        self.pulse.wait();
        let (_, verdict) = self.team.receive(Some(0), Tag::Verdict)?;
        if verdict == Verdict::Stopped {
            // Rank 0 may end before all is written here.
            self.pulse.part();
            self.pulse.begin(None);
            self.keep(done, None)?;
            self.report(&Report::Kept)?;
        }
        Ok(verdict)
    }

    fn is_stopping(&self) -> bool {
        self.stop.flag().load(SeqCst)
    }

    /// Maps are being made; the last ones take longer than those before.
    pub fn making_maps<R>(&mut self, last: bool, make: impl FnOnce() -> Result<R>) -> Result<R> {
        self.pulse.begin_maps(self.longest_maps.filter(|_| !last));
        let begin = Instant::now();
        let made = make()?;
        self.longest_maps = self.longest_maps.max(Some(begin.elapsed()));
        Ok(made)
    }
}

impl Attendant for Follower {
    fn stop(&self) -> Arc<Stop> {
        Arc::clone(&self.stop)
    }

    fn supply(&self, half: usize) -> Option<Arc<dyn Supply + Send + Sync>> {
        let is_ours = self.share.owns_of(half);
        Some(Arc::new(Remote { team: self.team, half, is_ours, stop: Arc::clone(&self.stop) }))
    }

    fn earlier(&mut self, half: usize) -> Result<Vec<(Finished, Part)>> {
        self.pulse.begin(None);
        self.batch = Instant::now();
        let entries: Vec<&Entry> = self.earlier.iter().filter(|entry| entry.half == half).collect();
        let parts = read_parts(&self.run_folder, &entries)?;
        parts.iter().for_each(|(finished, _)| self.scribe.take_over(half, finished.positions.len()));
        Ok(parts)
    }

    fn after_batch(&mut self, half: usize, done: &mut [DoneHalf<'_>], midway: &mut Midway<'_, '_>) -> Result<Next> {
        self.longest = self.longest.max(Some(self.batch.elapsed()));
        let before: usize = done.iter().map(|done| done.step.particles_done()).sum();
        self.pulse.tell_particles(before + midway.particles_done());
        // Writing takes as long as the disk wants.
        self.pulse.begin(None);
        if self.is_stopping() {
            self.keep(done, Some((half, midway)))?;
            return Ok(Next::Stop);
        }
        if self.every.is_some_and(|every| self.kept.elapsed() >= every) {
            self.keep(done, Some((half, midway)))?;
        }
        self.batch = Instant::now();
        self.pulse.begin(self.longest);
        Ok(Next::GoOn)
    }
}
