//! What becomes of a job whose ranks have ended: one function of what is known, without any call.
//!
//! A job that simply ends in the grace time of a preemption counts as completed and never comes back; one that asks to
//! be queued again after `scancel` would never end. So it asks to come back only where nobody can have meant it to end:
//! near its time limit, when Slurm says that it preempts it, or when a rank was lost.

#[cfg(test)]
mod tests;

use crate::error::ExitCode;
use crate::plan::TAKEN;
use crate::plan::progress::END_OF_HOURS;
use crate::plan::progress::END_OF_TIME;
use crate::plan::progress::Outcome;
use crate::slurm::Standing;

use super::deaths::Death;

/// Slurm may send the signal of `--signal` up to a minute early.
const EARLY_SECONDS: f64 = 60.0;
/// From this code on it was a signal that ended a rank, in the way that shells and `srun` tell it.
pub const FIRST_SIGNAL_CODE: u8 = 128;

/// What is known.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// With which the ranks ended. `srun` ends with 0 when it loses a node.
    pub code: u8,
    /// The run itself says that nothing is left to do.
    pub is_finished: bool,
    /// Why the engine was asked to stop.
    pub cause: Option<&'a str>,
    /// Code and message of the engine's own error.
    pub failure: Option<(u8, &'a str)>,
    pub death: Option<&'a Death>,
    /// The node to be left out next time.
    pub broken_node: Option<&'a str>,
    /// Until the time limit; `None` when there is none or it is not known.
    pub seconds_left: Option<f64>,
    /// The signal of the time limit comes so many seconds before it.
    pub margin_seconds: f64,
    pub standing: Standing,
    pub restarts: u32,
    pub max_restarts: u32,
    pub may_requeue: bool,
    /// The last restarts were in vain.
    pub is_stuck: bool,
    /// A job that waits for the end of this one.
    pub next_job: Option<&'a str>,
    /// How long it has stayed alive already, and how long it does so at most: after SIGTERM, and after a signal that no
    /// `scancel` sends unless told to.
    pub waited_seconds: f64,
    pub patience_seconds: [f64; 2],
    /// The command by which a person makes it go on.
    pub go_on: &'a str,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// End, with this outcome and code.
    End(Outcome, u8),
    /// Ask Slurm to queue it again, if possible without this node.
    Requeue { without: Option<String> },
    /// Stay alive and look again.
    Wait,
}

/// A step, and the sentence that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub step: Step,
    pub why: String,
}

const CHECKPOINTED: u8 = ExitCode::Checkpointed as u8;

/// Decides.
pub fn decide(facts: &Facts<'_>) -> Decision {
    if facts.code == 0 && facts.is_finished {
        return end(Outcome::Done, 0, "the run is finished".to_owned());
    }
    if let Some((code, why)) = own_error(facts) {
        let again = match facts.standing {
            Standing::ComesBack => "Slurm has queued the job again all the same: `scancel` it, or it fails once more",
            _ => "it is not started again",
        };
        return end(Outcome::Failed, code, format!("{why}; {again}"));
    }
    match facts.standing {
        Standing::ComesBack => {
            let why = "Slurm has queued this job again; it goes on from the checkpoint".to_owned();
            return end(Outcome::Requeued, CHECKPOINTED, why);
        }
        Standing::Cancelled => {
            let why = format!("the job was cancelled and stays so; `{}` goes on from the checkpoint", facts.go_on);
            return end(Outcome::Stopped, CHECKPOINTED, why);
        }
        _ => {}
    }
    if facts.code == CHECKPOINTED { stopped(facts) } else { lost(facts) }
}

/// An error of the run itself, which would come again: its code and cause.
fn own_error(facts: &Facts<'_>) -> Option<(u8, String)> {
    if facts.code == CHECKPOINTED {
        return None;
    }
    match facts.death {
        Some(Death::Memory) => {
            let why = "a rank wanted more memory than the job has: ask for more with --mem, or cap it with --memory";
            return Some((ExitCode::Memory as u8, why.to_owned()));
        }
        // What a rank says of its own input, disk or memory is the cause, even where the log tells first of another one
        // that was killed for it. Whatever the others say when one is gone is none.
        Some(Death::Signal { .. }) if facts.failure.is_some_and(|(code, _)| is_own(code)) => {}
        Some(Death::Signal { .. } | Death::Node { .. } | Death::Silent { .. }) => return None,
        Some(Death::Code) | None => {}
    }
    if is_taken(facts) {
        return None;
    }
    let failure = facts.failure.filter(|(code, _)| *code != CHECKPOINTED);
    match failure {
        Some((code, message)) => {
            let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            Some((code, format!("the run failed with code {code}: {message}")))
        }
        None if facts.code == 0 => None,
        // A starter of ranks that finds its job being ended says so with a code of its own.
        None if ExitCode::from_code(facts.code).is_none() && is_being_ended(facts.standing) => None,
        None if facts.code < FIRST_SIGNAL_CODE => {
            let code = facts.code;
            let name = ExitCode::from_code(code).map_or_else(String::new, |name| format!(" ({name:?})"));
            Some((code, format!("the ranks ended with code {code}{name}, see the lines above")))
        }
        None => None,
    }
}

