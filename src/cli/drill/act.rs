//! Runs that are interrupted, and gone on with to their end.

use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;

use crate::cli::engine::signal_name;
use crate::cli::kept;
use crate::cli::parent;
use crate::cli::stop::Incoming;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::Event;
use crate::plan::progress::Record;

use super::disk::Obstacle;

const PAUSE: Duration = Duration::from_millis(2);
/// How long an engine may outlive its launcher, and how long something is waited for beyond the run's own time.
const PATIENCE: Duration = Duration::from_secs(60);
/// A run that is started so often does not come to its end.
const MOST_STARTS: usize = 500;
/// In every warning about a checkpoint or part that could not be written.
const NOT_WRITTEN: &str = "stay";

/// Where a run stands.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Point {
    pub iteration: u32,
    pub particles: usize,
}

/// One start of a run, and its end.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    pub resumed_from: Option<u32>,
    pub resumed_particles: usize,
    pub repeated_particles: usize,
    /// When it was interrupted, after its start, and where that was.
    pub interrupted_after_seconds: Option<f64>,
    pub interrupted_at: Option<Point>,
    /// A code, or the name of a signal.
    pub ended_with: String,
}

/// How an interruption went.
pub enum Met {
    Interrupted,
    /// The run had ended before.
    Late,
    /// Something else happened, in words.
    Wrong(String),
}

/// A run folder at work.
pub struct Act<'a> {
    incoming: &'a Incoming,
    run_dir: RunDir,
    log: PathBuf,
    seen: usize,
    ranks: u32,
    pub starts: Vec<Start>,
}

impl<'a> Act<'a> {
    /// In a prepared run folder; what the run says goes to `log`. A signal to this process that is to stop it ends the
    /// run too, and is an error with the code `Checkpointed`.
    pub fn new(run_dir: RunDir, log: PathBuf, incoming: &'a Incoming, ranks: u32) -> Self {
        Self { incoming, run_dir, log, seen: 0, ranks, starts: Vec::new() }
    }

    /// Runs to the end without interruption.
    pub fn run(&mut self) -> Result<Met> {
        for _ in 0..MOST_STARTS {
            let child = self.begin(None)?;
            match self.end(child, None)?.code() {
                Some(0) => return Ok(Met::Interrupted),
                Some(code) if code == ExitCode::Checkpointed as i32 => {}
                _ => return Ok(self.wrong("0")),
            }
        }
        Ok(Met::Wrong(format!("started {MOST_STARTS} times it has not come to its end")))
    }

    /// Sends a signal after some time.
    pub fn signal(&mut self, signal: Signal, after: Duration) -> Result<Met> {
        let mut child = self.begin(None)?;
        if self.ends_within(&mut child, after)?.is_none() {
            send(&child, signal);
        }
        self.stopped(child, after)
    }

    /// Kills after some time, and when at least so many checkpoints are there.
    pub fn kill(&mut self, after: Duration, checkpoints: usize) -> Result<Met> {
        let begin = Instant::now();
        let mut child = self.begin(None)?;
        while begin.elapsed() < after || self.checkpoints()?.len() < checkpoints {
            if self.ends_within(&mut child, PAUSE)?.is_some() {
                break;
            }
        }
        let at = begin.elapsed();
        // It may have ended by itself.
        let _ = child.kill();
        let status = self.end(child, Some(at))?;
        self.wait_for_silence()?;
        match status.code() {
            None => Ok(Met::Interrupted),
            Some(0) => Ok(Met::Late),
            Some(_) => Ok(self.wrong("SIGKILL")),
        }
    }

    /// Kills one of several ranks after some time: the others end too, and not as if all were well.
    pub fn kill_rank(&mut self, rank: usize, after: Duration) -> Result<Met> {
        let begin = Instant::now();
        let mut child = self.begin(None)?;
        let mut victim = None;
        while self.ends_within(&mut child, PAUSE)?.is_none() && (victim.is_none() || begin.elapsed() < after) {
            victim = victim.or(self.process_of(rank)?);
        }
        let at = begin.elapsed();
        if let Some(victim) = victim {
            // It may have ended by itself.
            let _ = kill(victim, Signal::SIGKILL);
        }
        let status = self.end(child, Some(at))?;
        self.wait_for_silence()?;
        match status.code() {
            Some(0) => Ok(Met::Late),
            Some(code) if code != ExitCode::Checkpointed as i32 => Ok(Met::Interrupted),
            _ => Ok(self.wrong("the code of an error")),
        }
    }

