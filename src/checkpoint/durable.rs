//! A checkpoint file appears whole or not at all: room is reserved, a temporary file is written, synced while its
//! digest is taken, and renamed. (Other files do so by `formats::atomic`; these are opened by libhdf5, under a
//! temporary name that stays the same so that what a killed process left is overwritten.)
//!
//! ```text
//! let mut draft = Draft::new(path);
//! draft.reserve(bytes)?;          // refuses what will not fit, with both numbers
//! ... write draft.temporary() ...
//! let digest = draft.seal(Hashing::Alone)?;     // on disk, and what is on disk
//! commit([Draft::filled(sidecar, digest.as_bytes())?, draft])?;
//! ```

use std::ffi::OsString;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::fcntl::fallocate;
use nix::sys::statvfs::statvfs;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::format_bytes;

/// Bytes of a block as `stat` counts them.
const STAT_BLOCK_BYTES: u64 = 512;

/// Bytes that are read and hashed at a time: enough for several threads to share.
const HASHED_BYTES: usize = 4 << 20;

/// BLAKE3 of a file's bytes, hexadecimal.
pub(super) type Digest = String;

/// Who computes a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hashing {
    /// One thread, while others compute.
    Alone,
    /// The threads of the present pool, which have nothing else to do.
    Together,
}

/// A file being written under a temporary name beside its final one; removed unless committed.
pub(super) struct Draft {
    temporary: PathBuf,
    path: PathBuf,
    sealed: bool,
    committed: bool,
}

impl Draft {
    /// The temporary name is `.NAME.tmp`. Nothing is made yet.
    pub(super) fn new(path: &Path) -> Self {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".tmp");
        Self { temporary: path.with_file_name(name), path: path.to_path_buf(), sealed: false, committed: false }
    }

    /// A small file with these bytes, synced.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn filled(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut draft = Self::new(path);
        let failed = |e| Error::writing(path, &e);
        fs::write(&draft.temporary, bytes).map_err(failed)?;
        draft.sync().map_err(failed)?;
        draft.sealed = true;
        Ok(draft)
    }

    /// Where to write.
    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Reserves room for the first so many bytes of the file without changing its length; the file is made when it is
    /// not there. What truncates the file gives the room back: reserve again after it.
    ///
    /// # Errors
    /// A full disk or quota, with the bytes needed and free; the file system is not filled up to find out.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        let failed = |e| Error::writing(&self.path, &e);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.temporary).map_err(failed)?;
        let held = file.metadata().map_err(failed)?.blocks() * STAT_BLOCK_BYTES;
        // A file system that does not tell its size has none to compare with.
        let disk = statvfs(&self.temporary).ok().filter(|disk| disk.blocks() > 0);
        let [free, usable] = match &disk {
            Some(disk) => [disk.blocks_free(), disk.blocks_available()].map(|blocks| blocks * disk.fragment_size()),
            None => [u64::MAX; 2],
        };
        if bytes.saturating_sub(held) > free {
            return Err(self.no_room(bytes, usable, "free on its file system"));
        }
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length) {
            // Not every file system can; then it is found out while writing.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => Ok(()),
            Err(Errno::ENOSPC | Errno::EFBIG) => Err(self.no_room(bytes, usable, "free on its file system")),
            Err(Errno::EDQUOT) => Err(self.no_room(bytes, usable, "free on its file system, but the quota is used up")),
            Err(errno) => Err(failed(io::Error::from(errno))),
        }
    }

    fn no_room(&self, needed: u64, free: u64, where_free: &str) -> Error {
        let sizes = format!("{needed} bytes ({}) are needed, {free} ({})", format_bytes(needed), format_bytes(free));
        Error::new(
            ExitCode::Io,
            self.path.display().to_string(),
            format!("cannot write: {sizes} are {where_free}"),
            "Free some space, then run the same command again: it continues from the last checkpoint.",
        )
    }

    /// Ends the writing: gives back what was reserved too much, syncs the file, and takes the digest of its bytes
    /// meanwhile. One thread computes; another waits for the disk.
    ///
    /// # Errors
    /// The file cannot be synced or read.
    pub(super) fn seal(&mut self, hashing: Hashing) -> Result<Digest> {
        let sealed = || -> io::Result<Digest> {
            let file = OpenOptions::new().write(true).open(&self.temporary)?;
            file.set_len(file.metadata()?.len())?;
            std::thread::scope(|threads| {
                let syncing = std::thread::Builder::new().name("sync".to_owned());
                let syncing = syncing.spawn_scoped(threads, || file.sync_all());
                let digest = digest_by(&self.temporary, hashing);
                let synced = match syncing {
                    Ok(thread) => {
                        thread.join().unwrap_or_else(|_| Err(io::Error::other("the syncing thread panicked")))
                    }
                    // No thread to be had: one after the other.
                    Err(_) => file.sync_all(),
                };
                synced.and(digest)
            })
        };
        let digest = sealed().map_err(|e| Error::writing(&self.path, &e))?;
        self.sealed = true;
        Ok(digest)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.temporary)?.sync_all()
    }

    fn take_name(&mut self) -> io::Result<()> {
        if !self.sealed {
            self.sync()?;
        }
        fs::rename(&self.temporary, &self.path)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.committed {
            // The first error is the one to report; a leftover is overwritten by the next attempt.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Gives files of one folder their names, in this order, and syncs the folder. The last one should be that which makes
/// the others count.
///
/// # Errors
/// A name cannot be taken: the files after it do not appear.
pub(super) fn commit(drafts: impl IntoIterator<Item = Draft>) -> Result<()> {
    let mut last = None;
    for mut draft in drafts {
        draft.take_name().map_err(|e| Error::writing(&draft.path, &e))?;
        last = Some(draft);
    }
    match last {
        Some(draft) => sync_folder(&draft.path).map_err(|e| Error::writing(&draft.path, &e)),
        None => Ok(()),
    }
}

/// The digest of a file as it is now.
///
/// # Errors
/// The file cannot be read.
pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    digest_by(path, Hashing::Alone)
}

fn digest_by(path: &Path, hashing: Hashing) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = vec![0; HASHED_BYTES];
    loop {
        let count = match file.read(&mut bytes) {
            Ok(0) => return Ok(hasher.finalize().to_hex().to_string()),
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cause),
        };
        match hashing {
            Hashing::Alone => hasher.update(&bytes[..count]),
            Hashing::Together => hasher.update_rayon(&bytes[..count]),
        };
    }
}

