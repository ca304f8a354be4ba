//! `cancel`: ends the jobs of a run for good, if wanted with a fresh checkpoint.

use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::Event;
use crate::plan::progress::Follower;
use crate::plan::progress::Record;
use crate::slurm;
use crate::slurm::Failure;

use super::jobs;
use super::jobs::Jobs;
use super::resume::not_a_run;
use super::screen::Screen;
use super::screen::duration;
use super::status::is_at_work;

/// How often the run is looked at while its checkpoint is waited for, how often Slurm is asked, and how often it is told.
const PAUSE: Duration = Duration::from_millis(200);
const SLURM_PAUSE: Duration = Duration::from_secs(10);
const TELL: Duration = Duration::from_secs(10);

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Let the run save its work first
    #[arg(long)]
    pub checkpoint_first: bool,
    /// How long that is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "checkpoint_first")]
    pub wait: u64,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let run_dir = RunDir::new(&arguments.run_dir);
    Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    let jobs = Jobs::of(&run_dir)?;
    if jobs.submissions.is_empty() {
        return here(arguments, &run_dir, screen);
    }
    let seen = jobs.look();
    let silent = jobs::silent(&seen);
    let is_active = |job: &crate::slurm::Job| job.state.is_active();
    // A job that nobody could say anything about may still be there.
    let is_meant = |seen: &slurm::Seen| seen.job.as_ref().map_or(!seen.silent.is_empty(), is_active);
    let meant: Vec<&str> = seen.iter().filter(|(_, seen)| is_meant(seen)).map(|(id, _)| id.as_str()).collect();
    let Some(last) = meant.last() else {
        let ended =
            jobs::foremost(&seen).map_or_else(|| "has ended".to_owned(), |job| format!("has ended: {}", job.state));
        let id = jobs.ids().last().copied().unwrap_or_default().to_owned();
        return tell(screen, &[], false, &format!("job {id} {ended}; there is nothing to cancel"));
    };
    let running = seen.iter().filter_map(|(_, seen)| seen.job.as_ref()).find(|job| job.state.is_running());
    let mut has_checkpoint = false;
    if arguments.checkpoint_first {
        match running {
            Some(job) => {
                // What waits for its end must not start when it ends.
                let others: Vec<&str> = meant.iter().copied().filter(|id| *id != job.id).collect();
                if !others.is_empty() {
                    cancel(&others)?;
                }
                let is_there = || slurm::look(&job.id).job.is_none_or(|job| job.state.is_running());
                has_checkpoint = checkpoint(&run_dir, arguments.wait, &is_there, screen)?;
                // A job that saved its work on request ends by itself, perhaps just now.
                if is_there()
                    && let Err(error) = cancel(&[&job.id])
                    && is_there()
                {
                    return Err(error);
                }
            }
            None if silent.is_empty() => cancel(&meant)?,
            None => {
                return Err(Error::new(
                    ExitCode::Unavailable,
                    format!("job {last}"),
                    format!("nobody says whether it runs: {}", silent.join("; ")),
                    "Leave out --checkpoint-first to cancel it all the same, or try again later.",
                ));
            }
        }
    } else {
        cancel(&meant)?;
    }
    let saved = if has_checkpoint { " after a checkpoint" } else { "" };
    let text =
        format!("cancelled{saved}: job {}; `relion-rs resume {}` goes on", meant.join(", "), run_dir.root().display());
    tell(screen, &meant, has_checkpoint, &text)
}

fn tell(screen: &Screen, cancelled: &[&str], has_checkpoint: bool, text: &str) -> Result<ExitCode> {
    if screen.is_json() {
        screen.print_json(&serde_json::json!({ "cancelled": cancelled, "checkpoint": has_checkpoint }))?;
    } else {
        screen.print(text)?;
    }
    Ok(ExitCode::Done)
}

fn cancel(ids: &[&str]) -> Result<()> {
    slurm::cancel(ids).map_err(|failure| {
        let command = format!("scancel {}", ids.join(" "));
        let fix = match failure {
            Failure::Absent { .. } => format!("Type it on a machine of the cluster: `{command}`."),
            _ => format!("Look at the job with `relion-rs status`; `{command}` is what was tried."),
        };
        Error::new(ExitCode::Unavailable, format!("job {}", ids.join(", ")), failure.to_string(), fix)
    })
}

/// Asks the run to stop with a checkpoint, and waits for it; false when there was none in time.
fn checkpoint(run_dir: &RunDir, wait: u64, is_there: &dyn Fn() -> bool, screen: &Screen) -> Result<bool> {
    let mut follower = Follower::from_end(&run_dir.progress());
    let request = run_dir.abort_request();
    File::create(&request).map_err(|cause| Error::writing(&request, &cause))?;
    let begin = Instant::now();
    let (mut told, mut asked) = (begin, begin);
    screen.message(&format!("asked the run to stop with a checkpoint; waiting for it, at most {wait} s"));
    let is_saved = loop {
        if follower.poll()?.iter().any(is_stop_with_checkpoint) {
            break true;
        }
        if begin.elapsed() >= Duration::from_secs(wait) {
            screen.warning(&format!("no checkpoint within {wait} s; what was saved before is kept"));
            break false;
        }
        if asked.elapsed() >= SLURM_PAUSE {
            asked = Instant::now();
            if !is_there() {
                // It may have said its last word in the meantime.
                break follower.poll()?.iter().any(is_stop_with_checkpoint);
            }
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            screen.message(&format!("waiting for the checkpoint, {}", duration(begin.elapsed().as_secs_f64())));
        }
        thread::sleep(PAUSE);
    };
    // Taken by the engine as a rule; what is left would stop the next start.
    match fs::remove_file(&request) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(Error::writing(&request, &cause)),
        _ => Ok(is_saved),
    }
}

fn is_stop_with_checkpoint(record: &Record) -> bool {
    matches!(record.event, Event::Finished { .. })
}

/// A run that was never submitted: it works on this machine or not at all.
fn here(arguments: &Arguments, run_dir: &RunDir, screen: &Screen) -> Result<ExitCode> {
    let place = run_dir.root().display().to_string();
    let records = progress::read_or_none(&run_dir.progress())?;
    let started = records.iter().rev().find_map(|record| match &record.event {
        Event::Finished { .. } | Event::Failed { .. } => Some(None),
        Event::Started(started) => Some(Some(started)),
        _ => None,
    });
    match started.flatten().map(|started| (started, is_at_work(started))) {
        Some((started, Some(true))) if arguments.checkpoint_first => {
            let is_there = || is_at_work(started) == Some(true);
            let is_saved = checkpoint(run_dir, arguments.wait, &is_there, screen)?;
            let text = format!("stopped with a checkpoint; `relion-rs resume {place}` goes on");
            match is_saved {
                true => tell(screen, &[], true, &text),
                false => Err(Error::new(
                    ExitCode::Unavailable,
                    place,
                    format!("process {} did not stop", started.process),
                    format!("`kill {}` asks it once more; `kill -9 {0}` ends it at once.", started.process),
                )),
            }
        }
        Some((started, at_work)) if at_work != Some(false) => Err(Error::new(
            ExitCode::Usage,
            place,
            format!("was not submitted: it runs on {} as process {}", started.host, started.process),
            format!(
                "Ctrl-C where it was started, `kill {}` there, or --checkpoint-first here: each stops it with a checkpoint.",
                started.process
            ),
        )),
        _ => Err(Error::new(
            ExitCode::Usage,
            place,
            "was not submitted, and nothing works on it",
            "There is nothing to cancel; `relion-rs status` tells more.",
        )),
    }
}
