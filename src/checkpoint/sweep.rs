//! What a killed process left under temporary names.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;

use super::folder::folder_of;

/// Beginnings of temporary names: of `formats::atomic` and of `run`'s own files, and of [`Draft`](super::durable::Draft).
const TEMPORARY: [&str; 2] = [".tmp-", ".new-"];
const DRAFT: (&str, &str) = (".iter-", ".tmp");

/// Removes temporary files of ours from a run folder in which nobody else works. Returns how many there were.
///
/// # Errors
/// The folder cannot be read, or a file not removed.
pub fn sweep(run_folder: &Path) -> Result<usize> {
    let mut count = 0;
    for folder in [run_folder.to_path_buf(), folder_of(run_folder)] {
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(|cause| Error::reading(&folder, &cause))?,
        };
        for entry in entries {
            let entry = entry.map_err(|cause| Error::reading(&folder, &cause))?;
            if is_temporary(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).map_err(|cause| Error::writing(&entry.path(), &cause))?;
                count += 1;
            }
        }
    }
    Ok(count)
}

fn is_temporary(name: &str) -> bool {
    TEMPORARY.iter().any(|start| name.starts_with(start)) || (name.starts_with(DRAFT.0) && name.ends_with(DRAFT.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_temporary_files_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("checkpoint")).unwrap();
        let stays = ["run_it001_data.star", "plan.json", ".hidden", "checkpoint/iter-001.h5", "checkpoint/.iter-note"];
        let goes =
            [".tmp-aB3", ".new-x1", "checkpoint/.iter-002.h5.tmp", "checkpoint/.iter-002.part.000.half1.001.h5.tmp"];
        stays.iter().chain(&goes).for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        assert_eq!(sweep(folder.path()).unwrap(), 4);
        assert!(stays.iter().all(|name| folder.path().join(name).exists()));
        assert!(!goes.iter().any(|name| folder.path().join(name).exists()));
        assert_eq!(sweep(folder.path()).unwrap(), 0);
        assert_eq!(sweep(&folder.path().join("absent")).unwrap(), 0);
    }
}
