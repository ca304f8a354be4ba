//! What lies in the checkpoint folder of a run, by its names alone: files of HDF5 are the engine's.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::plan::RunDir;

/// Where the checkpoint of an iteration is.
pub fn checkpoint(run_dir: &RunDir, iteration: u32) -> PathBuf {
    run_dir.checkpoint().join(format!("iter-{iteration:03}.h5"))
}

/// Whether finished blocks of an iteration are there.
pub fn has_parts(run_dir: &RunDir, iteration: u32) -> bool {
    run_dir.checkpoint().join(format!("iter-{iteration:03}.parts.json")).is_file()
}

/// Iterations that have a checkpoint, the oldest first; none when there is no such folder.
///
/// # Errors
/// The folder cannot be read.
pub fn iterations(run_dir: &RunDir) -> Result<Vec<u32>> {
    let folder = run_dir.checkpoint();
    let failed = |cause| Error::reading(&folder, &cause);
    let entries = match fs::read_dir(&folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix("iter-")?.strip_suffix(".h5"));
        // A part has more in its name: `iter-013.part.000.h5`.
        found.extend(digits.and_then(|digits| digits.parse::<u32>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