/// The rename itself is durable only once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_draft_takes_its_name_or_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iter-001.h5");
        fs::write(&path, b"old").unwrap();
        let draft = Draft::new(&path);
        fs::write(draft.temporary(), b"half").unwrap();
        drop(draft);
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"old".to_vec(), 1));
        let mut draft = Draft::new(&path);
        fs::write(draft.temporary(), b"new").unwrap();
        let digest = draft.seal(Hashing::Alone).unwrap();
        assert_eq!(digest, blake3::hash(b"new").to_hex().to_string());
        let sidecar = folder.path().join("iter-001.h5.b3");
        commit([Draft::filled(&sidecar, digest.as_bytes()).unwrap(), draft]).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&sidecar).unwrap()), (b"new".to_vec(), digest.into_bytes()));
        assert_eq!(names(folder.path()).len(), 2);
        // Nothing was written: nothing appears, and nothing after it.
        let third = folder.path().join("iter-001.h5.x");
        assert!(commit([Draft::new(&path), Draft::filled(&third, b"x").unwrap()]).is_err());
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"new".to_vec(), 2));
        assert!(Draft::new(&path).seal(Hashing::Alone).is_err());
    }

    #[test]
    fn what_was_reserved_is_given_back_and_what_is_not_there_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iter-001.h5");
        let mut draft = Draft::new(&path);
        draft.reserve(8 << 20).unwrap();
        assert_eq!(fs::metadata(draft.temporary()).unwrap().len(), 0);
        fs::write(draft.temporary(), b"short").unwrap();
        draft.reserve(8 << 20).unwrap();
        draft.seal(Hashing::Alone).unwrap();
        commit([draft]).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * STAT_BLOCK_BYTES < 1 << 20);
        assert_eq!(fs::read(&path).unwrap(), b"short");

        let draft = Draft::new(&path);
        let error = draft.reserve(1 << 60).unwrap_err();
        assert!(error.code == ExitCode::Io && error.place.contains("iter-001.h5"), "{error}");
        assert!(error.problem.contains("1152921504606846976 bytes") && error.problem.contains("free on"), "{error}");
        assert!(error.fix.contains("Free some space"), "{error}");
        drop(draft);
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"short".to_vec(), 1));
    }
}
