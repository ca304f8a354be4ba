//! A checkpoint file appears whole or not at all. (Other files do so by `formats::atomic`; this one is opened by
//! libhdf5, under a name that stays the same so that what a killed process left is overwritten.)

use std::fs;
use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

/// A file being written under a temporary name beside its final one; removed unless committed.
pub(super) struct Draft {
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl Draft {
    /// The temporary name is `.NAME.tmp`.
    pub(super) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.tmp"));
        Self { temporary, path: path.to_path_buf(), committed: false }
    }

    pub(super) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Syncs the temporary file, takes the final name, syncs the folder.
    pub(super) fn commit(mut self) -> Result<()> {
        let committed = File::open(&self.temporary)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .and_then(|()| sync_folder(&self.path));
        committed.map_err(|e| Error::writing(&self.path, &e))?;
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

    #[test]
    fn a_draft_takes_its_name_or_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("iter-001.h5");
        fs::write(&path, b"old").unwrap();
        let draft = Draft::new(&path);
        fs::write(draft.temporary(), b"half").unwrap();
        drop(draft);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let draft = Draft::new(&path);
        fs::write(draft.temporary(), b"new").unwrap();
        draft.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Draft::new(&path).commit().is_err());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
