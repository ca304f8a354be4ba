//! Where a job stands: `squeue`, `scontrol` and `sacct`, each of which may be absent, late or without an answer.

use serde::Serialize;

use super::call::Failure;
use super::call::call;
use super::job::Job;
use super::job::State;
use super::text;

/// What could be found out about a job.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// `None` when nobody knows it.
    pub job: Option<Job>,
    /// The commands that gave no answer, and why, in words.
    pub silent: Vec<String>,
}

impl Seen {
    fn note(&mut self, failure: &Failure) {
        self.silent.push(failure.to_string());
    }
}

/// Everything that is known of a job, whether it waits, runs or has ended. `squeue -r` names every task of an array by
/// its own number, also while they wait.
pub fn look(id: &str) -> Seen {
    let mut seen = Seen::default();
    match call("squeue", &["-h", "-j", id, "-r", "-o", text::SQUEUE_FORMAT]) {
        Ok(answer) => seen.job = answer.lines().filter_map(text::squeue_line).find(|job| job.id == id),
        Err(failure) if is_unknown_job(&failure) => {}
        Err(failure) => seen.note(&failure),
    }
    match show(id) {
        Ok(Some(shown)) => seen.job = Some(joined(seen.job.take(), shown)),
        Ok(None) => {}
        Err(failure) => seen.note(&failure),
    }
    if seen.job.is_none() {
        seen.job = ended(id, &mut seen.silent);
    }
    seen
}

