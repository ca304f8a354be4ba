//! Runs as users submit them: the verbs of the launcher, typed in a working folder under a sandbox.

use std::fs;
use std::process::Command;
use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::JobEnded;
use relion_rs::plan::progress::Outcome;
use relion_rs::plan::progress::RankPlace;
use relion_rs::plan::progress::Record;

use crate::processes;
use crate::runs::JOB;
use crate::runs::Run;
use crate::runs::program;
use crate::sandbox::JobId;
use crate::sandbox::Sandbox;

/// Longer than a run takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// A brake holds the ranks for so long and lets them go for so long; the others' patience with a silent rank is longer.
const HOLD: Duration = Duration::from_millis(1600);
const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/sites/sandbox.toml");

impl Run {
    /// The launcher as a user of the sandbox's site calls it, in the working folder.
    pub fn relion_rs(&self, sandbox: &Sandbox) -> Command {
        let mut command = sandbox.command(program("relion-rs").to_str().unwrap());
        command.current_dir(&self.folder).env("RELION_RS_SITE_FILE", SITE);
        command
    }

    pub fn output(&self, sandbox: &Sandbox, words: &str) -> Output {
        self.relion_rs(sandbox).args(words.split_whitespace()).output().unwrap()
    }

    /// What a command prints that succeeds.
    pub fn tell(&self, sandbox: &Sandbox, words: &str) -> String {
        let output = self.output(sandbox, words);
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "relion-rs {words}: {} {out}{err}", output.status);
        out
    }

    pub fn json(&self, sandbox: &Sandbox, words: &str) -> serde_json::Value {
        let text = self.tell(sandbox, &format!("--json {words}"));
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|cause| panic!("{cause}: {text}"))
    }

    /// Submits the small refinement.
    pub fn submit(&self, sandbox: &Sandbox, flags: &str) -> JobId {
        self.submitted(sandbox, &format!("submit {JOB} {flags}"))
    }

    /// Submits by any verb that does; the first job's number.
    pub fn submitted(&self, sandbox: &Sandbox, words: &str) -> JobId {
        let told = self.json(sandbox, words);
        told["job_id"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("{words}: {told}"))
    }

    /// The number that was written down last.
    pub fn last_job(&self) -> JobId {
        let text = fs::read_to_string(self.dir().jobid()).unwrap();
        text.lines().last().unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn log(&self, job: JobId) -> String {
        fs::read_to_string(self.dir().logs().join(format!("slurm-{job}.out"))).unwrap_or_default()
    }

    pub fn last_line(&self, job: JobId) -> String {
        self.log(job).lines().last().unwrap_or_default().to_owned()
    }

    /// The table of ranks of every start.
    pub fn tables(&self) -> Vec<Vec<RankPlace>> {
        let table = |record: Record| match record.event {
            Event::Ranks { ranks } => Some(ranks),
            _ => None,
        };
        self.records().into_iter().filter_map(table).collect()
    }

    /// What the jobs decided at their ends, without those that only waited.
    pub fn ends(&self) -> Vec<JobEnded> {
        let end = |record: Record| match record.event {
            Event::JobEnded(end) if end.outcome != Outcome::Waits => Some(end),
            _ => None,
        };
        self.records().into_iter().filter_map(end).collect()
    }

    pub fn outcomes(&self) -> Vec<Outcome> {
        self.ends().into_iter().map(|end| end.outcome).collect()
    }

    /// Waits until the engine's `nth` start (from 1) has something on disk that the others had not.
    pub fn wait_for_work(&self, sandbox: &Sandbox, nth: usize) {
        sandbox.wait_for(&format!("work of start {nth} in {}", self.folder.display()), PATIENCE, || {
            let records = self.records();
            let starts = |records: &[Record]| records.iter().filter(|r| matches!(r.event, Event::Started(_))).count();
            let is_over = |r: &Record| matches!(r.event, Event::Finished { checkpointed: false, .. });
            assert!(!records.iter().any(is_over), "it was over before it could be interrupted");
            let at = (0..=records.len()).find(|at| starts(&records[..*at]) == nth)?;
            let parts = records[at..].iter().filter(|r| matches!(r.event, Event::Part { .. })).count();
            (parts >= 3).then_some(())
        });
    }

    /// The second start had something to go on with: finished iterations, or a part of one.
    pub fn assert_goes_on(&self) {
        let start = |record: Record| match record.event {
            Event::Started(start) => Some((start.resumed_from.unwrap_or(0), start.resumed_particles)),
            _ => None,
        };
        let starts: Vec<_> = self.records().into_iter().filter_map(start).collect();
        assert!(starts.len() == 2 && starts[1] > (0, 0), "iterations and particles that were there: {starts:?}");
    }

    /// Waits for a good end; the job's log and the files say the same.
    pub fn assert_done(&self, sandbox: &Sandbox, job: JobId) {
        sandbox.wait_for_state(job, &["COMPLETED"], PATIENCE);
        assert_eq!(self.last_line(job), "relion-rs: the run is finished", "{}", self.log(job));
        self.assert_equals_whole();
    }

    /// Starts a job that was queued again without its wait of two minutes, and has it do something.
    pub fn comes_back(&self, sandbox: &Sandbox, job: JobId, nth: usize) {
        sandbox.wait_for_state(job, &["PENDING"], PATIENCE);
        sandbox.hurry(job);
        self.wait_for_work(sandbox, nth);
    }

    /// Slows the ranks down until the answer is there, so that not their work but a clock ends them.
    pub fn braked<T>(&self, sandbox: &Sandbox, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        let send = |signal: Signal| {
            for rank in processes::ranks(&self.root()) {
                // It may have ended meanwhile.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(rank.pid), signal);
            }
        };
        let mut since = Instant::now();
        let mut is_held = false;
        let answer = sandbox.wait_for(what, PATIENCE, || {
            let there = answer();
            if there.is_some() || (is_held && since.elapsed() >= HOLD) {
                send(Signal::SIGCONT);
                (is_held, since) = (false, Instant::now());
            } else if !is_held {
                send(Signal::SIGSTOP);
                (is_held, since) = (true, Instant::now());
            }
            there
        });
        send(Signal::SIGCONT);
        answer
    }

    /// Slurm's own memory of a job that must not come back.
    pub fn assert_stays(&self, sandbox: &Sandbox, job: JobId, state: &str) {
        std::thread::sleep(Duration::from_secs(5));
        assert_eq!(sandbox.state(job), state, "{}", self.log(job));
        let queue = sandbox.text("squeue", "-h -o %i").unwrap();
        assert!(queue.is_empty(), "nothing waits or runs: {queue}");
    }
}
