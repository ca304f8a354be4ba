//! Disks that are full: a limit on the size of files, which needs no rights, or a small file system that is filled up.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::setrlimit;
use nix::sys::statvfs::statvfs;

use crate::error::Error;
use crate::error::Result;
use crate::plan::format_bytes;

/// A file system with more room than this is not filled up.
const MOST_FREE: u64 = 1 << 30;

/// What is in the way of a start.
pub trait Obstacle {
    /// The largest file that the start may write, from its beginning.
    fn file_limit(&self) -> Option<u64>;
    /// Puts it there once the run has begun, until what is returned is dropped.
    fn rise(&self) -> Result<Option<Filler>>;
}

/// Files may not become larger.
pub struct Limit(pub u64);

impl Obstacle for Limit {
    fn file_limit(&self) -> Option<u64> {
        Some(self.0)
    }

    fn rise(&self) -> Result<Option<Filler>> {
        Ok(None)
    }
}

/// A small file system.
pub struct SmallDisk<'a>(pub &'a Path);

impl SmallDisk<'_> {
    /// Refuses a large one.
    ///
    /// # Errors
    /// It cannot be read, or has so much room that filling it would be a nuisance.
    pub fn check(&self) -> Result<()> {
        let disk = statvfs(self.0).map_err(|cause| Error::reading(self.0, &io::Error::from(cause)))?;
        let free = disk.blocks_available() * disk.fragment_size();
        if free <= MOST_FREE {
            return Ok(());
        }
        Err(Error::usage(
            format!("--disk {}: {} are free there, which is too much to fill up", self.0.display(), format_bytes(free)),
            "Name a small file system, or leave --disk out: then files are limited in size instead.",
        ))
    }
}

impl Obstacle for SmallDisk<'_> {
    fn file_limit(&self) -> Option<u64> {
        None
    }

    fn rise(&self) -> Result<Option<Filler>> {
        let path = self.0.join(format!("relion-rs-drill-{}.filler", std::process::id()));
        let mut file = File::create(&path).map_err(|cause| Error::writing(&path, &cause))?;
        let filler = Filler(path);
        // Large pieces, then small ones, until nothing fits.
        for piece in [1 << 20, 1 << 12] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).and_then(|()| file.sync_data()).is_ok() {}
        }
        Ok(Some(filler))
    }
}

/// The file that takes all room; removed when dropped.
pub struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        // When it cannot be removed, the next start says that the disk is full.
        let _ = fs::remove_file(&self.0);
    }
}

/// Does something, such as starting a process, under a limit on the size of files.
pub fn with_file_limit<R>(limit: Option<u64>, work: impl FnOnce() -> R) -> Result<R> {
    let Some(limit) = limit else { return Ok(work()) };
    let failed = |cause: nix::Error| Error::internal(format!("limit on the size of files: {cause}"));
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).map_err(failed)?;
    setrlimit(Resource::RLIMIT_FSIZE, limit.min(soft), hard).map_err(failed)?;
    let result = work();
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).map_err(failed)?;
    Ok(result)
}
