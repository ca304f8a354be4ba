//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::File;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use tempfile::NamedTempFile;

use crate::error::Error;
use crate::error::Result;

/// How temporary names begin; the final name and some letters follow.
pub const TEMPORARY: &str = ".tmp-";

/// A file under a temporary name in the folder of its final one. It goes away unless it is committed.
#[derive(Debug)]
pub struct AtomicFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts a file that will be `path`.
    ///
    /// # Errors
    /// `CannotCreate` or `Io`, naming `path`.
    pub fn create(path: &Path) -> Result<Self> {
        // 0o666 less the umask, as for any other file; the default of temporary files is 0o600.
        let mut prefix = OsString::from(TEMPORARY);
        prefix.push(path.file_name().unwrap_or_default());
        prefix.push("-");
        let temporary = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o666))
            .prefix(&prefix)
            .tempfile_in(folder(path))
            .map_err(|cause| Error::writing(path, &cause))?;
        Ok(Self { temporary, path: path.to_path_buf() })
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Syncs the file, gives it its name, syncs the folder.
    ///
    /// # Errors
    /// `CannotCreate` or `Io`, naming `path`; what was at `path` before is still there.
    pub fn commit(self) -> Result<()> {
        let Self { temporary, path } = self;
        let failed = |cause: &std::io::Error| Error::writing(&path, cause);
        temporary.as_file().sync_all().map_err(|cause| failed(&cause))?;
        temporary.persist(&path).map_err(|error| failed(&error.error))?;
        File::open(folder(&path)).and_then(|folder| folder.sync_all()).map_err(|cause| failed(&cause))
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a text file.
///
/// # Errors
/// As [`AtomicFile`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = AtomicFile::create(path)?;
    file.file().write_all(text.as_bytes()).map_err(|cause| Error::writing(path, &cause))?;
    file.commit()
}
