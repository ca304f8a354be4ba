//! Which checkpoints are whole: digest, format and every field.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::file::load;
use super::folder;
use super::parts;

/// What reading a file gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub file: PathBuf,
    pub bytes: u64,
    /// Why the file cannot be used; none for one that is whole.
    pub problem: Option<String>,
}

impl Verdict {
    pub fn is_whole(&self) -> bool {
        self.problem.is_none()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem.as_deref().unwrap_or("OK"))
    }
}

/// Reads every checkpoint and part of a run folder, or the one file that `path` names, oldest first.
///
/// # Errors
/// There is no checkpoint at `path`. What is wrong with a file is its verdict, not an error.
pub fn verify(path: &Path) -> Result<Vec<Verdict>> {
    let files = files(path)?;
    let mut verdicts: Vec<Verdict> = files.iter().map(|(iteration, file)| judge(*iteration, file)).collect();
    if let (false, Some(folder)) = (path.is_file(), files.first().and_then(|(_, file)| file.parent())) {
        verdicts.extend(parts::examine(folder)?.into_iter().map(|(file, read)| verdict(&file, read.err().map(inside))));
    }
    Ok(verdicts)
}

/// The checkpoint files meant by a run folder, its `checkpoint` folder, or a file; the iteration is that of the name.
///
/// # Errors
/// There is none.
pub(super) fn files(path: &Path) -> Result<Vec<(Option<u32>, PathBuf)>> {
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".b3") || name.contains(".part") {
            return Err(Error::usage(
                format!("{} is a digest, or a part of an iteration, and no checkpoint", path.display()),
                "Name the run folder: digests and parts are read with the checkpoints they belong to.",
            ));
        }
        let iteration = folder::iteration_of(&name);
        return Ok(vec![(iteration, path.to_path_buf())]);
    }
    let inside = folder::list(path)?;
    let found = if inside.is_empty() { folder::list_in(path)? } else { inside };
    if found.is_empty() {
        return Err(Error::new(
            ExitCode::NoInput,
            path.display().to_string(),
            "there is no checkpoint",
            "Name a run folder in which an iteration was finished, or a file in its checkpoint folder.",
        ));
    }
    Ok(found.into_iter().map(|(iteration, file)| (Some(iteration), file)).collect())
}

fn judge(iteration: Option<u32>, file: &Path) -> Verdict {
    let problem = match load(file) {
        Ok(checkpoint) => folder::wrong_name(iteration, checkpoint.state.iteration),
        Err(error) => Some(inside(error)),
    };
    verdict(file, problem)
}

/// The problem and its place in the file; the verdict names the file itself.
fn inside(error: Error) -> String {
    match error.place.split_once(", ") {
        Some((_, inside)) => format!("{inside}: {}", error.problem),
        None => error.problem,
    }
}

fn verdict(file: &Path, problem: Option<String>) -> Verdict {
    let bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    Verdict { file: file.to_path_buf(), bytes, problem }
}
