//! Helpers shared by the tests.

use std::path::PathBuf;

/// A file of `tests/golden` (numbers written by real RELION; see its README).
#[allow(dead_code)]
pub fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}
