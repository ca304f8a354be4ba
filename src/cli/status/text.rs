//! A summary, for people.

use std::collections::BTreeMap;

use crate::cli::follow::iteration_line;
use crate::cli::screen::counted;
use crate::cli::screen::duration;
use crate::plan::format_bytes;
use crate::plan::progress::Outcome;

use super::gather::State;
use super::gather::Summary;

/// All lines, the state last.
pub fn text(summary: &Summary) -> String {
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
    lines.extend(checkpoint_line(summary));
    if let Some(cluster) = &summary.cluster {
        lines.extend(cluster.lines());
    }
    if let Some(ended) = &summary.last_job {
        let verb = if ended.outcome == Outcome::Waits { "stays" } else { "ended" };
        lines.push(format!("job {} {verb}: {}", ended.job, ended.why));
    }
    lines.push(state_line(summary));
    lines.join("\n")
}

/// How old what is on disk is, of a run that has not ended.
fn checkpoint_line(summary: &Summary) -> Option<String> {
    if summary.state == State::Finished {
        return None;
    }
    let (iteration, age) = (summary.checkpoint_iteration?, duration(summary.seconds_since_checkpoint?));
    let part = match summary.checkpoint_particles {
        0 => String::new(),
        count => format!(", with {} of iteration {}", counted(count, "particle"), iteration + 1),
    };
    let restarts = match summary.restarts {
        0 => String::new(),
        count => format!("; {}", counted(count as usize, "restart")),
    };
    Some(format!("last checkpoint: after iteration {iteration}{part}, {age} ago{restarts}"))
}

/// What the run does, in one line.
pub fn state_line(summary: &Summary) -> String {
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
    let left = summary.outlook.line().map_or_else(String::new, |line| format!(", {line}"));
    let state = match summary.state {
        State::Waiting => format!("not started: {}", goes_on(summary, "`relion-rs resume` starts it")),
        State::Running => format!("running{at}{ago}{left}"),
        State::RunningElsewhere => format!("started on {host}{at}{ago}{left}"),
        State::Interrupted => {
            format!("interrupted{at}: {}", goes_on(summary, "`relion-rs resume` goes on from the last checkpoint"))
        }
        State::Checkpointed => {
            format!("stopped with a checkpoint{at}: {}", goes_on(summary, "`relion-rs resume` goes on"))
        }
        State::Finished if summary.converged => format!("converged{resolution}"),
        State::Finished => format!("finished{resolution}"),
        State::Failed => format!("failed{at}: {}", summary.failure.as_deref().unwrap_or("without a reason")),
    };
    format!("{}: {state}", summary.kind)
}

/// What makes a run go on that does nothing at present.
fn goes_on(summary: &Summary, by_hand: &str) -> String {
    match &summary.cluster {
        Some(cluster) if cluster.is_waiting() => "it goes on by itself when Slurm starts its job".to_string(),
        Some(cluster) if cluster.is_active() => "its job is not over yet".to_string(),
        _ => by_hand.to_string(),
    }
}

/// The state and the job in one line, without what changes every second.
pub fn short(summary: &Summary) -> String {
    let at = match (summary.iteration, summary.resolution_angstrom) {
        (Some(iteration), Some(resolution)) => format!(", iteration {iteration}, {resolution:.2} A"),
        (Some(iteration), None) => format!(", iteration {iteration}"),
        (None, _) => String::new(),
    };
    let done = match (summary.particles_done, summary.particles_total) {
        (0, _) | (_, 0) => String::new(),
        (done, total) => format!(", {} %", done * 100 / total),
    };
    let job = summary.cluster.as_ref().and_then(|cluster| cluster.job.as_ref());
    let job = job.map_or_else(String::new, |job| format!(", job {} {}", job.id, job.state));
    let state = match summary.state {
        State::Waiting => "not started",
        State::Running | State::RunningElsewhere => "running",
        State::Interrupted => "interrupted",
        State::Checkpointed => "stopped with a checkpoint",
        State::Finished => "finished",
        State::Failed => "failed",
    };
    format!("{}: {state}{at}{done}{job}", summary.kind)
}