    /// The process of a rank of the present start, once it is told.
    fn process_of(&self, rank: usize) -> Result<Option<Pid>> {
        let records = self.new_records()?;
        let ranks = records.iter().find_map(|record| match &record.event {
            Event::Ranks { ranks } => Some(ranks),
            _ => None,
        });
        Ok(ranks.and_then(|ranks| ranks.get(rank)).map(|place| Pid::from_raw(place.process as i32)))
    }

    /// Stops after some time; then a start in the way of which is `obstacle` until it notices.
    pub fn hindered(&mut self, after: Duration, obstacle: &dyn Obstacle) -> Result<Met> {
        match self.signal(Signal::SIGTERM, after)? {
            Met::Interrupted => {}
            other => return Ok(other),
        }
        let begin = Instant::now();
        let mut child = self.begin(obstacle.file_limit())?;
        while self.ends_within(&mut child, PAUSE)?.is_none() && !self.any(|event| matches!(event, Event::Started(_)))? {
        }
        let held = obstacle.rise()?;
        let noticed = |event: &Event| matches!(event, Event::Warning { text } if text.contains(NOT_WRITTEN));
        while self.ends_within(&mut child, PAUSE)?.is_none() && !self.any(noticed)? {}
        let at = begin.elapsed();
        send(&child, Signal::SIGTERM);
        let status = self.end(child, Some(at));
        drop(held);
        match status?.code() {
            Some(0) => Ok(Met::Late),
            Some(code) if [ExitCode::Checkpointed as i32, ExitCode::Io as i32].contains(&code) => Ok(Met::Interrupted),
            _ => Ok(self.wrong("74 or 75")),
        }
    }

    /// Starts again and again until the end: each start has its time by the plan.
    pub fn by_the_clock(&mut self) -> Result<Met> {
        for number in 0..MOST_STARTS {
            let begin = Instant::now();
            let child = self.begin(None)?;
            let status = self.end(child, None)?;
            match status.code() {
                Some(0) if number == 0 => return Ok(Met::Late),
                Some(0) => return Ok(Met::Interrupted),
                Some(code) if code == ExitCode::Checkpointed as i32 => {
                    if let Some(start) = self.starts.last_mut() {
                        start.interrupted_after_seconds = Some(begin.elapsed().as_secs_f64());
                    }
                }
                _ => return Ok(self.wrong("75 or 0")),
            }
        }
        Ok(Met::Wrong(format!("started {MOST_STARTS} times it has not come to its end: give it a longer --walltime")))
    }

