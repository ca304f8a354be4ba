//! Starts the engine beside this program and stays with it: signals go in, progress and the exit code come out.

use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::Follower;

use super::engine;
use super::follow::Display;
use super::kept;
use super::ranks;
use super::screen::Screen;
use super::stop::Incoming;

/// How often progress and signals are looked at.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs the engine in a prepared run folder to its end, with flags of its own, in so many ranks.
///
/// # Errors
/// `Unavailable` when the engine's program is missing; `Internal` when it dies of a signal. Its own errors
/// are told by itself, on standard error; here only their code comes back. When its work is done and could not be
/// shown, that is the error.
pub fn engine(run_dir: &RunDir, plan: &Plan, flags: &[&str], ranks: u32, screen: &Screen) -> Result<ExitCode> {
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
    let incoming = Incoming::new()?;

    let mut follower = Follower::from_end(&run_dir.progress());
    let mut command = ranks::command(&program, ranks)?;
    command.arg(&root).args(flags).args(ranks::tied(ranks)).current_dir(&plan.working_directory);
    if screen.is_json() {
        command.arg("--json");
    }
    // A group of its own: Ctrl-C on a terminal reaches this program only, which passes it on once.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| engine::not_started(&program, &cause))?;
    let mut display = Display::new(*screen);
    let messages = forward_messages(&mut child, display.clone());
    // Of several ranks the first one, once it is known: MPI's launcher would end them all at once.
    let mut first = (ranks == 1).then(|| child.id());
    let mut sent = None;
    let mut told = Ok(());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|cause| Error::reading(&program, &cause))? {
            break status;
        }
        while let Some(signal) = incoming.next() {
            sent = Some(signal);
            // It may have ended a moment ago; then there is nothing to tell.
            let _ = kill(Pid::from_raw(first.unwrap_or(child.id()) as i32), signal);
        }
        // The engine's work matters more than its display: what cannot be shown must not end it.
        if told.is_ok() {
            told = show(&mut follower, &mut display, &mut first);
        }
        std::thread::sleep(PAUSE);
    };
    if let Some(messages) = messages {
        // It only copies lines; were it to panic, the lines would be lost and the code still right.
        let _ = messages.join();
    }
    let told = told.and_then(|()| show(&mut follower, &mut display, &mut first));
    display.finish();
    if sent.is_some() && status.signal() == sent.map(|signal| signal as i32) {
        return Ok(stopped(run_dir, plan, screen));
    }
    match outcome(status, run_dir)? {
        ExitCode::Done => told.map(|()| ExitCode::Done),
        other => Ok(other),
    }
}

/// Shows what is new, and learns the process of the first rank where that is no child of this one.
fn show(follower: &mut Follower, display: &mut Display, first: &mut Option<u32>) -> Result<()> {
    for record in follower.poll()? {
        if let Event::Started(started) = &record.event {
            first.get_or_insert(started.process);
        }
        display.show(&record)?;
    }
    Ok(())
}

/// The engine was stopped within an iteration; what was finished before is on disk.
fn stopped(run_dir: &RunDir, plan: &Plan, screen: &Screen) -> ExitCode {
    let out = plan.out.display();
    // When the folder cannot be read, the next start tells why.
    let last = kept::iterations(run_dir).ok().and_then(|iterations| iterations.last().copied());
    let goes_on = match last {
        Some(last) if kept::has_parts(run_dir, last + 1) => {
            format!("goes on after iteration {last}, with what is finished of iteration {}", last + 1)
        }
        Some(last) => format!("goes on after iteration {last}"),
        None => "starts anew: there is no checkpoint yet".to_owned(),
    };
    screen.warning(&format!("stopped; `relion-rs resume {out}`, or the same command, {goes_on}"));
    ExitCode::Checkpointed
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
