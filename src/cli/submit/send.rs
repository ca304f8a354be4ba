//! Handing scripts to `sbatch`, and the file `jobid`.

use std::fs;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::RunDir;
use crate::slurm::call;
use crate::slurm::sbatch;

use super::super::screen::Screen;

/// A script and the arguments of sbatch that are not in its head.
#[derive(Clone, Debug)]
pub struct Script {
    pub path: PathBuf,
    pub text: String,
    /// Before the path: `--array=0-1`.
    pub arguments: Vec<String>,
}

impl Script {
    pub fn new(path: PathBuf, text: String) -> Self {
        Self { path, text, arguments: Vec::new() }
    }

    /// The words after `sbatch`.
    pub fn words(&self, dependency: Option<&str>) -> Vec<String> {
        let mut words = vec!["--parsable".to_owned()];
        if let Some(dependency) = dependency {
            words.push(format!("--dependency={dependency}"));
            // A job that waits for one that failed would wait for ever.
            words.push("--kill-on-invalid-dep=yes".to_owned());
        }
        words.extend(self.arguments.iter().cloned());
        words.push(self.path.display().to_string());
        words
    }

    /// Hands it to Slurm, whose remarks are shown; the number of the job.
    ///
    /// # Errors
    /// Slurm's refusal, with its sentence.
    pub fn submit(&self, dependency: Option<&str>, screen: &Screen) -> Result<String> {
        let taken = sbatch::submit(&self.words(dependency)).map_err(|failure| {
            let mut error = sbatch::refusal(&failure);
            error.place = self.path.display().to_string();
            error
        })?;
        taken.remarks.iter().for_each(|remark| screen.warning(remark));
        Ok(taken.id)
    }
}

/// Submits a script, and so many continuations of it that each wait for the end of the one before; all numbers.
///
/// # Errors
/// Those of [`Script::submit`]. The numbers of those that were submitted are in the message.
pub fn chain(script: &Script, dependency: Option<&str>, continuations: u32, screen: &Screen) -> Result<Vec<String>> {
    let mut ids = vec![script.submit(dependency, screen)?];
    for _ in 0..continuations {
        let after = format!("afterany:{}", ids[ids.len() - 1]);
        match script.submit(Some(&after), screen) {
            Ok(id) => ids.push(id),
            Err(error) => return Err(taken_back(error, &ids)),
        }
    }
    Ok(ids)
}

/// What was submitted is cancelled when something that belongs to it is refused: half of it would surprise.
pub fn taken_back(mut error: Error, ids: &[String]) -> Error {
    if ids.is_empty() {
        return error;
    }
    let all = ids.join(" ");
    let words: Vec<&str> = ids.iter().map(String::as_str).collect();
    error.problem = match call("scancel", &words) {
        Ok(_) => format!("{} (jobs submitted with it were cancelled: {all})", error.problem),
        Err(failure) => format!("{} (jobs submitted with it are still there: {all}; {failure})", error.problem),
    };
    error
}

/// Writes down the numbers of a submission: one line, the first one first.
///
/// # Errors
/// The file cannot be written; the numbers are in the message.
pub fn remember(run_dir: &RunDir, ids: &[String]) -> Result<()> {
    let path = run_dir.jobid();
    let line = format!("{}\n", ids.join(" "));
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(|cause| {
        let mut error = Error::writing(&path, &cause);
        error.problem = format!("{}; the job {} is submitted", error.problem, ids.join(" "));
        error
    })
}

/// The numbers of the last submission; none when there was none.
///
/// # Errors
/// The file cannot be read.
pub fn last(run_dir: &RunDir) -> Result<Vec<String>> {
    let text = match fs::read_to_string(run_dir.jobid()) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|cause| Error::reading(&run_dir.jobid(), &cause))?,
    };
    let is_id = |word: &&str| word.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Ok(line.split_whitespace().take_while(is_id).map(str::to_owned).collect())
}

/// Refuses a run whose job waits or runs.
///
/// # Errors
/// `Usage` with the job and its state.
pub fn refuse_active(run_dir: &RunDir, screen: &Screen) -> Result<()> {
    let ids = last(run_dir)?;
    if ids.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = ids.iter().map(String::as_str).collect();
    match sbatch::active(&words) {
        Ok(active) if active.is_empty() => Ok(()),
        Ok(active) => Err(Error::new(
            ExitCode::Usage,
            run_dir.root().display().to_string(),
            format!("this run has a job already: {}", active.join(", ")),
            format!("Wait for its end (`relion-rs status`), or cancel it first: scancel {}", ids.join(" ")),
        )),
        Err(failure) => {
            screen.warning(&format!("whether the job {} has ended is not known: {failure}", ids.join(" ")));
            Ok(())
        }
    }
}

/// Waiting for a good end of a run. When the run is finished before its last continuation, the job that finished it
/// ends well and those behind it are cancelled: any of them will do.
pub fn after_good_end(kind: &str, ids: &[String]) -> String {
    let all: Vec<String> = ids.iter().map(|id| format!("{kind}:{id}")).collect();
    all.join("?")
}

/// Waiting for a job, by its number or its run folder.
///
/// # Errors
/// `Usage` for what is neither a number nor a folder that was submitted.
pub fn after(word: &str) -> Result<String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let ids =
        if is_number(word) && !Path::new(word).is_dir() { vec![word.to_owned()] } else { last(&RunDir::new(word))? };
    if !ids.is_empty() {
        return Ok(after_good_end("afterok", &ids));
    }
    Err(Error::new(
        ExitCode::Usage,
        format!("--after {word}"),
        "is neither the number of a job nor a run folder that was submitted",
        "Give the number that `relion-rs submit` or sbatch told, or the run folder of a submitted run.",
    ))
}

/// Several dependencies, all of which must be fulfilled.
///
/// # Errors
/// `Usage` where one of them is a choice: Slurm knows no mixture of `,` and `?`.
pub fn all_of(dependencies: &[String]) -> Result<Option<String>> {
    if dependencies.len() > 1 && dependencies.iter().any(|one| one.contains('?')) {
        return Err(Error::new(
            ExitCode::Usage,
            "--after",
            format!("Slurm cannot wait for all of this at once: {}", dependencies.join(" and ")),
            "A run with continuations can only be waited for alone: chain the jobs one after the other.",
        ));
    }
    Ok((!dependencies.is_empty()).then(|| dependencies.join(",")))
}