    /// The checkpoints of finished iterations, oldest first.
    pub fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let iterations = kept::iterations(&self.run_dir)?;
        Ok(iterations.into_iter().map(|iteration| kept::checkpoint(&self.run_dir, iteration)).collect())
    }

    fn begin(&self, file_limit: Option<u64>) -> Result<Child> {
        let failed = |cause| Error::writing(&self.log, &cause);
        let log = OpenOptions::new().append(true).create(true).open(&self.log).map_err(failed)?;
        let own = std::env::current_exe().map_err(|cause| Error::internal(format!("own path: {cause}")))?;
        let mut command = Command::new(&own);
        command.args(parent::tied()).arg("resume").arg(self.run_dir.root()).stdin(Stdio::null());
        if self.ranks > 1 {
            command.arg("--ranks").arg(self.ranks.to_string());
        }
        // A group of its own: Ctrl-C on a terminal reaches this program only, which passes it on once.
        command.process_group(0);
        command.stdout(log.try_clone().map_err(failed)?).stderr(log);
        let spawned = super::disk::with_file_limit(file_limit, || command.spawn())?;
        spawned.map_err(|cause| Error::reading(&own, &cause))
    }

    fn ends_within(&self, child: &mut Child, time: Duration) -> Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            match self.look(child)? {
                Some(status) => return Ok(Some(status)),
                None if begin.elapsed() >= time => return Ok(None),
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Whether a start has ended. A signal that has come meanwhile is passed on, and again each that follows.
    fn look(&self, child: &mut Child) -> Result<Option<ExitStatus>> {
        let waiting = |cause| Error::internal(format!("waiting: {cause}"));
        let Some(signal) = self.incoming.next() else { return child.try_wait().map_err(waiting) };
        send(child, signal);
        while child.try_wait().map_err(waiting)?.is_none() {
            if let Some(signal) = self.incoming.next() {
                send(child, signal);
            }
            std::thread::sleep(PAUSE);
        }
        self.wait_for_silence()?;
        Err(Error::new(ExitCode::Checkpointed, "", format!("stopped by {signal}"), ""))
    }

    /// Waits for the end of a start, and remembers it.
    fn end(&mut self, mut child: Child, interrupted: Option<Duration>) -> Result<ExitStatus> {
        let status = loop {
            match self.look(&mut child)? {
                Some(status) => break status,
                None => std::thread::sleep(PAUSE),
            }
        };
        let code = status.code().map(|code| code.to_string());
        let records = self.new_records()?;
        self.seen += records.len();
        let started = records.iter().find_map(|record| match &record.event {
            Event::Started(started) => Some(started),
            _ => None,
        });
        let is_over = status.success();
        self.starts.push(Start {
            resumed_from: started.and_then(|started| started.resumed_from),
            resumed_particles: started.map_or(0, |started| started.resumed_particles),
            repeated_particles: started.map_or(0, |started| started.repeated_particles),
            interrupted_after_seconds: interrupted.filter(|_| !is_over).map(|time| time.as_secs_f64()),
            interrupted_at: if is_over { None } else { records.iter().rev().find_map(|r| point(&r.event)) },
            ended_with: code.or_else(|| signal_name(status)).unwrap_or_default(),
        });
        Ok(status)
    }

    fn stopped(&mut self, child: Child, after: Duration) -> Result<Met> {
        match self.end(child, Some(after))?.code() {
            Some(0) => Ok(Met::Late),
            Some(code) if code == ExitCode::Checkpointed as i32 => Ok(Met::Interrupted),
            _ => Ok(self.wrong("75")),
        }
    }

    fn wrong(&self, expected: &str) -> Met {
        let ended = self.starts.last().map_or("", |start| start.ended_with.as_str());
        Met::Wrong(format!("it ended with {ended} instead of {expected}; see {}", self.log.display()))
    }

    fn new_records(&self) -> Result<Vec<Record>> {
        match progress::read(&self.run_dir.progress()) {
            Ok(records) => Ok(records.into_iter().skip(self.seen).collect()),
            Err(error) if error.code == ExitCode::NoInput => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn any(&self, is_it: impl Fn(&Event) -> bool) -> Result<bool> {
        Ok(self.new_records()?.iter().any(|record| is_it(&record.event)))
    }

    /// The engine of a killed launcher dies a moment later; nobody else may start before.
    fn wait_for_silence(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.run_dir.lock() {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }
}

/// What an event tells of where the run stands.
fn point(event: &Event) -> Option<Point> {
    match event {
        Event::Batch { iteration, particles_done, .. }
        | Event::Part { iteration, particles_done, .. }
        | Event::Stopping { iteration, particles_done, .. } => {
            Some(Point { iteration: *iteration, particles: *particles_done })
        }
        Event::IterationStarted { iteration } => Some(Point { iteration: *iteration, particles: 0 }),
        _ => None,
    }
}

fn send(child: &Child, signal: Signal) {
    // It may have ended a moment ago.
    let _ = kill(Pid::from_raw(child.id() as i32), signal);
}

/// Flips one bit in the middle of a file.
pub fn flip_a_bit(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let flip = || -> std::io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        let middle = file.metadata()?.len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, middle)?;
        file.write_all_at(&[byte[0] ^ 1], middle)
    };
    flip().map_err(|cause| Error::writing(path, &cause))
}