/// A code that no rank ends with because another one is gone.
fn is_own(code: u8) -> bool {
    !matches!(ExitCode::from_code(code), None | Some(ExitCode::Internal | ExitCode::Checkpointed))
}

/// Another process works in the run folder: one of an earlier start, on a node that Slurm has lost sight of. It will end.
fn is_taken(facts: &Facts<'_>) -> bool {
    facts.failure.is_some_and(|(code, message)| code == facts.code && message.contains(TAKEN))
}

fn is_being_ended(standing: Standing) -> bool {
    !matches!(standing, Standing::Running | Standing::Unknown)
}

/// The engine was asked to stop, and has saved its work.
fn stopped(facts: &Facts<'_>) -> Decision {
    let is_near = facts.seconds_left.is_some_and(|left| left <= facts.margin_seconds + EARLY_SECONDS);
    let cause = facts.cause.unwrap_or("SIGTERM");
    let is_user_signal = cause == "SIGUSR2";
    if cause == "RELION_JOB_ABORT_NOW" || cause == "SIGINT" {
        let why = format!("somebody stopped the run ({cause}); `{}` goes on from the checkpoint", facts.go_on);
        return end(Outcome::Stopped, CHECKPOINTED, why);
    }
    if cause == END_OF_HOURS {
        let why = format!("the {cause} of this start are over; `{}` goes on from the checkpoint", facts.go_on);
        return end(Outcome::Stopped, CHECKPOINTED, why);
    }
    let is_time = cause == END_OF_TIME || (is_user_signal && is_near);
    if is_time || facts.standing == Standing::TimedOut {
        return come_back(facts, "the time of the job is nearly over", None);
    }
    if facts.standing == Standing::Preempted {
        return come_back(facts, "the job is being preempted", None);
    }
    let patience = facts.patience_seconds[usize::from(is_user_signal)];
    if facts.waited_seconds < patience {
        let asked = match facts.standing {
            Standing::Unknown => "Slurm does not say why",
            _ => "Slurm neither preempts nor cancels the job so far",
        };
        let why = format!(
            "stopped by {cause}, {asked}: staying alive, at most {patience:.0} s, until it ends the job or queues it again"
        );
        return Decision { step: Step::Wait, why };
    }
    // A cancelled job would be gone by now, and no `scancel` sends this signal by itself.
    if is_user_signal && facts.standing == Standing::Running {
        return come_back(facts, "SIGUSR2 was sent far from the time limit, and nothing followed", None);
    }
    let why = format!("stopped by {cause}, and nothing followed within {:.0} s", facts.waited_seconds);
    leave(facts, &why)
}

/// A rank was ended by a signal, or its node is gone.
fn lost(facts: &Facts<'_>) -> Decision {
    match facts.standing {
        Standing::TimedOut => return come_back(facts, "the time of the job is over", None),
        Standing::Preempted => return come_back(facts, "the job was preempted", None),
        _ => {}
    }
    let why = match facts.death {
        _ if is_taken(facts) => "another process still works in the run folder".to_owned(),
        Some(Death::Node { node }) => format!("node {node} failed"),
        Some(Death::Silent { what, .. }) => what.clone(),
        Some(Death::Signal { ranks, node, word }) => format!("{ranks} on {node} ended by a signal ({word})"),
        _ if facts.code == 0 => "the ranks have ended, but the run is not finished".to_owned(),
        _ if facts.code < FIRST_SIGNAL_CODE => format!("the ranks ended with code {}", facts.code),
        _ => format!("a rank was ended by signal {}", facts.code - FIRST_SIGNAL_CODE),
    };
    come_back(facts, &why, facts.broken_node)
}

/// It shall be queued again, unless something speaks against it.
fn come_back(facts: &Facts<'_>, why: &str, without: Option<&str>) -> Decision {
    let pause = |reason: String| {
        let why = format!("{why}; {reason}; `{}` goes on from the checkpoint", facts.go_on);
        end(Outcome::Paused, CHECKPOINTED, why)
    };
    if facts.restarts >= facts.max_restarts {
        return pause(format!("it was restarted {} times, which is the most (max_restarts)", facts.restarts));
    }
    if facts.is_stuck {
        let count = crate::cli::in_job::history::FRUITLESS_RESTARTS;
        return pause(format!("the last {count} restarts have made no progress, so another would not either"));
    }
    if !facts.may_requeue {
        return leave(facts, &format!("{why}; requeueing is switched off"));
    }
    let (next, most) = (facts.restarts + 1, facts.max_restarts);
    let why = format!("{why}: it is queued again (restart {next} of at most {most}) and goes on from the checkpoint");
    Decision { step: Step::Requeue { without: without.map(str::to_owned) }, why }
}

/// It ends; what goes on, if anything, is another job.
pub fn leave(facts: &Facts<'_>, why: &str) -> Decision {
    match facts.next_job {
        Some(next) => end(Outcome::Continued, CHECKPOINTED, format!("{why}; job {next} goes on from the checkpoint")),
        None => end(Outcome::Paused, CHECKPOINTED, format!("{why}; `{}` goes on from the checkpoint", facts.go_on)),
    }
}

fn end(outcome: Outcome, code: u8, why: String) -> Decision {
    Decision { step: Step::End(outcome, code), why }
}
