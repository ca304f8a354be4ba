//! The one way in which an output file comes to be.

use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::atomic::AtomicFile;

/// Bytes collected before they are handed to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file under a temporary name in the same folder, syncs it, and gives it its name: the file at `path` is
/// the old one or the whole new one at any moment.
///
/// # Errors
/// The cause with `path`; the old file stays and no temporary file is left.
pub fn atomic(path: &Path, fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, file.file());
    let written = fill(&mut buffered).and_then(|()| buffered.flush());
    drop(buffered);
    written.map_err(|cause| Error::writing(path, &cause))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run_model.star");
        atomic(&path, |f| f.write_all(b"old")).unwrap();
        let error = atomic(&path, |f| {
            f.write_all(b"half of the n")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(error.to_string().contains("run_model.star"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        atomic(&path, |f| f.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let absent = folder.path().join("absent/run_model.star");
        assert_eq!(atomic(&absent, |_| Ok(())).unwrap_err().code, crate::error::ExitCode::CannotCreate);
    }
}
