//! `external`: what RELION's External job calls, `--o External/job012/ --in_parts P --in_3dref R --in_mask M --j N` and the
//! parameters of the GUI, `--label value`. The job's folder becomes the run folder.

mod ends;
mod nodes;
mod step;
mod words;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::Event;

use self::ends::End;
use self::words::Words;
use super::job::JobArguments;
use super::run;
use super::screen::Screen;

/// The cause that the engine tells when the file RELION_JOB_ABORT_NOW stopped it.
const ABORT_REQUEST: &str = "RELION_JOB_ABORT_NOW";

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// As RELION gives them: --o DIR --in_parts STAR --in_3dref MAP [--in_mask MAP] [--j THREADS] [--KEY VALUE ...]
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub words: Vec<OsString>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let words = Words::read(&arguments.words)?;
    let job = words.job();
    let threads = job.as_ref().ok().and_then(|(_, keys)| keys.threads);
    step::become_one(&arguments.words, threads, screen)?;
    let folder = PathBuf::from(&words.out);
    fs::create_dir_all(&folder).map_err(|cause| Error::writing(&folder, &cause))?;
    // What an earlier start left would tell RELION that this one has ended.
    End::clear(&words.flag_folder)?;
    let outcome = job.and_then(|(kind, flags)| {
        let job = JobArguments { job: Some(PathBuf::from(kind.name())), flags };
        let code = run::run(run::Arguments { job, ranks: 1 }, screen)?;
        if code == ExitCode::Done {
            nodes::write(&words.out, kind)?;
        }
        Ok(code)
    });
    match end_of(&outcome, &RunDir::new(&folder))? {
        Some(end) => end.mark(&words.flag_folder)?,
        None => screen.warning("stopped with a checkpoint: the same command, or the batch system, goes on"),
    }
    outcome
}

/// What RELION shall know; `None` while the batch job will come back.
fn end_of(outcome: &Result<ExitCode>, run_dir: &RunDir) -> Result<Option<End>> {
    Ok(match outcome {
        Ok(ExitCode::Done) => Some(End::Success),
        Ok(ExitCode::Checkpointed) => {
            let is_batch = std::env::var_os("SLURM_JOB_ID").is_some();
            (!is_batch || was_aborted(run_dir)?).then_some(End::Aborted)
        }
        _ => Some(End::Failure),
    })
}

/// Whether the last stop was asked for in RELION's way.
fn was_aborted(run_dir: &RunDir) -> Result<bool> {
    let records = progress::read(&run_dir.progress())?;
    let last = records.into_iter().rev().find_map(|record| match record.event {
        Event::Stopping { cause, .. } => Some(cause),
        _ => None,
    });
    Ok(last.is_some_and(|cause| cause.contains(ABORT_REQUEST)))
}
