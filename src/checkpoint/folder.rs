//! The files of one run: which is the newest whole one, which may go.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

use super::file::Checkpoint;
use super::file::Fault;
use super::file::digest_path;
use super::file::examine;

/// Which files of finished iterations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// The newest so many; at least one stays in any case.
    pub keep_last: u32,
    /// Besides, every iteration that is a multiple of this; `None` for none.
    pub keep_every: Option<u32>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: 2, keep_every: None }
    }
}

/// The newest whole checkpoint of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub checkpoint: Checkpoint,
    pub path: PathBuf,
    /// One sentence for each newer file that could not be used.
    pub warnings: Vec<String>,
}

pub(super) fn folder_of(run_folder: &Path) -> PathBuf {
    run_folder.join("checkpoint")
}

pub(super) fn file_of(folder: &Path, iteration: u32) -> PathBuf {
    folder.join(format!("iter-{iteration:03}.h5"))
}

/// `iter-012.h5` -> 12; anything else, parts of an iteration included, is not a finished iteration.
pub(super) fn iteration_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("iter-")?.strip_suffix(".h5")?;
    let plain = digits.len() >= 3 && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// The checkpoint files of a run folder, oldest iteration first. Empty when there is no such folder.
///
/// # Errors
/// The folder cannot be read.
pub fn list(run_folder: &Path) -> Result<Vec<(u32, PathBuf)>> {
    list_in(&folder_of(run_folder))
}

/// As [`list`], of the folder that holds the files.
pub(super) fn list_in(folder: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Error::reading(folder, &e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::reading(folder, &e))?;
        if let Some(iteration) = entry.file_name().to_str().and_then(iteration_of) {
            found.push((iteration, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// What is wrong with a file whose name says another iteration than its state.
pub(super) fn wrong_name(named: Option<u32>, held: u32) -> Option<String> {
    let wrong = named.is_some_and(|named| named != held);
    wrong.then(|| format!("holds iteration {held}, which is not what its name says"))
}

/// The newest whole checkpoint of a run, or `None` when the run has none yet. A damaged file is passed over with a
/// warning.
///
/// # Errors
/// All files are damaged (starting again from nothing would hide that), or the newest whole one was written by a
/// newer program.
pub fn load_latest(run_folder: &Path) -> Result<Option<Loaded>> {
    latest_in(&folder_of(run_folder), false)
}

/// As [`load_latest`], but files of a newer program are passed over with a warning, too: what it did is done anew.
///
/// # Errors
/// No file can be used.
pub fn load_latest_of_ours(run_folder: &Path) -> Result<Option<Loaded>> {
    latest_in(&folder_of(run_folder), true)
}

/// As these two, of the folder that holds the files.
pub(super) fn latest_in(folder: &Path, passes_newer: bool) -> Result<Option<Loaded>> {
    let mut warnings = Vec::new();
    for (iteration, path) in list_in(folder)?.into_iter().rev() {
        match examine(&path) {
            Ok(checkpoint) => match wrong_name(Some(iteration), checkpoint.state.iteration) {
                None => return Ok(Some(Loaded { checkpoint, path, warnings })),
                Some(problem) => warnings.push(format!("{}: {problem}", path.display())),
            },
            Err(Fault::Damaged(error)) => warnings.push(format!("{}: {}", error.place, error.problem)),
            Err(Fault::Refused(error)) if passes_newer => warnings.push(format!("{}: {}", error.place, error.problem)),
            Err(Fault::Refused(error)) => return Err(error),
        }
    }
    if warnings.is_empty() {
        return Ok(None);
    }
    Err(Error::bad_data(
        folder.display().to_string(),
        format!("no checkpoint can be used:\n  {}", warnings.join("\n  ")),
        "Restore one of the files from a backup, or remove the folder to start again from the first iteration.",
    ))
}

/// Removes the files of finished iterations that `retention` does not keep, after that of `iteration` was saved. Files
/// of later iterations can only be such as could not be used when this run went on (damaged, misnamed): they do not
/// count as kept, and they stay.
///
/// # Errors
/// A file cannot be removed.
pub fn prune(run_folder: &Path, iteration: u32, retention: &Retention) -> Result<()> {
    let mut files = list(run_folder)?;
    files.retain(|(listed, _)| *listed <= iteration);
    let last = files.len().saturating_sub(retention.keep_last.max(1) as usize);
    let mut first = Ok(());
    for (iteration, path) in &files[..last] {
        if retention.keep_every.is_some_and(|every| every > 0 && iteration % every == 0) {
            continue;
        }
        // The file first: it is never there without its digest.
        for gone in [path.clone(), digest_path(path)] {
            match fs::remove_file(&gone) {
                // What cannot go keeps its digest, and does not keep the others.
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    first = first.and(Err(Error::writing(&gone, &e)));
                    break;
                }
                _ => {}
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finished_iterations_are_listed() {
        for (name, iteration) in [("iter-012.h5", Some(12)), ("iter-1000.h5", Some(1000)), ("iter-000.h5", Some(0))] {
            assert_eq!(iteration_of(name), iteration);
        }
        for name in ["iter-013.part.000.h5", ".iter-012.h5.tmp", "iter-012.h5.b3", "iter-1.h5", "iter-+12.h5", "x"] {
            assert_eq!(iteration_of(name), None, "{name}");
        }
    }
}
