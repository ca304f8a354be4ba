//! A summary of a run: what its events say, put together.

use std::fs;

use serde::Serialize;

use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::progress;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::JobEnded;
use crate::plan::progress::Record;
use crate::plan::progress::Started;

use super::cluster::Cluster;
use super::outlook::Outlook;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The engine has not started yet.
    Waiting,
    Running,
    /// Started on another machine and not ended: this one cannot tell.
    RunningElsewhere,
    /// The engine's process is gone without a word.
    Interrupted,
    Checkpointed,
    Finished,
    Failed,
}

/// Everything there is to say; the JSON form of this verb.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub state: State,
    pub kind: &'static str,
    pub host: Option<String>,
    /// The last iteration the plan allows.
    pub last_iteration: u32,
    pub iteration: Option<u32>,
    pub particles_done: usize,
    pub particles_total: usize,
    pub resolution_angstrom: Option<f64>,
    pub converged: bool,
    pub seconds_since_last_event: Option<f64>,
    pub checkpoint_iteration: Option<u32>,
    /// Particles of the iteration after that one which are on disk.
    pub checkpoint_particles: usize,
    pub iterations: Vec<IterationFinished>,
    pub warnings: Vec<String>,
    pub failure: Option<String>,
    /// Starts of the engine after the first.
    pub restarts: u32,
    pub seconds_since_checkpoint: Option<f64>,
    /// What the last job decided at its end.
    pub last_job: Option<JobEnded>,
    pub outlook: Outlook,
    /// Of a run that was submitted.
    pub cluster: Option<Cluster>,
}

/// Whether the process of this start still runs; `None` when that cannot be seen from this machine.
pub fn is_at_work(started: &Started) -> Option<bool> {
    let host = nix::unistd::gethostname().ok()?;
    if host.to_string_lossy() != started.host {
        return None;
    }
    let name = fs::read_to_string(format!("/proc/{}/comm", started.process)).unwrap_or_default();
    Some(name.trim_end() == "relion-rs-rank")
}

pub fn summarise(plan: &Plan, records: &[Record], is_at_work: impl Fn(&Started) -> Option<bool>) -> Summary {
    let mut summary = Summary {
        state: State::Waiting,
        kind: plan.kind.name(),
        host: None,
        last_iteration: plan.iterations,
        iteration: None,
        particles_done: 0,
        particles_total: 0,
        resolution_angstrom: None,
        converged: false,
        seconds_since_last_event: records.last().map(|last| (progress::unix_seconds() - last.unix_seconds).max(0.0)),
        checkpoint_iteration: None,
        checkpoint_particles: 0,
        iterations: Vec::new(),
        warnings: Vec::new(),
        failure: None,
        restarts: 0,
        seconds_since_checkpoint: None,
        last_job: None,
        outlook: Outlook::default(),
        cluster: None,
    };
    let age = |record: &Record| Some((progress::unix_seconds() - record.unix_seconds).max(0.0));
    let mut last_start = None;
    for record in records {
        match &record.event {
            Event::Started(started) => {
                summary.restarts += u32::from(last_start.is_some());
                last_start = Some(started);
                summary.state = State::Running;
                summary.host = Some(started.host.clone());
                summary.failure = None;
                summary.particles_total = started.particles;
                // A resumed run repeats what came after its checkpoint.
                let resumed_from = started.resumed_from.unwrap_or(0);
                summary.iterations.retain(|finished| finished.iteration <= resumed_from);
            }
            Event::IterationStarted { iteration } => {
                summary.iteration = Some(*iteration);
                summary.particles_done = 0;
            }
            Event::Batch { particles_done, particles_total, .. } => {
                (summary.particles_done, summary.particles_total) = (*particles_done, *particles_total);
            }
            Event::IterationFinished(finished) => {
                summary.iteration = Some(finished.iteration);
                summary.resolution_angstrom = Some(finished.resolution_angstrom);
                summary.iterations.push((**finished).clone());
            }
            Event::Warning { text } => summary.warnings.push(text.clone()),
            Event::Checkpoint { iteration, .. } => {
                summary.checkpoint_iteration = Some(*iteration);
                summary.checkpoint_particles = 0;
                summary.seconds_since_checkpoint = age(record);
            }
            Event::Finished { checkpointed, converged, resolution_angstrom, .. } => {
                summary.state = if *checkpointed { State::Checkpointed } else { State::Finished };
                summary.converged = *converged;
                summary.resolution_angstrom = Some(*resolution_angstrom);
            }
            Event::Failed { message, .. } => {
                summary.state = State::Failed;
                summary.failure = Some(message.clone());
            }
            Event::Part { particles_done, .. } => {
                summary.checkpoint_particles = *particles_done;
                summary.seconds_since_checkpoint = age(record);
            }
            Event::Ranks { .. } | Event::Phase { .. } | Event::ArenaTrace { .. } | Event::Stopping { .. } => {}
            Event::JobStarted(_) => summary.last_job = None,
            Event::JobEnded(ended) => summary.last_job = Some(ended.clone()),
        }
    }
    if let (State::Running, Some(started)) = (summary.state, last_start) {
        summary.state = match is_at_work(started) {
            Some(true) => State::Running,
            Some(false) => State::Interrupted,
            None => State::RunningElsewhere,
        };
    }
    summary.outlook = Outlook::of(&summary, is_counted(&summary), None, None);
    summary
}

/// A refinement ends when it has converged.
fn is_counted(summary: &Summary) -> bool {
    summary.kind == JobKind::Class3d.name()
}

impl Summary {
    /// Adds what Slurm says. It knows whether an engine on another machine is still there.
    pub fn add_cluster(&mut self, cluster: Option<Cluster>) {
        let Some(cluster) = cluster else { return };
        let job = cluster.job.as_ref();
        if self.state == State::RunningElsewhere {
            match job.map(|job| (job.state.is_running(), job.state.is_active())) {
                Some((true, _)) => self.state = State::Running,
                Some((_, false)) => self.state = State::Interrupted,
                _ => {}
            }
        }
        let (left, limit) = (cluster.seconds_left(), cluster.limit_seconds());
        self.outlook = Outlook::of(self, is_counted(self), left, limit);
        self.cluster = Some(cluster);
    }

    /// Whether nothing more will happen by itself.
    pub fn is_over(&self) -> bool {
        let is_active = self.cluster.as_ref().is_some_and(Cluster::is_active);
        match self.state {
            State::Finished => true,
            State::Running | State::RunningElsewhere => false,
            State::Waiting | State::Interrupted | State::Checkpointed | State::Failed => !is_active,
        }
    }
}
