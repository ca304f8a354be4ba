//! Every path inside a run folder, once.

use std::fs;
use std::fs::File;
use std::fs::TryLockError;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::progress::unix_seconds;

/// What a process says that finds the folder taken.
pub const TAKEN: &str = "another relion-rs-rank works in this run folder";
/// How long a folder that is taken is tried again, and how often.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A run folder: the only thing that passes between launcher and engine (`docs/run-folder.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

/// Held while a process works in a run folder; released when dropped or when the process dies.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunDir {
    /// Prefix of all outputs, as in RELION's `--o DIR/run`.
    pub const OUTPUT_PREFIX: &'static str = "run";
    /// Name of the file with one line per event.
    pub const PROGRESS: &'static str = "progress.jsonl";

    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What was asked.
    pub fn job(&self) -> PathBuf {
        self.root.join("job.toml")
    }

    /// What was decided.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// The batch script.
    pub fn script(&self) -> PathBuf {
        self.root.join("job.sbatch")
    }

    /// One line a submission, the Slurm job id first on the line; the last line counts.
    pub fn jobid(&self) -> PathBuf {
        self.root.join("jobid")
    }

    /// What was asked of the cluster when the run was submitted last.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("cluster.toml")
    }

    /// In a branch: where it comes from.
    pub fn branch(&self) -> PathBuf {
        self.root.join("branch.json")
    }

    /// One line per event.
    pub fn progress(&self) -> PathBuf {
        self.root.join(Self::PROGRESS)
    }

    /// Folder of the checkpoints.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// Log of one rank.
    pub fn log(&self, rank: usize) -> PathBuf {
        self.root.join(format!("log/rank-{rank:03}.log"))
    }

    /// Appends a line to the log of a rank.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn tell_log(&self, rank: usize, text: &str) -> Result<()> {
        let path = self.log(rank);
        let failed = |cause: std::io::Error| Error::writing(&path, &cause);
        let mut file = File::options().append(true).create(true).open(&path).map_err(failed)?;
        file.write_all(format!("{:.3} {text}\n", unix_seconds()).as_bytes()).map_err(failed)
    }

    /// Folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The page written by `relion-rs report`.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// A file of this name asks the engine to stop with a checkpoint, as in RELION.
    pub fn abort_request(&self) -> PathBuf {
        self.root.join("RELION_JOB_ABORT_NOW")
    }

    /// Whether the engine is asked to stop. The request is taken away: the next start is to go on.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn take_abort_request(&self) -> Result<bool> {
        let path = self.abort_request();
        if path.is_dir() {
            return Ok(false);
        }
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(Error::writing(&path, &cause)),
        }
    }

    /// An output by the end of its name: `output("it010_class001.mrc")` is `DIR/run_it010_class001.mrc`.
    pub fn output(&self, name: &str) -> PathBuf {
        self.root.join(format!("{}_{name}", Self::OUTPUT_PREFIX))
    }

    fn lock_file(&self) -> PathBuf {
        self.root.join("log/lock")
    }

    /// Creates the folder and its sub-folders.
    pub fn create(&self) -> Result<()> {
        for folder in [self.root.clone(), self.checkpoint(), self.root.join("log")] {
            fs::create_dir_all(&folder).map_err(|cause| {
                let mut error = Error::writing(&folder, &cause);
                // A plain file in the way reads "File exists"; nothing can be created there either.
                if cause.kind() == std::io::ErrorKind::AlreadyExists {
                    error.code = ExitCode::CannotCreate;
                    error.fix = "A file is in the way: choose another run folder.".to_string();
                }
                error
            })?;
        }
        Ok(())
    }

    /// Takes the folder for this process. The engine of a launcher that was killed dies a moment later, so that a
    /// restart at once would find the folder taken: it is tried for a while.
    ///
    /// # Errors
    /// `Usage` when another process works in it.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.lock_file();
        let file = File::create(&path).map_err(|cause| Error::writing(&path, &cause))?;
        let end = Instant::now() + LOCK_PATIENCE;
        let mut taken = file.try_lock();
        while matches!(taken, Err(TryLockError::WouldBlock)) && Instant::now() < end {
            std::thread::sleep(LOCK_PAUSE);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => Ok(RunLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ExitCode::Usage,
                self.root.display().to_string(),
                TAKEN,
                "Wait for it to end (`relion-rs status` shows it) or choose another folder.",
            )),
            // Some network file systems have no locks; working without one is what every other program does there.
            Err(TryLockError::Error(cause)) if cause.kind() == std::io::ErrorKind::Unsupported => {
                Ok(RunLock { _file: file })
            }
            Err(TryLockError::Error(cause)) => Err(Error::writing(&path, &cause)),
        }
    }
}
