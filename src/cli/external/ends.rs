//! The empty files by which a job tells RELION how it ended.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Success,
    Failure,
    Aborted,
}

impl End {
    const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Aborted];

    fn name(self) -> &'static str {
        match self {
            Self::Success => "RELION_JOB_EXIT_SUCCESS",
            Self::Failure => "RELION_JOB_EXIT_FAILURE",
            Self::Aborted => "RELION_JOB_EXIT_ABORTED",
        }
    }

    /// Says it.
    pub fn mark(self, folder: &Path) -> Result<()> {
        let path = folder.join(self.name());
        fs::write(&path, "").map_err(|cause| Error::writing(&path, &cause))
    }

    /// Takes back what was said before.
    pub fn clear(folder: &Path) -> Result<()> {
        for end in Self::ALL {
            let path = folder.join(end.name());
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(Error::writing(&path, &cause)),
                _ => {}
            }
        }
        Ok(())
    }
}
