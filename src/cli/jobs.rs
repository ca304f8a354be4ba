//! The jobs of a run, for the verbs that look at them from outside.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::RunDir;
use crate::slurm;
use crate::slurm::Job;
use crate::slurm::Seen;
use crate::slurm::Submission;

use super::in_job;

/// What was submitted last by a person, and what goes on after that.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    pub submissions: Vec<Submission>,
}

impl Jobs {
    /// # Errors
    /// The file with the jobs' numbers is there and cannot be read, or holds none.
    pub fn of(run_dir: &RunDir) -> Result<Self> {
        let all = in_job::submitted(run_dir)?;
        if all.is_empty() && run_dir.jobid().is_file() {
            return Err(Error::new(
                ExitCode::BadData,
                run_dir.jobid().display().to_string(),
                "holds no number of a job",
                "Write the job's number into it, one a line (`squeue --me` lists your jobs), or remove it.",
            ));
        }
        let first = all.iter().rposition(|submission| submission.after.is_none()).unwrap_or(0);
        Ok(Self { submissions: all[first..].to_vec() })
    }

    pub fn ids(&self) -> Vec<&str> {
        self.submissions.iter().map(|submission| submission.id.as_str()).collect()
    }

    /// Asks Slurm about each.
    pub fn look(&self) -> Vec<(String, Seen)> {
        self.ids().into_iter().map(|id| (id.to_owned(), slurm::look(id))).collect()
    }
}

/// The job that matters most: one that runs, else the first that waits, else the last one that ever ran.
pub fn foremost(seen: &[(String, Seen)]) -> Option<&Job> {
    let jobs = || seen.iter().filter_map(|(_, seen)| seen.job.as_ref());
    let running = jobs().find(|job| job.state.is_running());
    let active = running.or_else(|| jobs().find(|job| job.state.is_active()));
    active.or_else(|| jobs().rfind(|job| job.nodes.is_some())).or_else(|| jobs().next_back())
}

/// The commands that gave no answer, each once.
pub fn silent(seen: &[(String, Seen)]) -> Vec<String> {
    let mut told = Vec::new();
    for why in seen.iter().flat_map(|(_, seen)| &seen.silent) {
        if !told.contains(why) {
            told.push(why.clone());
        }
    }
    told
}
