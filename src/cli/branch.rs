//! A branch: a run folder that goes on from an iteration of another one, which stays as it is.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::atomic::AtomicFile;
use crate::formats::atomic::write_text;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::read_table;

use super::kept;

const OTHER_FOLDER: &str = "Name another folder with --out.";
const BUFFER: usize = 1 << 20;

/// `branch.json`: where a branch comes from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// Run folder, absolute.
    source: PathBuf,
    iteration: u32,
    /// BLAKE3 of the checkpoint that it began with.
    blake3: String,
}

/// Makes the branch (or finds it, when it was made before) and returns its folder and plan. It appears whole or not at
/// all.
///
/// # Errors
/// `NoInput` when there is no checkpoint of that iteration; `BadData` when it is damaged; `Usage` when the folder is the
/// run's own, or holds another run.
pub fn off(run_dir: &RunDir, plan: Plan, iteration: u32, out: Option<&Path>) -> Result<(RunDir, Plan)> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|cause| Error::reading(path, &cause));
    let root = fs::canonicalize(run_dir.root()).map_err(|cause| Error::reading(run_dir.root(), &cause))?;
    let out = match out {
        Some(out) => absolute(out)?,
        None => {
            let own = absolute(run_dir.root())?;
            let mut name = own.file_name().unwrap_or_default().to_os_string();
            name.push(format!("-from-{iteration:03}"));
            own.with_file_name(name)
        }
    };
    let refused = |problem: String| Err(Error::new(ExitCode::Usage, out.display().to_string(), problem, OTHER_FOLDER));
    if fs::canonicalize(&out).is_ok_and(|out| out == root) {
        return refused("is the run itself: a branch has a folder of its own".to_owned());
    }
    let branch = RunDir::new(&out);
    let named = out.strip_prefix(&plan.working_directory).map(PathBuf::from).unwrap_or_else(|_| out.clone());
    let plan = Plan { out: named, ..plan };
    if branch.branch().is_file() {
        let made = read(&branch.branch())?;
        if made.source != root || made.iteration != iteration {
            let Origin { source, iteration, .. } = made;
            return refused(format!("is a branch of {} after iteration {iteration}", source.display()));
        }
        if let Some((key, ..)) = Plan::read(&branch.plan())?.differences(&plan).first() {
            return refused(format!("holds a run with another {key}"));
        }
        return Ok((branch, plan));
    }
    if fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_some()) {
        return refused("is not empty, and no branch".to_owned());
    }
    let checkpoint = kept::checkpoint(run_dir, iteration);
    if !checkpoint.is_file() {
        let there: Vec<String> = kept::iterations(run_dir)?.iter().map(u32::to_string).collect();
        return Err(Error::new(
            ExitCode::NoInput,
            checkpoint.display().to_string(),
            format!("there is no checkpoint of iteration {iteration}; there are those of {}", there.join(", ")),
            "Name one of these iterations; --keep-every and --keep-last say which are kept.",
        ));
    }
    let blake3 = verified(&checkpoint)?;
    make(run_dir, &out, &plan, &Origin { source: root, iteration, blake3 })?;
    Ok((branch, plan))
}

/// Under another name first, which goes away when anything fails.
fn make(run_dir: &RunDir, out: &Path, plan: &Plan, origin: &Origin) -> Result<()> {
    let parent = out.parent().unwrap_or(Path::new("/"));
    let place = parent.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let failed = |cause| Error::writing(out, &cause);
    // As a folder that is simply made; those that are temporary are their owner's alone.
    let new = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o777))
        .prefix(".new-branch-")
        .tempdir_in(place)
        .map_err(failed)?;
    fill(run_dir, &RunDir::new(new.path()), plan, origin).map_err(|mut error| {
        let at = |path: &Path| path.display().to_string();
        error.place = error.place.replace(&at(new.path()), &at(out));
        error
    })?;
    fs::create_dir_all(parent).map_err(failed)?;
    fs::rename(new.path(), out).map_err(failed)?;
    // It has another name now: there is nothing to take away.
    let _ = new.keep();
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn fill(run_dir: &RunDir, new: &RunDir, plan: &Plan, origin: &Origin) -> Result<()> {
    new.create()?;
    let to = kept::checkpoint(new, origin.iteration);
    write_text(&with_end(&to, ".b3"), &format!("{}\n", origin.blake3))?;
    copy(&kept::checkpoint(run_dir, origin.iteration), &to)?;
    if run_dir.job().is_file() {
        let mut job = read_table(&run_dir.job())?;
        job.insert("out".to_owned(), toml::Value::String(plan.out.display().to_string()));
        let header = format!("# A branch of {} after iteration {}.\n", origin.source.display(), origin.iteration);
        write_text(&new.job(), &format!("{header}{job}"))?;
    }
    let text = serde_json::to_string_pretty(origin).map_err(|cause| Error::internal(format!("branch: {cause}")))?;
    write_text(&new.branch(), &format!("{text}\n"))?;
    write_text(&new.plan(), &plan.to_json()?)
}

fn read(path: &Path) -> Result<Origin> {
    let text = fs::read_to_string(path).map_err(|cause| Error::reading(path, &cause))?;
    serde_json::from_str(&text)
        .map_err(|cause| Error::bad_data(path.display().to_string(), format!("is damaged: {cause}"), OTHER_FOLDER))
}

/// The digest of a checkpoint, which is the one that was recorded for it.
fn verified(checkpoint: &Path) -> Result<String> {
    const FIX: &str = "Branch off from another iteration; `relion-rs checkpoint verify` tells which are whole.";
    let damaged = |problem| Err(Error::bad_data(checkpoint.display().to_string(), problem, FIX));
    let sidecar = with_end(checkpoint, ".b3");
    let recorded = match fs::read(&sidecar) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => {
            return damaged(format!("its digest {} is missing", sidecar.display()));
        }
        read => read.map_err(|cause| Error::reading(&sidecar, &cause))?,
    };
    let mut hasher = blake3::Hasher::new();
    let file = File::open(checkpoint).and_then(|file| hasher.update_reader(file).map(|_| ()));
    file.map_err(|cause| Error::reading(checkpoint, &cause))?;
    let found = hasher.finalize().to_hex().to_string();
    if String::from_utf8_lossy(&recorded).trim() == found {
        return Ok(found);
    }
    damaged(format!("is damaged: it is not what {} was written for", sidecar.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let unread = |cause| Error::reading(from, &cause);
    let mut source = File::open(from).map_err(unread)?;
    let mut target = AtomicFile::create(to)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return target.commit(),
            Ok(count) => target.file().write_all(&buffer[..count]).map_err(|cause| Error::writing(to, &cause))?,
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(unread(cause)),
        }
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(end);
    PathBuf::from(name)
}
