//! Where this process is: the job around it, and the submissions of its run.

use std::env;
use std::fs;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::slurm;
use crate::slurm::Submission;

/// The job around this process, as Slurm's variables tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number by which the job was submitted: `123`, or `123_4` in an array.
    pub id: String,
    /// Its own number, which is another one in an array.
    pub raw: String,
    pub restarts: u32,
    pub nodes: String,
    pub partition: String,
}

impl Place {
    /// `None` outside of a job.
    pub fn of_process() -> Option<Self> {
        let raw = variable("SLURM_JOB_ID")?;
        let id = match (variable("SLURM_ARRAY_JOB_ID"), variable("SLURM_ARRAY_TASK_ID")) {
            (Some(array), Some(task)) => format!("{array}_{task}"),
            _ => raw.clone(),
        };
        Some(Self {
            id,
            raw,
            restarts: variable("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok()).unwrap_or(0),
            nodes: variable("SLURM_JOB_NODELIST").unwrap_or_default(),
            partition: variable("SLURM_JOB_PARTITION").unwrap_or_default(),
        })
    }

    /// The log of this job.
    pub fn log(&self, run_dir: &RunDir) -> PathBuf {
        let by = |id: &str| run_dir.logs().join(format!("slurm-{id}.out"));
        let (own, usual) = (by(&self.id), by(&self.raw));
        if !usual.exists() && own.exists() { own } else { usual }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Seconds from now to the end of the job, where the script knows it.
pub fn seconds_left() -> Option<f64> {
    let end: f64 = variable("SLURM_JOB_END_TIME")?.parse().ok()?;
    (end > 0.0).then(|| end - progress::unix_seconds())
}

/// All submissions of a run; none where it was never submitted.
///
/// # Errors
/// The file is there and cannot be read.
pub fn submitted(run_dir: &RunDir) -> Result<Vec<Submission>> {
    match fs::read_to_string(run_dir.jobid()) {
        Ok(text) => Ok(slurm::submissions(&text)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(cause) => Err(Error::reading(&run_dir.jobid(), &cause)),
    }
}

/// Adds a line to a file.
///
/// # Errors
/// It cannot be written.
pub fn append(path: &Path, line: &str) -> Result<()> {
    let failed = |cause: std::io::Error| Error::writing(path, &cause);
    let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
    file.write_all(line.as_bytes()).map_err(failed)
}

/// The jobs that go on after this one, and after those.
pub fn followers(submissions: &[Submission], id: &str) -> Vec<String> {
    let mut chain = vec![id.to_owned()];
    for submission in submissions {
        if submission.after.as_ref().is_some_and(|after| chain.contains(after)) {
            chain.push(submission.id.clone());
        }
    }
    chain.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_are_found_along_the_chain() {
        let submissions = slurm::submissions("1\n2 afterany:1\n5\n3 afterany:2\n6 afterany:5\n");
        assert_eq!(followers(&submissions, "1"), ["2", "3"]);
        assert_eq!(followers(&submissions, "2"), ["3"]);
        assert_eq!(followers(&submissions, "6"), [""; 0]);
    }
}
