//! The one error of the library, and the table of exit codes.
//!
//! A message names the place (file, line, column, image), the problem and the fix.
//! Codes follow `sysexits.h`, so that a batch script can tell a bad input from a full disk.

use std::fmt;
use std::path::Path;

/// Exit code of a process, by cause. The numbers are part of the interface (`docs/exit-codes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The work is finished.
    Done = 0,
    /// Wrong flags or an impossible combination of settings.
    Usage = 64,
    /// An input was found but its content is wrong.
    BadData = 65,
    /// An input does not exist or cannot be opened.
    NoInput = 66,
    /// A backend, library or device that was asked for is not there.
    Unavailable = 69,
    /// A defect of this program.
    Internal = 70,
    /// The job cannot fit into the memory it was given.
    Memory = 71,
    /// An output cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed half-way (full disk, failing file system).
    Io = 74,
    /// Stopped with a checkpoint: run again to continue.
    Checkpointed = 75,
    /// A configuration file is wrong.
    Config = 78,
}

impl ExitCode {
    pub const ALL: [Self; 11] = [
        Self::Done,
        Self::Usage,
        Self::BadData,
        Self::NoInput,
        Self::Unavailable,
        Self::Internal,
        Self::Memory,
        Self::CannotCreate,
        Self::Io,
        Self::Checkpointed,
        Self::Config,
    ];

    /// The cause a process ended with, if its code is one of ours.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == code)
    }
}

/// A failure that a user can meet.
#[derive(Debug)]
pub struct Error {
    pub code: ExitCode,
    /// Where: `particles.star, line 31, column rlnDefocusU`, `stack.mrcs, image 17`. May be empty.
    pub place: String,
    /// What is wrong, with the offending value.
    pub problem: String,
    /// What to do about it. May be empty.
    pub fix: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: ExitCode, place: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, place: place.into(), problem: problem.into(), fix: fix.into() }
    }

    pub fn usage(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, "", problem, fix)
    }

    pub fn bad_data(place: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(ExitCode::BadData, place, problem, fix)
    }

    pub fn internal(problem: impl Into<String>) -> Self {
        Self::new(
            ExitCode::Internal,
            "",
            problem,
            "This is a defect of relion-rs; please report it with the command line.",
        )
    }

    /// Opening or reading `path` failed.
    pub fn reading(path: &Path, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let (code, fix) = match cause.kind() {
            Kind::NotFound => (
                ExitCode::NoInput,
                "Check the path; relative paths resolve against the STAR file's folder, then the working directory.",
            ),
            Kind::PermissionDenied => {
                (ExitCode::NoInput, "Ask for read permission on the file and on the folders above it.")
            }
            Kind::IsADirectory => (ExitCode::NoInput, "Name a file, not a folder."),
            _ => (ExitCode::Io, "Check the file system the file lives on."),
        };
        Self::new(code, path.display().to_string(), format!("cannot read: {cause}"), fix)
    }

    /// Creating or writing `path` failed.
    pub fn writing(path: &Path, cause: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let (code, fix) = match cause.kind() {
            Kind::NotFound | Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::NotADirectory => {
                (ExitCode::CannotCreate, "Choose a folder that exists and that you may write to.")
            }
            Kind::StorageFull | Kind::QuotaExceeded => (
                ExitCode::Io,
                "Free some space, then run the same command again: it continues from the last checkpoint.",
            ),
            _ => (ExitCode::Io, "Check the file system the file lives on."),
        };
        Self::new(code, path.display().to_string(), format!("cannot write: {cause}"), fix)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.problem)?;
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
