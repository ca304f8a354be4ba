//! Starts the engine beside this program and stays with it: signals go in, progress and the exit code come out.

use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::sys::signalfd::SfdFlags;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::Event;
use crate::plan::progress::Follower;
use crate::plan::progress::Record;

use super::engine;
use super::follow::Display;
use super::screen::Screen;

/// A person or a batch system that sends one of these knows about it; they are passed on to the engine.
const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR2];
/// How often progress and signals are looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the engine in a prepared run folder to its end, with flags of its own.
///
/// # Errors
/// `Unavailable` when the engine's program is missing; `Internal` when it dies of a signal. Its own errors
/// are told by itself, on standard error; here only their code comes back. When its work is done and could not be
/// shown, that is the error.
pub fn engine(run_dir: &RunDir, plan: &Plan, flags: &[&str], screen: &Screen) -> Result<ExitCode> {
    let program = engine::program()?;
    let root = std::path::absolute(run_dir.root()).map_err(|cause| Error::reading(run_dir.root(), &cause))?;
    if !plan.working_directory.is_dir() {
        return Err(Error::new(
            ExitCode::NoInput,
            plan.working_directory.display().to_string(),
            "is gone: the relative paths of this run start there",
            "Bring the folder back, or start a new run.",
        ));
    }
    // Signals are held back before the engine starts and forwarded afterwards: none is lost in between.
    // The engine inherits the mask and lifts it first thing.
    let mut signals = SigSet::empty();
    for signal in STOPPING {
        signals.add(signal);
    }
    let held = |cause: nix::Error| Error::internal(format!("signals: {cause}"));
    signals.thread_block().map_err(held)?;
    let incoming = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(held)?;

    let mut follower = Follower::from_end(&run_dir.progress());
    let mut command = Command::new(&program);
    command.arg(&root).args(flags).arg("--die-with-parent").current_dir(&plan.working_directory);
    if screen.is_json() {
        command.arg("--json");
    }
    // A group of its own: Ctrl-C on a terminal reaches this program only, which passes it on once.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| engine::not_started(&program, &cause))?;
    let mut display = Display::new(*screen);
    let messages = forward_messages(&mut child, display.clone());
    let mut sent = None;
    let mut told = Ok(());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|cause| Error::reading(&program, &cause))? {
            break status;
        }
        while let Ok(Some(signal)) = incoming.read_signal() {
            sent = Signal::try_from(signal.ssi_signo as i32).ok();
            pass_on(signal.ssi_signo as i32, &child);
        }
        // The engine's work matters more than its display: what cannot be shown must not end it.
        if told.is_ok() {
            told = show(&mut follower, &mut display);
        }
        std::thread::sleep(PAUSE);
    };
    if let Some(messages) = messages {
        // It only copies lines; were it to panic, the lines would be lost and the code still right.
        let _ = messages.join();
    }
    let told = told.and_then(|()| show(&mut follower, &mut display));
    display.finish();
    if sent.is_some() && status.signal() == sent.map(|signal| signal as i32) {
        return Ok(stopped(run_dir, plan, screen));
    }
    match outcome(status, run_dir)? {
        ExitCode::Done => told.map(|()| ExitCode::Done),
        other => Ok(other),
    }
}

/// Shows what is new.
fn show(follower: &mut Follower, display: &mut Display) -> Result<()> {
    follower.poll()?.iter().try_for_each(|record| display.show(record))
}

/// The engine was stopped within an iteration; what was finished before is on disk.
fn stopped(run_dir: &RunDir, plan: &Plan, screen: &Screen) -> ExitCode {
    let out = plan.out.display();
    let last = progress::read(&run_dir.progress()).ok().and_then(|records| last_checkpoint(&records));
    let goes_on = match last {
        Some(iteration) => format!("goes on after iteration {iteration}"),
        None => "starts anew: there is no checkpoint yet".to_owned(),
    };
    screen.warning(&format!("stopped; `relion-rs resume {out}`, or the same command, {goes_on}"));
    ExitCode::Checkpointed
}

fn last_checkpoint(records: &[Record]) -> Option<u32> {
    records.iter().rev().find_map(|record| match record.event {
        Event::Checkpoint { iteration, .. } => Some(iteration),
        _ => None,
    })
}

fn pass_on(signal: i32, child: &Child) {
    if let Ok(signal) = Signal::try_from(signal) {
        // The child may have ended a moment ago; then there is nothing to tell.
        let _ = kill(Pid::from_raw(child.id() as i32), signal);
    }
}

/// Copies the engine's standard error, line by line, without tearing the progress bar.
fn forward_messages(child: &mut Child, display: Display) -> Option<std::thread::JoinHandle<()>> {
    let stream = child.stderr.take()?;
    Some(std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(std::result::Result::ok) {
            display.message(&String::from_utf8_lossy(&line));
        }
    }))
}

fn outcome(status: ExitStatus, run_dir: &RunDir) -> Result<ExitCode> {
    match engine::signal_name(status) {
        Some(name) => Err(Error::new(
            ExitCode::Internal,
            run_dir.root().display().to_string(),
            format!("the engine was ended by {name}"),
            "If nobody sent it, SIGKILL means that the system ran out of memory (try --memory) and SIGABRT a defect \
             of relion-rs. Run the same command again: it goes on from the last checkpoint.",
        )),
        None => engine::code(status),
    }
}
