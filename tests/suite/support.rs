//! Helpers shared by the tests.

use std::fs::File;
use std::path::PathBuf;

/// A file of `tests/golden` (numbers written by real RELION; see its README).
#[allow(dead_code)]
pub fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// A folder on a file system of some MiB (`mount -t tmpfs -o size=12m tmpfs DIR`, TEST_SMALL_DISK=DIR), for one test at a
/// time: as long as the file is open.
#[allow(dead_code)]
pub fn small_disk() -> (PathBuf, File) {
    let disk = PathBuf::from(std::env::var_os("TEST_SMALL_DISK").expect("TEST_SMALL_DISK names the folder"));
    let lock = File::create(std::env::temp_dir().join("relion-rs-small-disk.lock")).unwrap();
    lock.lock().unwrap();
    (disk, lock)
}
