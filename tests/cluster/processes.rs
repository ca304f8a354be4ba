//! What runs on this machine, as /proc tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

pub struct Process {
    pub pid: i32,
    /// The first 15 bytes of its name.
    pub name: String,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    folder: PathBuf,
}

impl Process {
    /// `None` when it ended meanwhile. One that only waits to be reaped has neither arguments nor environment.
    fn read(pid: i32) -> Option<Self> {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let texts = |bytes: Vec<u8>| -> Vec<String> {
            let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
            parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
        };
        let environment = texts(file("environ")?);
        let pairs = environment.iter().filter_map(|line| line.split_once('='));
        Some(Self {
            pid,
            name: String::from_utf8_lossy(&file("comm")?).trim().to_owned(),
            arguments: texts(file("cmdline")?),
            environment: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            folder: fs::read_link(format!("/proc/{pid}/cwd")).ok()?,
        })
    }

    pub fn variable(&self, name: &str) -> &str {
        self.environment.get(name).map_or("", String::as_str)
    }

    /// The name of the process that started it.
    pub fn parent_name(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        parent.and_then(Process::read).map_or_else(String::new, |parent| parent.name)
    }

    pub fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap_or_else(|cause| panic!("{signal} to {self}: {cause}"));
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.pid, self.arguments.join(" "))
    }
}

pub fn all() -> Vec<Process> {
    let names = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| Process::read(name.parse().ok()?)).collect()
}

/// Everything under the Slurm of this folder: daemons, their commands, the steps and programs of jobs.
pub fn of_sandbox(folder: &Path) -> Vec<Process> {
    let begin = format!("{}/", folder.display());
    all().into_iter().filter(|process| process.variable("SLURM_CONF").starts_with(&begin)).collect()
}

/// The engines in a run folder, by rank.
pub fn ranks(run: &Path) -> Vec<Process> {
    let run = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    let is_there = |process: &Process| {
        let mut folders = process.arguments.iter().skip(1).map(|argument| process.folder.join(argument));
        folders.any(|folder| folder.canonicalize().is_ok_and(|folder| folder == run))
    };
    let mut found: Vec<_> = all().into_iter().filter(|p| p.name == "relion-rs-rank" && is_there(p)).collect();
    found.sort_by_key(|process| process.variable("SLURM_PROCID").parse().unwrap_or(0_usize));
    found
}
