//! What a killed process left behind under temporary names.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

use super::folder::folder_of;
use super::folder::iteration_of;

/// Letters that `tempfile` adds to a prefix.
const RANDOM_LETTERS: usize = 6;

/// Removes temporary files of killed processes from a run folder and its checkpoint folder, and digests without a
/// file; returns what went. For the start of the engine, under the run's lock, when nobody else writes here.
/// Directories, links and names that are not ours stay.
///
/// # Errors
/// A folder cannot be read or a file cannot be removed.
pub fn sweep(run_folder: &Path) -> Result<Vec<PathBuf>> {
    let checkpoints = folder_of(run_folder);
    let mut gone = files(&checkpoints)?;
    gone.retain(|(path, name)| is_draft(name) || is_lonely_digest(path, name) || is_atomic(name));
    gone.extend(files(run_folder)?.into_iter().filter(|(_, name)| is_atomic(name)));
    let gone: Vec<PathBuf> = gone.into_iter().map(|(path, _)| path).collect();
    for path in &gone {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::writing(path, &e)),
            _ => {}
        }
    }
    Ok(gone)
}

/// The plain files of a folder; none when there is no such folder.
fn files(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let failed = |e: io::Error| Error::reading(folder, &e);
    let read = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.map_err(failed)?;
        // A name that is no text is none of ours; what cannot be looked at is gone by now.
        if let (Ok(name), Ok(kind)) = (entry.file_name().into_string(), entry.file_type())
            && kind.is_file()
        {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}

/// `.iter-012.h5.tmp`, `.iter-013.part.000.h5.tmp`: drafts of the checkpoint folder.
fn is_draft(name: &str) -> bool {
    let inside = name.strip_prefix(".iter-").and_then(|rest| rest.strip_suffix(".tmp"));
    inside
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(number, _)| number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A file that was being written by `formats::atomic`, or a setting by the launcher.
fn is_atomic(name: &str) -> bool {
    let letters = [".tmp-", ".new-"].iter().find_map(|prefix| name.strip_prefix(prefix));
    letters.is_some_and(|letters| {
        letters.len() == RANDOM_LETTERS && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
    })
}

/// The digest of a checkpoint that never came or was removed.
fn is_lonely_digest(path: &Path, name: &str) -> bool {
    let file = name.strip_suffix(".b3").filter(|file| iteration_of(file).is_some());
    file.is_some_and(|file| !path.with_file_name(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_and_left_over_goes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sweep(folder.path()).unwrap(), Vec::<PathBuf>::new());
        let inside = folder.path().join("checkpoint");
        fs::create_dir(&inside).unwrap();
        let leftovers = [
            "checkpoint/.iter-012.h5.tmp",
            "checkpoint/.iter-012.h5.b3.tmp",
            "checkpoint/.iter-013.part.000.1.h5.tmp",
            "checkpoint/.iter-013.part.000.half1.002.h5.tmp",
            "checkpoint/.tmp-aB3dEf",
            "checkpoint/iter-009.h5.b3",
            ".new-Zz9876",
            ".tmp-012345",
        ];
        let kept = [
            "checkpoint/iter-011.h5",
            "checkpoint/iter-011.h5.b3",
            "checkpoint/iter-012.part.000.h5",
            "checkpoint/iter-012.parts.json",
            "checkpoint/.iter-x.h5.tmp",
            "checkpoint/.iter-012.h5.tmp.mine",
            "checkpoint/notes.b3",
            ".tmp-young",
            ".tmp-mine",
            ".tmp-mine.txt",
            ".iter-012.h5.tmp",
            "run_it001_data.star",
        ];
        for name in leftovers.iter().chain(&kept) {
            fs::write(folder.path().join(name), b"left").unwrap();
        }
        fs::create_dir(inside.join(".iter-014.h5.tmp")).unwrap();
        std::os::unix::fs::symlink("nowhere", inside.join(".iter-015.h5.tmp")).unwrap();
        let wanted: Vec<PathBuf> = leftovers.iter().map(|name| folder.path().join(name)).collect();
        let mut gone = sweep(folder.path()).unwrap();
        gone.sort();
        let mut sorted = wanted.clone();
        sorted.sort();
        assert_eq!(gone, sorted);
        assert!(wanted.iter().all(|path| !path.exists()));
        for name in kept {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        assert!(inside.join(".iter-014.h5.tmp").is_dir() && inside.join(".iter-015.h5.tmp").is_symlink());
        assert_eq!(sweep(folder.path()).unwrap(), Vec::<PathBuf>::new());
    }
}
