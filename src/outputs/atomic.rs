//! The one way in which an output file comes to be.

use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::path::Path;

use crate::checkpoint::replace_file;
use crate::error::Result;

/// Writes a file under a temporary name in the same folder, syncs it, and gives it its name: the file at `path` is
/// the old one or the whole new one at any moment.
///
/// # Errors
/// The cause with `path`; the old file stays and no temporary file is left.
pub fn atomic(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    replace_file(path, fill)
}
