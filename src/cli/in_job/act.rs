//! What is done when it is decided: Slurm is asked, the decision is written down, and the last line is said.

use std::thread;
use std::time::Duration;

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::progress::Event;
use crate::plan::progress::JobEnded;
use crate::plan::progress::Outcome;
use crate::slurm;
use crate::slurm::Failure;
use crate::slurm::Job;
use crate::slurm::Standing;
use crate::slurm::Submission;

use super::decide::Decision;
use super::decide::Facts;
use super::decide::Step;
use super::decide::leave;
use super::end::Ending;
use super::end::exit_code;
use super::place;
use super::record::record;

/// How Slurm says that its controller does not answer, how often it is asked again, and after what pause.
const AWAY: [&str; 3] = ["Unable to contact", "Socket timed out", "Connection refused"];
const ATTEMPTS: u32 = 6;
const BETWEEN: Duration = Duration::from_secs(5);
/// Slurm writes into the log that it ends the job; the reason is to stand below that.
const LAST_WORD: Duration = Duration::from_millis(500);

/// A controller that is being restarted answers a little later.
fn patiently(ask: impl Fn() -> std::result::Result<(), Failure>) -> std::result::Result<(), Failure> {
    let is_away = |failure: &Failure| match failure {
        Failure::Refused { text, .. } => AWAY.iter().any(|words| text.contains(words)),
        Failure::Absent { .. } | Failure::Late { .. } => false,
    };
    let mut answer = ask();
    for _ in 0..ATTEMPTS {
        match &answer {
            Err(failure) if is_away(failure) => thread::sleep(BETWEEN),
            _ => break,
        }
        answer = ask();
    }
    answer
}

impl Ending<'_> {
    /// Asks Slurm to queue this job again.
    pub(super) fn requeue(&self, decision: &Decision, facts: &Facts<'_>) -> Result<ExitCode> {
        // From here on Slurm may end this process at any time.
        self.record(Outcome::Requeued, &decision.why);
        let id = &self.place.id;
        match patiently(|| slurm::requeue(id)) {
            Ok(()) => {
                thread::sleep(LAST_WORD);
                self.say(&decision.why);
                Ok(ExitCode::Checkpointed)
            }
            Err(failure) => {
                let cause = decision.why.split(": it is queued again").next().unwrap_or_default();
                let remedy = match &failure {
                    Failure::Absent { .. } => {
                        format!(" on this node: `scontrol requeue {id}` on a login node queues it again")
                    }
                    _ => String::new(),
                };
                if facts.standing == Standing::Preempted {
                    // Whoever preempts it queues it again too; a job that ends by itself before that never comes back.
                    self.say(&format!(
                        "{cause}; it stays alive until Slurm ends it or queues it again ({failure}{remedy})"
                    ));
                    thread::sleep(Duration::try_from_secs_f64(facts.patience_seconds[0]).unwrap_or_default());
                }
                let left = leave(facts, &format!("{cause}; it could not be queued again ({failure}{remedy})"));
                let Step::End(outcome, code) = left.step else { return Ok(ExitCode::Checkpointed) };
                self.end(outcome, code, &left.why)
            }
        }
    }

    /// Queues the script once more as a job that leaves out a node, and those that were left out before.
    pub(super) fn resubmit(&self, node: &str, job: Option<&Job>) -> std::result::Result<String, String> {
        let failed = |why: String| format!("{node} cannot be left out of the next try: {why}");
        let earlier = job.and_then(|job| job.excluded_nodes.as_deref()).map(|list| format!("{list},"));
        let excluded = format!("{}{node}", earlier.unwrap_or_default());
        let script = self.run_dir.script();
        if !script.is_file() {
            return Err(failed(format!("there is no {}", script.display())));
        }
        let id = slurm::resubmit(&script.to_string_lossy(), &self.place.id, &excluded)
            .map_err(|failure| failed(failure.to_string()))?;
        let line = Submission::new(&id, Some(&self.place.id)).line();
        if let Err(error) = place::append(&self.run_dir.jobid(), &line) {
            // A job that nobody can find again is worse than one on a bad node.
            let _ = slurm::cancel(&[&id]);
            return Err(failed(error.to_string()));
        }
        Ok(id)
    }

    pub(super) fn end(&self, outcome: Outcome, code: u8, why: &str) -> Result<ExitCode> {
        self.record(outcome, why);
        if !matches!(outcome, Outcome::Continued | Outcome::Requeued | Outcome::Waits) {
            self.cancel_followers();
        }
        self.say(why);
        Ok(exit_code(code))
    }

    /// What was to go on after this job has nothing to do; without `scancel` it finds that out by itself.
    fn cancel_followers(&self) {
        let followers = place::followers(&self.submissions, &self.place.id);
        let active = |id: &&String| slurm::look(id).job.is_some_and(|job| job.state.is_active());
        let queued: Vec<&str> = followers.iter().filter(active).map(String::as_str).collect();
        if queued.is_empty() {
            return;
        }
        let text = queued.join(", ");
        match slurm::cancel(&queued) {
            Ok(()) => self.say(&format!("the jobs that were to go on after it are cancelled: {text}")),
            Err(failure) => self.say(&format!("jobs {text} will end at once when they start ({failure})")),
        }
    }

    pub(super) fn record(&self, outcome: Outcome, why: &str) {
        let (job, code) = (self.place.id.clone(), self.arguments.code);
        record(self.run_dir, Event::JobEnded(JobEnded { job, code, outcome, why: why.to_owned() }), self.screen);
    }

    pub(super) fn say(&self, text: &str) {
        // A log that cannot be written is told nowhere else; what was decided is done all the same.
        if let Err(error) = self.screen.print(&format!("relion-rs: {text}")) {
            self.screen.error(&error);
        }
    }
}
