//! `job end`: gathers what is known, lets [`decide`] decide, does it, and says so in the last line of the log.

use std::env;
use std::path::Path;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::cli::resume::not_a_run;
use crate::cli::screen::Screen;
use crate::cli::stop::Incoming;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::Outcome;
use crate::slurm;
use crate::slurm::Job;
use crate::slurm::Submission;

use super::EndArguments;
use super::deaths;
use super::deaths::Death;
use super::decide::FIRST_SIGNAL_CODE;
use super::decide::Facts;
use super::decide::Step;
use super::decide::decide;
use super::history::History;
use super::history::is_finished;
use super::place;
use super::place::Place;

/// How often Slurm is asked while the job stays alive.
const PAUSE: Duration = Duration::from_secs(5);
/// How long it stays alive after a SIGUSR2 that nothing followed; sites that send it instead of SIGTERM have told
/// Slurm before.
const USER_SIGNAL_PATIENCE_SECONDS: f64 = 30.0;
/// Switches that the script sets; a person may change them there.
const REQUEUE: &str = "RELION_RS_REQUEUE";
const EXCLUDE: &str = "RELION_RS_EXCLUDE_BROKEN_NODES";

pub fn run(arguments: &EndArguments, screen: &Screen) -> Result<ExitCode> {
    // What ends the job ends it with SIGKILL in the end; until then its last words are to be said.
    let _held = Incoming::new()?;
    let run_dir = RunDir::new(&arguments.run_dir);
    let plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    let Some(place) = Place::of_process() else {
        return by_hand(arguments.code, &run_dir, screen);
    };
    Ending::gather(arguments, &run_dir, &plan, place, screen)?.run()
}

/// Without a job around it there is nobody to ask and nothing to come back.
fn by_hand(code: u8, run_dir: &RunDir, screen: &Screen) -> Result<ExitCode> {
    let text = match code {
        0 => "the run is finished".to_owned(),
        75 => format!("stopped with a checkpoint; `{}` goes on", go_on(run_dir)),
        _ => format!("the ranks ended with code {code}"),
    };
    screen.print(&format!("relion-rs: {text}"))?;
    Ok(exit_code(code))
}

fn go_on(run_dir: &RunDir) -> String {
    format!("relion-rs resume {}", run_dir.root().display())
}

fn is_off(variable: &str) -> bool {
    let no = ["false", "0", "no", "off"];
    env::var(variable).is_ok_and(|value| no.contains(&value.trim().to_ascii_lowercase().as_str()))
}

/// A signal or a stranger's code has no word of ours.
pub(super) fn exit_code(code: u8) -> ExitCode {
    ExitCode::from_code(code).unwrap_or(ExitCode::Internal)
}

/// All that does not change while the job stays alive.
pub(super) struct Ending<'a> {
    pub(super) arguments: &'a EndArguments,
    pub(super) run_dir: &'a RunDir,
    pub(super) place: Place,
    pub(super) screen: &'a Screen,
    pub(super) is_finished: bool,
    pub(super) history: History,
    pub(super) death: Option<Death>,
    pub(super) broken_node: Option<String>,
    pub(super) submissions: Vec<Submission>,
    pub(super) may_requeue: bool,
    pub(super) go_on: String,
    pub(super) begin: Instant,
}

impl<'a> Ending<'a> {
    fn gather(
        arguments: &'a EndArguments,
        run_dir: &'a RunDir,
        plan: &Plan,
        place: Place,
        screen: &'a Screen,
    ) -> Result<Self> {
        let records = progress::read_or_none(&run_dir.progress())?;
        let history = History::of(&records);
        let started = history.start.as_ref().filter(|start| start.job == place.id);
        let log_bytes = started.map_or(0, |start| start.log_bytes);
        let is_finished = is_finished(plan, &records);
        let is_ordinary = match arguments.code {
            0 => is_finished,
            code => code == ExitCode::Checkpointed as u8,
        };
        let death = if is_ordinary { None } else { death(&place.log(run_dir), log_bytes, &history) };
        // Of an array the script would queue all of it again.
        let is_alone = place.id == place.raw;
        let broken_node = if arguments.no_exclude || is_off(EXCLUDE) || is_ordinary || !is_alone {
            None
        } else {
            broken_node(arguments.code, death.as_ref(), &history, &place.nodes)
        };
        Ok(Self {
            arguments,
            run_dir,
            screen,
            is_finished,
            history,
            death,
            broken_node,
            submissions: place::submitted(run_dir)?,
            may_requeue: !arguments.no_requeue && !is_off(REQUEUE),
            go_on: go_on(run_dir),
            place,
            begin: Instant::now(),
        })
    }

