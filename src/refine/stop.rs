//! Why a run stops before its end. A thread looks for the causes and raises one flag; the flag is read between and
//! within batches.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signal::raise;
use nix::sys::signalfd::SfdFlags;
use nix::sys::signalfd::SignalFd;

use crate::error::Error;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::END_OF_HOURS;
use crate::plan::progress::END_OF_TIME;

/// Signals that ask for a stop.
const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR2];
/// How often the causes are looked for, and how often on the file system.
const PAUSE: Duration = Duration::from_millis(50);
const FILE_PAUSE: Duration = Duration::from_secs(1);
/// End of the job in seconds since 1970, as a Slurm that is new enough tells its jobs.
const SLURM_END: &str = "SLURM_JOB_END_TIME";
const SECONDS_PER_HOUR: f64 = 3600.0;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Signal(Signal),
    /// The time of the batch job is nearly over.
    EndOfTime,
    /// `max_hours` are.
    EndOfHours,
    /// The file RELION_JOB_ABORT_NOW.
    AbortRequest,
    /// Another rank was asked to.
    Others,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(signal.as_str()),
            Self::EndOfTime => f.write_str(END_OF_TIME),
            Self::EndOfHours => f.write_str(END_OF_HOURS),
            Self::AbortRequest => f.write_str("RELION_JOB_ABORT_NOW"),
            Self::Others => f.write_str("another rank"),
        }
    }
}

/// The one flag, and what is known about the time.
#[derive(Debug, Default)]
pub struct Stop {
    raised: AtomicBool,
    cause: Mutex<Option<Cause>>,
    /// The end of `max_hours`, and that of the batch job by the clock on the wall.
    end: Option<Instant>,
    job_end: Option<SystemTime>,
    /// Time that stopping takes, in milliseconds; 0 while the clock is not to end the run.
    needed: AtomicU64,
}

impl Stop {
    /// Starts the thread that looks for causes, on rank 0 also for those that are said once for all ranks. Called after
    /// [`hold_signals`].
    ///
    /// # Errors
    /// `Internal` when the system refuses.
    pub fn watch(run_dir: &RunDir, plan: &Plan, rank: usize) -> Result<Arc<Self>> {
        let signals = stopping();
        let incoming =
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(refused)?;
        let is_first = rank == 0;
        let (end, job_end) = if is_first { (end_of_hours(plan), end_of_job()) } else { (None, None) };
        let stop = Arc::new(Self { end, job_end, ..Self::default() });
        let run_dir = is_first.then(|| run_dir.clone());
        look_for_request(&stop, run_dir.as_ref());
        let watcher = Arc::clone(&stop);
        let look = move || look(&watcher, &incoming, &signals, run_dir.as_ref());
        thread::Builder::new()
            .name("stop".to_owned())
            .spawn(look)
            .map_err(|cause| Error::internal(format!("threads: {cause}")))?;
        Ok(stop)
    }

    /// Raised when the run shall stop.
    pub fn flag(&self) -> &AtomicBool {
        &self.raised
    }

    pub fn cause(&self) -> Option<Cause> {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time until the end of what was given, if that is known.
    pub fn time_left(&self) -> Option<Duration> {
        let own = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        let job = self.job_end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        own.into_iter().chain(job).min()
    }

    /// Raises the flag because the time is nearly over: that of the job or, where it ends first, `max_hours`.
    pub fn raise_end_of_time(&self) {
        let job = self.job_end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        let own = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        let is_own = own.is_some_and(|own| job.is_none_or(|job| own < job));
        self.raise(if is_own { Cause::EndOfHours } else { Cause::EndOfTime });
    }

    /// From now on the run stops when less than this is left.
    pub fn needs(&self, time: Duration) {
        self.needed.store((time.as_millis() as u64).max(1), Relaxed);
    }

    /// Raises the flag; the first cause counts.
    pub fn raise(&self, cause: Cause) {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.raised.store(true, SeqCst);
    }

    fn is_time_over(&self) -> bool {
        let needed = self.needed.load(Relaxed);
        needed > 0 && self.time_left().is_some_and(|left| left.as_millis() as u64 <= needed)
    }
}

fn end_of_hours(plan: &Plan) -> Option<Instant> {
    plan.max_hours.and_then(|hours| Instant::now().checked_add(Duration::from_secs_f64(hours * SECONDS_PER_HOUR)))
}

/// What is no time, or one that no clock will show, is none.
fn end_of_job() -> Option<SystemTime> {
    let seconds = std::env::var(SLURM_END).ok()?.trim().parse::<u64>().ok().filter(|seconds| *seconds > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Holds the signals back that ask for a stop, for [`Stop::watch`]. Called before any thread is started, by MPI or by
/// this program: they must not take signals.
///
/// # Errors
/// `Internal` when the system refuses.
pub fn hold_signals() -> Result<()> {
    stopping().thread_block().map_err(refused)
}

fn stopping() -> SigSet {
    STOPPING.into_iter().collect()
}

fn refused(cause: nix::Error) -> Error {
    Error::internal(format!("signals: {cause}"))
}

fn look_for_request(stop: &Stop, run_dir: Option<&RunDir>) {
    if run_dir.is_some_and(|run_dir| run_dir.abort_request().is_file()) {
        stop.raise(Cause::AbortRequest);
    }
}

/// Looks for causes as long as the process lives.
fn look(stop: &Stop, incoming: &SignalFd, signals: &SigSet, run_dir: Option<&RunDir>) {
    let mut interrupts = 0;
    let mut rest = Duration::ZERO;
    loop {
        while let Ok(Some(received)) = incoming.read_signal() {
            let Ok(signal) = Signal::try_from(received.ssi_signo as i32) else { continue };
            interrupts += u32::from(signal == Signal::SIGINT);
            if interrupts > 1 {
                // At once: as if nobody had held the signal back. What is on disk is whole.
                let _ = signals.thread_unblock().and_then(|()| raise(Signal::SIGINT));
            }
            stop.raise(Cause::Signal(signal));
        }
        if stop.is_time_over() {
            stop.raise_end_of_time();
        }
        if rest.is_zero() {
            rest = FILE_PAUSE;
            look_for_request(stop, run_dir);
        }
        thread::sleep(PAUSE);
        rest = rest.saturating_sub(PAUSE);
    }
}
