//! What a killed process left behind under temporary names.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::error::Error;
use crate::error::Result;
use crate::formats::atomic::TEMPORARY;
use crate::plan::RunDir;

use super::folder::folder_of;
use super::folder::iteration_of;

/// Other programs (`relion-rs report`) may be writing into a run folder (not into its checkpoints) now: what was touched
/// within this stays there.
const YOUNGEST: Duration = Duration::from_secs(600);
/// Letters that `tempfile` adds to a prefix.
const RANDOM_LETTERS: usize = 6;

/// Removes temporary files of killed processes from a run folder and its checkpoint folder, and digests without a
/// file; returns what went. Call it at the start of the engine, under the run's lock: only the engine writes
/// checkpoints. Directories, links and names that are not ours stay.
///
/// # Errors
/// A folder cannot be read or a file cannot be removed.
pub fn sweep(run_folder: &Path) -> Result<Vec<PathBuf>> {
    let checkpoints = folder_of(run_folder);
    let mut gone = Vec::new();
    for (path, name, _) in entries(&checkpoints)? {
        if is_draft(&name) || is_lonely_digest(&path, &name) || is_atomic(&name) {
            gone.push(path);
        }
    }
    for (path, name, age) in entries(run_folder)? {
        if is_atomic(&name) && (age >= YOUNGEST || is_result(&name)) {
            gone.push(path);
        }
    }
    for path in &gone {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::writing(path, &e)),
            _ => {}
        }
    }
    Ok(gone)
}

/// The plain files of a folder, with the time since they were written; none when there is no such folder.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, String, Duration)>> {
    let failed = |e: io::Error| Error::reading(folder, &e);
    let read = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in read {
        let entry = entry.map_err(failed)?;
        // Gone in the meantime, or a name that is not ours.
        let (Ok(metadata), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else { continue };
        if metadata.is_file() {
            // A time in the future counts as now.
            let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            found.push((entry.path(), name, age.unwrap_or_default()));
        }
    }
    found.sort();
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
    let rest = [TEMPORARY, ".new-"].iter().find_map(|prefix| name.strip_prefix(prefix));
    let letters = rest.map(|rest| rest.rsplit('-').next().unwrap_or_default());
    letters.is_some_and(|letters| {
        letters.len() == RANDOM_LETTERS && letters.bytes().all(|letter| letter.is_ascii_alphanumeric())
    })
}

/// A result of the refinement: only the engine writes those.
fn is_result(name: &str) -> bool {
    name.starts_with(&format!("{TEMPORARY}{}_", RunDir::OUTPUT_PREFIX))
}

/// The digest of a checkpoint that never came or was removed.
fn is_lonely_digest(path: &Path, name: &str) -> bool {
    let file = name.strip_suffix(".b3").filter(|file| iteration_of(file).is_some());
    file.is_some_and(|file| !path.with_file_name(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(path: PathBuf, age: Duration) {
        fs::write(&path, b"left").unwrap();
        let time = SystemTime::now() - age;
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn only_what_is_ours_and_left_over_goes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(sweep(folder.path()).unwrap(), Vec::<PathBuf>::new());
        let inside = folder.path().join("checkpoint");
        fs::create_dir(&inside).unwrap();
        let (now, old) = (Duration::ZERO, Duration::from_secs(3600));
        let leftovers = [
            ("checkpoint/.iter-012.h5.tmp", now),
            ("checkpoint/.iter-012.h5.b3.tmp", now),
            ("checkpoint/.iter-013.part.000.1.h5.tmp", now),
            ("checkpoint/.iter-013.parts.tmp", now),
            ("checkpoint/.tmp-iter-013.parts.json-aB3dEf", now),
            ("checkpoint/iter-009.h5.b3", now),
            (".new-Zz9876", old),
            (".tmp-report.html-012345", old),
            (".tmp-run_it001_data.star-01b345", now),
        ];
        let kept = [
            ("checkpoint/iter-011.h5", old),
            ("checkpoint/iter-011.h5.b3", old),
            ("checkpoint/iter-012.part.000.h5", old),
            ("checkpoint/iter-012.parts", old),
            ("checkpoint/.iter-x.h5.tmp", old),
            ("checkpoint/.iter-012.h5.tmp.mine", old),
            ("checkpoint/notes.b3", old),
            (".tmp-report.html-young1", now),
            (".tmp-mine", old),
            (".tmp-mine.txt", old),
            (".iter-012.h5.tmp", old),
            ("run_it001_data.star", old),
        ];
        for (name, age) in leftovers.iter().chain(&kept) {
            make(folder.path().join(name), *age);
        }
        fs::create_dir(inside.join(".iter-014.h5.tmp")).unwrap();
        std::os::unix::fs::symlink("nowhere", inside.join(".iter-015.h5.tmp")).unwrap();
        let wanted: Vec<PathBuf> = leftovers.iter().map(|(name, _)| folder.path().join(name)).collect();
        let mut gone = sweep(folder.path()).unwrap();
        gone.sort();
        let mut sorted = wanted.clone();
        sorted.sort();
        assert_eq!(gone, sorted);
        assert!(wanted.iter().all(|path| !path.exists()));
        for (name, _) in kept {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        assert!(inside.join(".iter-014.h5.tmp").is_dir() && inside.join(".iter-015.h5.tmp").is_symlink());
        assert_eq!(sweep(folder.path()).unwrap(), Vec::<PathBuf>::new());
    }
}
