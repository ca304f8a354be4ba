//! Copies of stacks in a fast folder. A particle stays its image name; only the bytes are read elsewhere.

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::statvfs::statvfs;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::atomic::AtomicFile;

/// Variable that names the folder of the copies to the engine.
pub const STAGE_VARIABLE: &str = "RELION_RS_STAGE";
/// Folder within the scratch, shared by all runs.
pub const STAGE_FOLDER: &str = "relion-rs-stage";
/// So much of a stack's beginning is part of its copy's name, and so much is copied at a time.
const BEGINNING_BYTES: u64 = 64 << 10;
const BUFFER_BYTES: usize = 4 << 20;

/// What became of one stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staged {
    Copied {
        bytes: u64,
    },
    /// Another job, or an earlier one, had made it.
    WasThere {
        bytes: u64,
    },
}

/// Where the copy of a stack is, or will be: a stack that changes, in place, size, time or beginning, has another copy.
///
/// # Errors
/// The stack cannot be read.
pub fn place(folder: &Path, stack: &Path) -> Result<PathBuf> {
    let failed = |cause| Error::reading(stack, &cause);
    let file = File::open(stack).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let real = fs::canonicalize(stack).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(real.as_os_str().as_encoded_bytes());
    hasher.update(&[0]);
    for number in identity(&metadata) {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update_reader(file.take(BEGINNING_BYTES)).map_err(failed)?;
    Ok(folder.join(format!("{}.mrcs", &hasher.finalize().to_hex()[..40])))
}

/// Size and time of the last change.
fn identity(metadata: &Metadata) -> [i64; 3] {
    [metadata.len() as i64, metadata.mtime(), metadata.mtime_nsec()]
}

/// For each stack the file that its images are read from: the copy, or itself; and how many have no copy.
///
/// # Errors
/// A stack cannot be read.
pub fn sources(folder: &Path, stacks: &[PathBuf]) -> Result<(Vec<PathBuf>, usize)> {
    let mut missing = 0;
    let files = stacks.iter().map(|stack| {
        let copy = place(folder, stack)?;
        let bytes = fs::metadata(stack).map_err(|cause| Error::reading(stack, &cause))?.len();
        if fs::metadata(&copy).is_ok_and(|there| there.is_file() && there.len() == bytes) {
            return Ok(copy);
        }
        missing += 1;
        Ok(stack.clone())
    });
    let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
    Ok((files, missing))
}

/// Copies a stack, unless its copy is there. Two jobs that want the same copy make it once: the second waits.
///
/// # Errors
/// `Io` when the scratch is full, with the number; those of reading and writing; `BadData` when the stack changes
/// meanwhile.
pub fn copy(folder: &Path, stack: &Path) -> Result<Staged> {
    let copy = place(folder, stack)?;
    fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))?;
    let bytes = fs::metadata(stack).map_err(|cause| Error::reading(stack, &cause))?.len();
    let is_there = || fs::metadata(&copy).is_ok_and(|there| there.len() == bytes);
    if is_there() {
        return Ok(Staged::WasThere { bytes });
    }
    let mut lock_name = copy.clone().into_os_string();
    lock_name.push(OsString::from(".lock"));
    let lock_name = PathBuf::from(lock_name);
    let lock = File::create(&lock_name).map_err(|cause| Error::writing(&lock_name, &cause))?;
    // A colleague's job may want it too; where the folder is not theirs to write, only the mode cannot be set.
    let _ = lock.set_permissions(fs::Permissions::from_mode(0o666));
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => lock.lock().map_err(|cause| Error::writing(&lock_name, &cause))?,
        // Without locks two jobs may copy at once; each gives its own whole file the name, and they are equal.
        Err(TryLockError::Error(cause)) if cause.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(cause)) => return Err(Error::writing(&lock_name, &cause)),
        Ok(()) => {}
    }
    if is_there() {
        return Ok(Staged::WasThere { bytes });
    }
    has_room(folder, bytes)?;
    transfer(stack, &copy, bytes)?;
    if place(folder, stack)? != copy {
        // The name says what the stack was; nobody looks for it any more.
        let _ = fs::remove_file(&copy);
        return Err(changed(stack));
    }
    Ok(Staged::Copied { bytes })
}

fn transfer(stack: &Path, copy: &Path, bytes: u64) -> Result<()> {
    let mut from = File::open(stack).map_err(|cause| Error::reading(stack, &cause))?;
    let mut to = AtomicFile::create(copy)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                to.file().write_all(&buffer[..count]).map_err(|cause| Error::writing(copy, &cause))?;
                done += count as u64;
            }
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(cause) => return Err(Error::reading(stack, &cause)),
        }
    }
    if done != bytes {
        return Err(changed(stack));
    }
    to.commit()
}

fn changed(stack: &Path) -> Error {
    Error::bad_data(
        stack.display().to_string(),
        "changed while it was copied",
        "Leave stacks alone while they are being staged, then submit again.",
    )
}

/// Refuses before hours of copying what would end with a full disk.
///
/// # Errors
/// `Io` with what is wanted and what is free.
pub fn has_room(folder: &Path, bytes: u64) -> Result<()> {
    // A file system that does not say how much is free is tried.
    let Ok(disk) = statvfs(folder) else { return Ok(()) };
    let free = disk.blocks_available() * disk.fragment_size();
    if disk.blocks() == 0 || free >= bytes {
        return Ok(());
    }
    Err(Error::new(
        ExitCode::Io,
        folder.display().to_string(),
        format!("{bytes} bytes are to be copied there, and {free} are free"),
        format!(
            "Free some space, name another --scratch, or submit without --stage. {STAGE_FOLDER} in the scratch may be deleted."
        ),
    ))
}
