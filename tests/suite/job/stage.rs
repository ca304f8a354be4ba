//! A run folder, and Slurm's commands as small scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use relion_rs::plan::RunDir;
use relion_rs::plan::progress;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::IterationFinished;
use relion_rs::plan::progress::JobEnded;
use relion_rs::plan::progress::JobStarted;
use relion_rs::plan::progress::ProgressWriter;
use relion_rs::plan::progress::Started;
use tempfile::TempDir;

pub const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");
/// As 22.05 answers for a job or an account that it does not know.
pub const UNKNOWN_JOB: &str = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1";
pub const NO_ACCOUNTING: &str = "echo 'Slurm accounting storage is disabled' >&2; exit 1";

pub struct Stage {
    folder: TempDir,
}

impl Stage {
    /// A run folder `out` that nothing has worked on, outside of any job, without any of Slurm's commands.
    pub fn new(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = Self { folder };
        for name in ["own", "slurm"] {
            fs::create_dir(stage.path(name)).unwrap();
        }
        if fs::hard_link(LAUNCHER, stage.path("own/relion-rs")).is_err() {
            fs::copy(LAUNCHER, stage.path("own/relion-rs")).unwrap();
        }
        script(&stage.path("own/relion-rs-rank"), "exit 0");
        fs::write(stage.path("p.star"), "data_particles\n").unwrap();
        fs::write(stage.path("r.mrc"), "map").unwrap();
        let job = format!("run {kind} --particles p.star --reference r.mrc --diameter 200 --out out --iterations 9");
        let output = stage.command(&job, &[]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of Slurm that writes down how it was called, and then does what the lines of shell say.
    pub fn fake(&self, name: &str, lines: &str) -> &Self {
        let calls = self.path("calls").display().to_string();
        script(&self.path("slurm").join(name), &format!("PATH=/usr/bin:/bin\necho \"{name} $*\" >> {calls}\n{lines}"));
        self
    }

    /// Answers of `scontrol show job`, as pairs that differ from those of a job that runs; the rest is done.
    pub fn scontrol(&self, changes: &[(&str, &str)]) -> &Self {
        self.fake("scontrol", &format!("[ \"$2\" = show ] && echo '{}'\nexit 0", job_text(changes)))
    }

    /// What was asked of Slurm, one call a line.
    pub fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    pub fn command(&self, words: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.path("own/relion-rs"));
        let own = |name: &str| ["RELION_RS_", "SLURM"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| own(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.current_dir(self.folder.path()).env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME");
        command.env("PATH", self.path("slurm")).envs(variables.iter().copied());
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &str, variables: &[(&str, &str)]) -> Told {
        Told::of(self.command(words, variables).output().unwrap())
    }

    /// In job 7 on node n1, which has an hour left.
    pub fn in_job(&self, words: &str, more: &[(&str, &str)]) -> Told {
        let end = format!("{:.0}", progress::unix_seconds() + 3600.0);
        let mut variables = vec![
            ("SLURM_JOB_ID", "7"),
            ("SLURM_JOB_NODELIST", "n1"),
            ("SLURM_JOB_PARTITION", "low"),
            ("SLURM_JOB_END_TIME", end.as_str()),
        ];
        variables.extend(more);
        self.run(words, &variables)
    }

    pub fn run_dir(&self) -> RunDir {
        RunDir::new(self.path("out"))
    }

    pub fn tell(&self, events: Vec<Event>) {
        let mut writer = ProgressWriter::open(&self.run_dir().progress()).unwrap();
        events.into_iter().for_each(|event| writer.write(event).unwrap());
    }

    pub fn events(&self) -> Vec<Event> {
        progress::read_or_none(&self.run_dir().progress()).unwrap().into_iter().map(|record| record.event).collect()
    }

    /// What the last job said at its end.
    pub fn last_end(&self) -> JobEnded {
        let end = |event| match event {
            Event::JobEnded(ended) => Some(ended),
            _ => None,
        };
        self.events().into_iter().rev().find_map(end).unwrap()
    }

    /// The file with the numbers of the jobs.
    pub fn jobid(&self, text: &str) -> &Self {
        fs::write(self.run_dir().jobid(), text).unwrap();
        self
    }
}

fn script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Code, results and messages of a command.
#[derive(Debug)]
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn last_line(&self) -> &str {
        self.out.trim_end().lines().last().unwrap_or_default()
    }
}

/// A line of `scontrol -o show job`, as 22.05 writes it for a job that runs.
pub fn job_text(changes: &[(&str, &str)]) -> String {
    let usual = "JobId=7 JobName=r JobState=RUNNING Reason=None Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 \
                 ExitCode=0:0 RunTime=00:10:00 TimeLimit=01:10:00 StartTime=2026-11-26T03:15:24 \
                 EndTime=2026-11-26T04:25:24 PreemptEligibleTime=2026-11-26T03:15:24 PreemptTime=None Partition=low \
                 ExcNodeList=(null) NodeList=n1 NumNodes=1";
    let word = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        let value = changes.iter().find(|(changed, _)| *changed == key).map_or(value, |(_, value)| value);
        format!("{key}={value}")
    };
    usual.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

pub fn started() -> Event {
    Event::Started(Started {
        program_version: "0.1.0".to_owned(),
        kind: "class3d".to_owned(),
        host: "a-node".to_owned(),
        process: 4_194_305,
        threads: 2,
        instruction_set: "avx2".to_owned(),
        precision: "single".to_owned(),
        backend: "cpu".to_owned(),
        backend_why: "asked for".to_owned(),
        device: None,
        particles: 1000,
        classes: 1,
        box_pixels: 64,
        pixel_size_angstrom: 3.54,
        resumed_from: None,
        resumed_particles: 0,
        repeated_particles: 0,
        last_iteration: 9,
    })
}

pub fn job_started(job: &str, restarts: u32) -> Event {
    Event::JobStarted(JobStarted { job: job.to_owned(), restarts, ..JobStarted::default() })
}

pub fn stopping(cause: &str) -> Event {
    Event::Stopping { cause: cause.to_owned(), iteration: 1, particles_done: 64 }
}

pub fn checkpoint(iteration: u32) -> Event {
    Event::Checkpoint { iteration, file: PathBuf::from("iter.h5"), bytes: 1, seconds: 0.1 }
}

pub fn iteration(iteration: u32, wall_seconds: f64) -> Event {
    let finished =
        IterationFinished { iteration, resolution_angstrom: 11.3, wall_seconds, ..IterationFinished::default() };
    Event::IterationFinished(Box::new(finished))
}

pub fn finished(checkpointed: bool) -> Event {
    Event::Finished {
        iteration: 9,
        checkpointed,
        converged: false,
        resolution_angstrom: 11.3,
        wall_seconds: 1.0,
        cpu_seconds: 1.0,
        resident_peak_bytes: 0,
    }
}