    fn run(self) -> Result<ExitCode> {
        let next = self.next_job();
        let mut told = false;
        loop {
            let (job, silent) = self.look();
            let facts = self.facts(job.as_ref(), next.as_deref());
            let decision = decide(&facts);
            match &decision.step {
                Step::Wait => {
                    if !told {
                        silent.iter().for_each(|why| self.say(why));
                        self.say(&decision.why);
                        // If it is ended while it waits, this is its last word.
                        self.record(Outcome::Waits, &decision.why);
                        told = true;
                    }
                    thread::sleep(PAUSE.min(self.patience_left()));
                }
                Step::End(outcome, code) => return self.end(*outcome, *code, &decision.why),
                Step::Requeue { without } => {
                    // Beside a job that waits for the end of this one it would be one too many.
                    let node = without.as_deref().filter(|node| next.is_none() && self.may_leave(node));
                    return match node.map(|node| self.resubmit(node, job.as_ref())) {
                        Some(Ok(id)) => {
                            let cause = decision.why.split(": it is queued again").next().unwrap_or_default();
                            let node = node.unwrap_or_default();
                            let why =
                                format!("{cause}: job {id} is queued, without {node}, and goes on from the checkpoint");
                            self.end(Outcome::Continued, ExitCode::Checkpointed as u8, &why)
                        }
                        Some(Err(why)) => {
                            self.say(&why);
                            self.requeue(&decision, &facts)
                        }
                        None => self.requeue(&decision, &facts),
                    };
                }
            }
        }
    }

    fn facts<'f>(&'f self, job: Option<&Job>, next: Option<&'f str>) -> Facts<'f> {
        let seconds_left = place::seconds_left();
        let is_time_over = seconds_left.is_some_and(|left| left <= 1.0);
        Facts {
            code: self.arguments.code,
            is_finished: self.is_finished,
            cause: self.history.cause.as_deref(),
            failure: self.history.failure.as_ref().map(|(code, message)| (*code, message.as_str())),
            death: self.death.as_ref(),
            broken_node: self.broken_node.as_deref(),
            seconds_left,
            margin_seconds: f64::from(self.arguments.margin),
            standing: slurm::standing(job, self.place.restarts, is_time_over),
            restarts: self.history.restarts,
            max_restarts: self.arguments.max_restarts,
            may_requeue: self.may_requeue,
            is_stuck: self.history.is_stuck,
            next_job: next,
            waited_seconds: self.begin.elapsed().as_secs_f64(),
            patience_seconds: self.patience(),
            go_on: &self.go_on,
        }
    }

    fn patience(&self) -> [f64; 2] {
        [self.arguments.patience, self.arguments.patience.min(USER_SIGNAL_PATIENCE_SECONDS)]
    }

    /// At least a moment, so that the loop rests.
    fn patience_left(&self) -> Duration {
        let index = usize::from(self.history.cause.as_deref() == Some("SIGUSR2"));
        let left = self.patience()[index] - self.begin.elapsed().as_secs_f64();
        Duration::try_from_secs_f64(left.max(0.05)).unwrap_or(PAUSE)
    }

    /// The job as Slurm shows it, and what did not answer.
    fn look(&self) -> (Option<Job>, Vec<String>) {
        if self.arguments.code == 0 && self.is_finished {
            return (None, Vec::new());
        }
        match slurm::show(&self.place.id) {
            Ok(job) => (job, Vec::new()),
            Err(first) => match slurm::glance(&self.place.id) {
                Ok(job) => (job, vec![first.to_string()]),
                Err(second) => (None, vec![first.to_string(), second.to_string()]),
            },
        }
    }

    /// To leave a node out takes a new job, and what waits for the end of this one does not wait for that.
    fn may_leave(&self, node: &str) -> bool {
        let why = match slurm::dependents(&self.place.id) {
            Ok(jobs) if jobs.is_empty() => return true,
            Ok(jobs) => format!("jobs wait for this one ({})", jobs.join(", ")),
            Err(failure) => format!("whether jobs wait for this one is not known ({failure})"),
        };
        self.say(&format!("{node} is not left out of the next try: {why}"));
        false
    }

    /// A job that is queued to go on after this one.
    fn next_job(&self) -> Option<String> {
        let followers = place::followers(&self.submissions, &self.place.id);
        followers.into_iter().find(|id| slurm::look(id).job.is_some_and(|job| job.state.is_active()))
    }
}

/// Who died first: by the log of the job, or by what the engine said of another rank.
fn death(log: &Path, from: u64, history: &History) -> Option<Death> {
    let words = || deaths::in_words(&history.failure.as_ref()?.1);
    match deaths::first_in(log, from) {
        None | Some(Death::Code) => words().or_else(|| deaths::first_in(log, from)),
        found => found,
    }
}

/// The node on which a rank was lost: by the log, by the engine's own words, or because there is only one.
fn broken_node(code: u8, death: Option<&Death>, history: &History, nodes: &str) -> Option<String> {
    if let Some(death) = death {
        return death.broken_node().map(str::to_owned);
    }
    if code < FIRST_SIGNAL_CODE {
        return None;
    }
    let nodes = slurm::expand(nodes);
    let message = history.failure.as_ref().map(|(_, message)| message.as_str()).unwrap_or_default();
    let words: Vec<&str> = message.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).collect();
    let named: Vec<&String> = nodes.iter().filter(|node| words.contains(&node.as_str())).collect();
    match (&named[..], &nodes[..]) {
        ([node], _) => Some((*node).clone()),
        // SIGKILL, and nobody but this node could have sent it.
        ([], [node]) if code == FIRST_SIGNAL_CODE + 9 => Some(node.clone()),
        _ => None,
    }
}
