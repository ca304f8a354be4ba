//! File systems: whether locks work where a run writes, and how fast scratch is.

use std::fs::File;
use std::fs::TryLockError;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use nix::fcntl::PosixFadviseAdvice;
use nix::fcntl::posix_fadvise;
use nix::sys::statvfs::statvfs;

use crate::plan::format_bytes;

use super::answer::Finding;

const BLOCK: usize = 8 << 20;
/// However slow, nobody waits longer for either direction.
const LONGEST: Duration = Duration::from_secs(10);
/// Images of a large data set are read at least so fast by a rank that has something to do.
const SLOW_MEGABYTES_A_SECOND: f64 = 100.0;

pub fn look(folder: &Path, scratch: &Path, scratch_bytes: u64, findings: &mut Vec<Finding>) {
    findings.push(locks(folder));
    findings.push(speed(scratch, scratch_bytes));
}

/// Two openings of one file must exclude each other: `log/lock` keeps two engines out of one run folder.
fn locks(folder: &Path) -> Finding {
    let (topic, place) = ("run folder", folder.display());
    let tried = || -> io::Result<bool> {
        let file = tempfile::NamedTempFile::new_in(folder)?;
        file.as_file().lock()?;
        match File::open(file.path())?.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    };
    let free = statvfs(folder).map(|system| system.blocks_available() * system.fragment_size());
    let free = free.map_or_else(|_| String::new(), |bytes| format!(", {} free", format_bytes(bytes)));
    let care = "Never start two jobs in one run folder there, or have the file system mounted with locks (NFS: without \
                `nolock`; Lustre: with `flock`).";
    match tried() {
        Ok(true) => Finding::ok(topic, format!("{place} can be written{free}; file locks work")),
        Ok(false) => Finding::warning(topic, format!("{place}: a file lock does not keep others out"), care),
        Err(cause) if cause.kind() == io::ErrorKind::Unsupported => {
            Finding::warning(topic, format!("{place} has no file locks"), care)
        }
        Err(cause) => {
            let remedy = "Look from a folder that you may write to: there, runs are started.";
            Finding::warning(topic, format!("{place} cannot be written: {cause}"), remedy)
        }
    }
}

fn speed(folder: &Path, bytes: u64) -> Finding {
    let (topic, place) = ("scratch", folder.display());
    let free = match statvfs(folder) {
        Ok(system) => system.blocks_available() * system.fragment_size(),
        Err(cause) => {
            let remedy = "Name a folder that is there: `scratch` in the site file, or TMPDIR.";
            return Finding::warning(topic, format!("{place}: {cause}"), remedy);
        }
    };
    // What others write meanwhile shall not fail because of this.
    let bytes = bytes.min(free / 4) / BLOCK as u64 * BLOCK as u64;
    if bytes == 0 {
        return Finding::ok(topic, format!("{place}, {} free; its speed was not measured", format_bytes(free)));
    }
    match measure(folder, bytes) {
        Ok((written, read)) => {
            let found = format!("{place}, {} free; writes {written:.0} MB/s, reads {read:.0} MB/s", format_bytes(free));
            if written < SLOW_MEGABYTES_A_SECOND || read < SLOW_MEGABYTES_A_SECOND {
                let remedy = "Slower than images are used: name a local disk as `scratch` in the site file, or TMPDIR.";
                return Finding::warning(topic, found, remedy);
            }
            Finding::ok(topic, found)
        }
        Err(cause) => Finding::warning(
            topic,
            format!("{place} cannot be written: {cause}"),
            "Name a folder that jobs may write to: `scratch` in the site file, or TMPDIR.",
        ),
    }
}

/// Megabytes a second written (until it is durable) and read.
fn measure(folder: &Path, bytes: u64) -> io::Result<(f64, f64)> {
    let mut file = tempfile::tempfile_in(folder)?;
    // No two blocks are equal, so that nothing compresses them away.
    let mut state = 1_u64;
    let mut block: Vec<u8> = Vec::with_capacity(BLOCK);
    let mut done = 0;
    let mut seconds = 0.0;
    while done < bytes && seconds < LONGEST.as_secs_f64() {
        block.clear();
        while block.len() < BLOCK {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            block.extend_from_slice(&(state >> 16).to_le_bytes());
        }
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        seconds += start.elapsed().as_secs_f64();
        done += BLOCK as u64;
    }
    let written = done as f64 / 1e6 / seconds.max(1e-9);
    // Where the system keeps the pages all the same, this is the speed of memory.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    file.seek(SeekFrom::Start(0))?;
    block.resize(BLOCK, 0);
    let (start, mut read) = (Instant::now(), 0);
    while read < done && start.elapsed() < LONGEST {
        file.read_exact(&mut block)?;
        read += BLOCK as u64;
    }
    Ok((written, read as f64 / 1e6 / start.elapsed().as_secs_f64().max(1e-9)))
}
