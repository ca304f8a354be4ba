//! Files that appear whole or not at all.

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write;
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
    /// The temporary name is `.NAME.tmp`: the same each time, so that what a killed process left is overwritten.
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

/// Replaces the file at `path` by what `fill` writes. On any error (a full disk, say) the old file is left as it was
/// and nothing else stays behind; the error names `path`.
pub(crate) fn replace_file(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<()> {
    let draft = Draft::new(path);
    let written = File::create(draft.temporary()).and_then(|file| {
        let mut buffered = BufWriter::with_capacity(1 << 20, file);
        fill(&mut buffered)?;
        buffered.flush()
    });
    written.map_err(|e| Error::writing(path, &e))?;
    draft.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run_model.star");
        replace_file(&path, |f| f.write_all(b"old")).unwrap();
        let error = replace_file(&path, |f| {
            f.write_all(b"half of the n")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(error.to_string().contains("run_model.star"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        replace_file(&path, |f| f.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/run_model.star");
        let error = replace_file(&path, |f| f.write_all(b"x")).unwrap_err();
        assert_eq!(error.code, crate::error::ExitCode::CannotCreate);
    }
}
