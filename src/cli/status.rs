//! `status`: how far a run is, from its `progress.jsonl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::format_bytes;
use crate::plan::progress;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::Record;
use crate::plan::progress::Started;

use super::follow::iteration_line;
use super::resume::not_a_run;
use super::screen::Screen;
use super::screen::duration;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
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
struct Summary {
    state: State,
    kind: &'static str,
    host: Option<String>,
    /// The last iteration the plan allows.
    last_iteration: u32,
    iteration: Option<u32>,
    particles_done: usize,
    particles_total: usize,
    resolution_angstrom: Option<f64>,
    converged: bool,
    seconds_since_last_event: Option<f64>,
    checkpoint_iteration: Option<u32>,
    /// Particles of the iteration after that one which are on disk.
    checkpoint_particles: usize,
    iterations: Vec<IterationFinished>,
    warnings: Vec<String>,
    failure: Option<String>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let run_dir = RunDir::new(&arguments.run_dir);
    let plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    let records = match progress::read(&run_dir.progress()) {
        Ok(records) => records,
        Err(cause) if cause.code == ExitCode::NoInput => Vec::new(),
        Err(cause) => return Err(cause),
    };
    let summary = summarise(&plan, &records, is_at_work);
    if screen.is_json() {
        screen.print_json(&summary)?;
    } else {
        screen.print(&text(&summary))?;
    }
    Ok(ExitCode::Done)
}

/// Whether the process of this start still runs; `None` when that cannot be seen from this machine.
fn is_at_work(started: &Started) -> Option<bool> {
    let host = nix::unistd::gethostname().ok()?;
    if host.to_string_lossy() != started.host {
        return None;
    }
    let name = fs::read_to_string(format!("/proc/{}/comm", started.process)).unwrap_or_default();
    Some(name.trim_end() == "relion-rs-rank")
}

fn summarise(plan: &Plan, records: &[Record], is_at_work: impl Fn(&Started) -> Option<bool>) -> Summary {
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
    };
    let mut last_start = None;
    for record in records {
        match &record.event {
            Event::Started(started) => {
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
            Event::Part { particles_done, .. } => summary.checkpoint_particles = *particles_done,
            Event::Phase { .. } | Event::ArenaTrace { .. } | Event::Stopping { .. } => {}
            Event::JobStarted(_) | Event::JobEnded(_) => {}
        }
    }
    if let (State::Running, Some(started)) = (summary.state, last_start) {
        summary.state = match is_at_work(started) {
            Some(true) => State::Running,
            Some(false) => State::Interrupted,
            None => State::RunningElsewhere,
        };
    }
    summary
}

fn text(summary: &Summary) -> String {
    let mut lines = Vec::new();
    for finished in &summary.iterations {
        lines.push(iteration_line(finished));
    }
    if let Some(last) = summary.iterations.last() {
        let weights = last.weights;
        lines.push(format!(
            "memory: arena {} of {}; largest weight array {} (dense {}, CSR {})",
            format_bytes(last.arena_peak_bytes),
            format_bytes(last.arena_reserved_bytes),
            format_bytes(weights.blocks_bytes),
            format_bytes(weights.dense_bytes),
            format_bytes(weights.csr_bytes)
        ));
    }
    let mut phases: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, seconds) in summary.iterations.iter().flat_map(|finished| &finished.phase_seconds) {
        *phases.entry(name).or_default() += seconds;
    }
    if !phases.is_empty() {
        let phases: Vec<String> =
            phases.iter().map(|(name, seconds)| format!("{name} {}", duration(*seconds))).collect();
        lines.push(format!("time: {}", phases.join(", ")));
        let operations: f64 = summary.iterations.iter().map(|finished| finished.coarse_operations).sum();
        let seconds: f64 = summary.iterations.iter().filter_map(|finished| finished.phase_seconds.get("coarse")).sum();
        if operations > 0.0 && seconds > 0.0 {
            lines.push(format!("coarse search: {:.0} GFLOP/s", operations / seconds * 1e-9));
        }
    }
    for warning in &summary.warnings {
        lines.push(format!("warning: {warning}"));
    }
    let ago =
        summary.seconds_since_last_event.map_or_else(String::new, |s| format!(", last event {} ago", duration(s)));
    let at = match summary.iteration {
        Some(iteration) if summary.particles_done > 0 => {
            format!(" in iteration {iteration}, {} of {} particles", summary.particles_done, summary.particles_total)
        }
        Some(iteration) => format!(" in iteration {iteration}"),
        None => String::new(),
    };
    let resolution = summary.resolution_angstrom.map_or_else(String::new, |d| format!(" at {d:.2} A"));
    let host = summary.host.as_deref().unwrap_or("an unknown host");
    let state = match summary.state {
        State::Waiting => "not started: `relion-rs resume` starts it".to_string(),
        State::Running => format!("running{at}{ago}"),
        State::RunningElsewhere => format!("started on {host}{at}{ago}"),
        State::Interrupted => format!("interrupted{at}: `relion-rs resume` goes on from the last checkpoint"),
        State::Checkpointed => format!("stopped with a checkpoint{at}: `relion-rs resume` goes on"),
        State::Finished if summary.converged => format!("converged{resolution}"),
        State::Finished => format!("finished{resolution}"),
        State::Failed => format!("failed{at}: {}", summary.failure.as_deref().unwrap_or("without a reason")),
    };
    lines.push(format!("{}: {state}", summary.kind));
    lines.join("\n")
}
