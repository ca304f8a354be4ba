//! What tests do with a cluster.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::processes;

use super::PATIENCE;
use super::PAUSE;
use super::Sandbox;

pub type JobId = u32;

/// A step that lives on because its slurmd is gone keeps its place.
const LEAVING: Duration = Duration::from_secs(10);

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Sandbox {
    /// Submits a script of `sh`, whose output goes to [`Sandbox::log_of`]; flags of sbatch come first.
    pub fn submit(&self, flags: &str, script: &str) -> JobId {
        let log = self.jobs().join("slurm-%j.out");
        let path = self.jobs().join(format!("script-{}.sh", fs::read_dir(self.jobs()).unwrap().count()));
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        let mut command = self.command("sbatch");
        command.args(["--parsable", "--open-mode=append", "--output"]).arg(log).arg("--chdir").arg(self.jobs());
        command.args(flags.split_whitespace()).arg(path);
        self.output(&mut command).unwrap().parse().unwrap()
    }

    /// What a job of [`Sandbox::submit`] has written.
    pub fn log_of(&self, job: JobId) -> String {
        fs::read_to_string(self.jobs().join(format!("slurm-{job}.out"))).unwrap_or_default()
    }

    /// A field of `scontrol show job`, empty when the job is not known.
    pub fn field(&self, job: JobId, name: &str) -> String {
        let text = self.text("scontrol", &format!("-o show job {job}")).unwrap_or_default();
        let begin = format!("{name}=");
        text.split_whitespace().find_map(|word| word.strip_prefix(&begin)).unwrap_or_default().to_owned()
    }

    /// RUNNING, PENDING, COMPLETED ...
    pub fn state(&self, job: JobId) -> String {
        self.field(job, "JobState")
    }

    pub fn wait_for_state(&self, job: JobId, wanted: &[&str], patience: Duration) -> String {
        let what = format!("job {job} {}", wanted.join(" or "));
        self.wait_for(&what, patience, || Some(self.state(job)).filter(|state| wanted.contains(&state.as_str())))
    }

    /// Gives a job that was queued again all the time it wants, so that a slow machine ends it in its next turn.
    pub fn give_time(&self, job: JobId) {
        self.wait_for_state(job, &["PENDING"], PATIENCE);
        self.text("scontrol", &format!("update jobid={job} TimeLimit=30")).unwrap();
    }

    /// Starts a job again that Slurm holds back for two minutes because it was requeued.
    pub fn hurry(&self, job: JobId) {
        // PMIx finds its place taken as long as the steps of the first start are not quite gone.
        let is_taken = |node: usize| {
            let spool = self.folder.join(format!("spool/n{node}"));
            let names = fs::read_dir(spool)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names.into_iter().any(|name| name.contains(&format!(".pmix.{job}.")))
        };
        let begin = Instant::now();
        while (1..=self.options.nodes).any(is_taken) && begin.elapsed() < LEAVING {
            std::thread::sleep(PAUSE);
        }
        self.wait_for(&format!("job {job} starts again"), PATIENCE, || {
            // It refuses as long as the job is completing.
            let _ = self.text("scontrol", &format!("update jobid={job} StartTime=now"));
            (self.state(job) != "PENDING" && self.state(job) != "COMPLETING").then_some(())
        });
    }

    /// A job of the higher partition that wants all nodes, and ends by itself so many seconds after it started.
    pub fn preempt(&self, seconds: u32) -> JobId {
        let flags = format!("--partition=high --exclusive --nodes={} --time=5", self.options.nodes);
        self.submit(&flags, &format!("sleep {seconds}"))
    }

    /// Brings the end of a running job near: limits are whole minutes, an end is a second. Slurm looks every 30 s: the
    /// signal of `--signal` comes up to 35 s before its margin and not at all when that is over already; leave it
    /// margin + 35 s. Time out and SIGTERM come up to 30 s after the end, SIGKILL 5 s later (KillWait). squeue's `%e` tells
    /// the new end, `%L` goes by the limit in minutes.
    pub fn end_in(&self, job: JobId, seconds: u64) {
        let end = self.output(Command::new("date").arg(format!("-d@{}", now() + seconds)).arg("+%FT%T")).unwrap();
        self.text("scontrol", &format!("update jobid={job} EndTime={end}")).unwrap();
    }

    pub fn node_state(&self, node: usize) -> String {
        self.text("sinfo", &format!("-h -n n{node} -p low -o %T")).unwrap_or_default()
    }

    pub fn node_down(&self, node: usize) {
        self.text("scontrol", &format!("update nodename=n{node} state=down reason=test")).unwrap();
    }

    pub fn node_up(&self, node: usize) {
        self.text("scontrol", &format!("update nodename=n{node} state=resume")).unwrap();
    }

    /// As a crash of the node's daemon; the steps of jobs live on. After `slurmd_timeout_seconds` and up to 20 s more the
    /// node is down and its jobs are requeued.
    pub fn kill_slurmd(&mut self, node: usize) {
        let name = format!("slurmd.n{node}");
        let index = self.daemons.iter().position(|(daemon, _)| *daemon == name).expect("this node's slurmd runs");
        let (_, mut daemon) = self.daemons.swap_remove(index);
        kill(Pid::from_raw(daemon.id() as i32), Signal::SIGKILL).unwrap();
        daemon.wait().unwrap();
    }

    /// One rank of the engine in a run folder.
    pub fn signal_rank(&self, run: &Path, rank: usize, signal: Signal) {
        let find =
            || processes::ranks(run).into_iter().find(|process| process.variable("SLURM_PROCID") == rank.to_string());
        self.wait_for(&format!("rank {rank} in {}", run.display()), PATIENCE, find).send(signal);
    }
}
