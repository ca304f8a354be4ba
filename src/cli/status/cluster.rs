//! The jobs of a run, as Slurm shows them.

use serde::Serialize;

use crate::cli::jobs;
use crate::cli::jobs::Jobs;
use crate::cli::screen::duration;
use crate::error::Result;
use crate::plan::RunDir;
use crate::slurm::Job;
use crate::slurm::State;

/// What Slurm says about a run that was submitted.
#[derive(Clone, Debug, Serialize)]
pub struct Cluster {
    /// The number of the last submission.
    pub submitted: String,
    /// The job that runs, waits or was the last; `None` when Slurm does not know it any more.
    pub job: Option<Job>,
    /// Jobs that wait for the end of another.
    pub continuations: Vec<String>,
    /// Commands of Slurm that gave no answer.
    pub silent: Vec<String>,
}

impl Cluster {
    /// `None` for a run that was not submitted.
    pub fn look(run_dir: &RunDir) -> Result<Option<Self>> {
        let jobs = Jobs::of(run_dir)?;
        let Some(last) = jobs.ids().last().map(|id| (*id).to_owned()) else { return Ok(None) };
        let seen = jobs.look();
        let job = jobs::foremost(&seen).cloned();
        let others = seen.iter().filter_map(|(_, seen)| seen.job.as_ref());
        let waits = |other: &&Job| other.state.is_active() && job.as_ref().is_some_and(|job| job.id != other.id);
        Ok(Some(Self {
            submitted: last,
            continuations: others.filter(waits).map(|other| other.id.clone()).collect(),
            job: job.clone(),
            silent: jobs::silent(&seen),
        }))
    }

    /// Whether Slurm has, or may have, something to do for the run.
    pub fn is_active(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.state.is_active()) || !self.continuations.is_empty()
    }

    pub fn is_waiting(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.state.is_active() && !job.state.is_running())
    }

    /// Seconds of walltime that are left to the job.
    pub fn seconds_left(&self) -> Option<f64> {
        let job = self.job.as_ref().filter(|job| job.state.is_running())?;
        job.time_left?.seconds().map(|seconds| seconds as f64)
    }

    pub fn limit_seconds(&self) -> Option<f64> {
        self.job.as_ref()?.time_limit?.seconds().map(|seconds| seconds as f64)
    }

    /// In lines.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![match &self.job {
            Some(job) => line(job),
            None if self.silent.is_empty() => format!("job {}: Slurm does not know it any more", self.submitted),
            None => format!("job {}: nothing is known", self.submitted),
        }];
        if !self.continuations.is_empty() {
            lines.push(format!("queued to go on after it: {}", self.continuations.join(", ")));
        }
        lines.extend(self.silent.iter().map(|why| format!("no answer: {why}")));
        lines
    }
}

fn line(job: &Job) -> String {
    let mut parts = vec![format!("job {}: {}", job.id, job.state)];
    if let Some(reason) = &job.reason {
        let words = if job.state.is_active() { told(reason) } else { reason.clone() };
        parts.push(format!("({words})"));
    }
    if let Some(nodes) = &job.nodes {
        parts.push(format!("on {nodes}"));
    }
    if let Some(partition) = &job.partition {
        parts.push(format!("in {partition}"));
    }
    let mut text = parts.join(" ");
    if job.is_preempted == Some(true) && job.state.is_running() {
        text.push_str(", being preempted");
    }
    match job.time_left.map(crate::slurm::Span::seconds) {
        Some(Some(seconds)) if job.state.is_running() => {
            text.push_str(&format!(", {} left", duration(seconds as f64)));
        }
        Some(None) if job.state.is_running() => text.push_str(", without a time limit"),
        _ => {}
    }
    if job.state == State::Pending
        && let Some(start) = &job.start
    {
        text.push_str(&format!(", to start at {start} or later"));
    }
    text
}

/// Slurm's reasons that puzzle people, in words.
fn told(reason: &str) -> String {
    let words = match reason {
        "BeginTime" => "waits before it may start again",
        "Dependency" => "waits for another job to end",
        "DependencyNeverSatisfied" => "waits for a job that never ended as it should: cancel it",
        "Priority" | "Resources" => "waits for its turn",
        "JobHeldUser" | "JobHeldAdmin" => "held, `scontrol release` lets it go",
        "AssocGrpGRES" | "QOSMaxJobsPerUserLimit" | "QOSMaxGRESPerUser" | "AssocMaxJobsLimit" => "at a limit of yours",
        "ReqNodeNotAvail" => "its nodes are not there",
        _ => return reason.to_owned(),
    };
    format!("{reason}: {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm::Span;

    fn job(state: &str) -> Job {
        let text = format!(
            "JobId=7 JobState={state} Reason=None Partition=low NodeList=n1 StartTime=2026-11-26T03:15:24 \
             RunTime=00:10:00 TimeLimit=01:00:00 PreemptTime=None"
        );
        crate::slurm::parse_scontrol(&text).unwrap()
    }

    #[test]
    fn a_job_is_one_line() {
        assert_eq!(line(&job("RUNNING")), "job 7: RUNNING on n1 in low, 50 min 00 s left");
        assert_eq!(
            line(&Job { is_preempted: Some(true), time_left: Some(Span::Unlimited), ..job("RUNNING") }),
            "job 7: RUNNING on n1 in low, being preempted, without a time limit"
        );
        let waits = Job { reason: Some("BeginTime".to_owned()), nodes: None, ..job("PENDING") };
        assert_eq!(
            line(&waits),
            "job 7: PENDING (BeginTime: waits before it may start again) in low, to start at 2026-11-26T03:15:24 or later"
        );
        assert_eq!(line(&Job { nodes: None, partition: None, ..job("HIBERNATING") }), "job 7: HIBERNATING");
    }
}