/// As `scontrol` shows it.
///
/// # Errors
/// `scontrol` is not there or does not answer.
pub fn show(id: &str) -> Result<Option<Job>, Failure> {
    match call("scontrol", &["-o", "show", "job", id]) {
        Ok(answer) => Ok(answer.lines().find_map(text::scontrol_line).map(|job| Job { id: id.to_owned(), ..job })),
        Err(failure) if is_unknown_job(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// State, restarts and preemption of a job that is in the queue, without `scontrol`.
///
/// # Errors
/// `squeue` is not there or does not answer.
pub fn glance(id: &str) -> Result<Option<Job>, Failure> {
    match call("squeue", &["-h", "-j", id, "-r", "-O", text::SQUEUE_WIDE]) {
        Ok(answer) => Ok(answer.lines().find_map(|line| text::squeue_wide(id, line))),
        Err(failure) if is_unknown_job(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// From the accounting, or, where there is none, from the list of jobs that have ended.
fn ended(id: &str, silent: &mut Vec<String>) -> Option<Job> {
    let mut failures = Vec::new();
    for completed in [None, Some("-c")] {
        let mut arguments: Vec<&str> = completed.into_iter().collect();
        // The list of ended jobs knows few fields.
        let format = if completed.is_some() { "JobID,State,Partition" } else { text::SACCT_FORMAT };
        arguments.extend(["-n", "-P", "-j", id, "-o", format]);
        match call("sacct", &arguments) {
            Ok(answer) => {
                let lines =
                    answer.lines().map(|line| format!("{line}{}", if completed.is_some() { "|||" } else { "" }));
                // The last line is about the last start.
                let found = lines.filter_map(|line| text::sacct_line(&line)).rfind(|job| job.id == id);
                if found.is_some() {
                    return found;
                }
            }
            Err(failure @ Failure::Absent { .. }) => {
                silent.push(failure.to_string());
                return None;
            }
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    // One of the two is usually switched off; that is worth a word only when both are.
    if failures.len() > 1 {
        silent.extend(failures.into_iter().take(1));
    }
    None
}

/// `squeue` and `scontrol` call a job unknown that has ended long ago.
fn is_unknown_job(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused { text, .. } if text.contains("Invalid job id"))
}

/// `scontrol` knows more; `squeue` knows better how much time is left.
fn joined(queued: Option<Job>, shown: Job) -> Job {
    let Some(queued) = queued else { return shown };
    // Asked a moment apart: of a job that comes and goes the later answer counts.
    let is_same = queued.state == shown.state;
    let left = if is_same { queued.time_left.or(shown.time_left) } else { shown.time_left };
    Job { time_left: left, reason: shown.reason.or(queued.reason), ..shown }
}

/// How a job that is about to end stands with Slurm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nobody at Slurm wants anything of it.
    Running,
    /// Slurm is preempting it.
    Preempted,
    /// Its time limit is over, and its processes are being ended.
    TimedOut,
    /// It has been cancelled.
    Cancelled,
    /// It has been queued again already.
    ComesBack,
    /// Slurm did not answer.
    Unknown,
}

/// Judges a job that has been started `restarts` times before; `is_time_over` by its own clock.
///
/// While its processes are being ended Slurm shows COMPLETING and not why. A job that it has queued again by then
/// (preemption, a node that failed, `scontrol requeue`) has one restart more; one that a preemption ends without queueing
/// it again is known by the time of the preemption, one that is over its limit by that; what remains has been cancelled.
pub fn standing(job: Option<&Job>, restarts: u32, is_time_over: bool) -> Standing {
    let Some(job) = job else { return Standing::Unknown };
    if job.restarts.is_some_and(|count| count > restarts) {
        return Standing::ComesBack;
    }
    match job.state {
        State::Running | State::Suspended if job.is_preempted == Some(true) => Standing::Preempted,
        State::Running | State::Suspended => Standing::Running,
        State::Pending | State::Configuring | State::Requeued => Standing::ComesBack,
        State::Timeout => Standing::TimedOut,
        State::Preempted => Standing::Preempted,
        State::Completing if job.is_ended_by_preemption => Standing::Preempted,
        State::Completing if is_time_over => Standing::TimedOut,
        State::Completing | State::Cancelled => Standing::Cancelled,
        _ => Standing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, restarts: Option<u32>, is_preempted: bool) -> Job {
        let mut job = Job::new("5", State::parse(state), "scontrol");
        job.restarts = restarts;
        job.is_preempted = Some(is_preempted);
        job
    }

    #[test]
    fn what_slurm_shows_is_judged_as_it_was_seen() {
        for (state, shown, preempted, over, wanted) in [
            ("RUNNING", Some(1), false, false, Standing::Running),
            ("RUNNING", Some(1), true, false, Standing::Preempted),
            ("COMPLETING", Some(2), true, false, Standing::ComesBack),
            ("COMPLETING", Some(1), false, false, Standing::Cancelled),
            ("COMPLETING", Some(1), false, true, Standing::TimedOut),
            ("COMPLETING", None, false, false, Standing::Cancelled),
            ("PENDING", Some(2), false, false, Standing::ComesBack),
            ("CANCELLED", Some(1), false, true, Standing::Cancelled),
            ("HIBERNATING", Some(1), false, false, Standing::Unknown),
        ] {
            assert_eq!(standing(Some(&job(state, shown, preempted)), 1, over), wanted, "{state} {shown:?}");
        }
        assert_eq!(standing(None, 0, true), Standing::Unknown);
        let mut ended = job("COMPLETING", Some(1), true);
        assert_eq!(standing(Some(&ended), 1, false), Standing::Cancelled, "cancelled in the grace time");
        ended.is_ended_by_preemption = true;
        assert_eq!(standing(Some(&ended), 1, false), Standing::Preempted);
    }

    #[test]
    fn the_later_answer_counts_and_the_time_left_is_that_of_squeue() {
        let mut queued = job("RUNNING", None, false);
        queued.time_left = super::super::span::Span::parse("4:00");
        let same = joined(Some(queued.clone()), job("RUNNING", Some(0), false));
        assert_eq!((same.time_left, same.restarts), (queued.time_left, Some(0)));
        let later = joined(Some(queued), job("COMPLETING", Some(0), false));
        assert_eq!((later.state, later.time_left), (State::Completing, None));
    }
}
