//! A real Slurm in a temporary folder: started, waited for, and gone with the test, however that ends.

mod configuration;
mod daemons;
mod options;
mod verbs;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nix::sys::stat::Mode;
use nix::sys::stat::SFlag;
use nix::sys::stat::makedev;
use nix::sys::stat::mknod;

use crate::processes;

pub use options::Options;
pub use verbs::JobId;
pub use verbs::now;

/// For what takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// Lines of each log that are shown when a wait was in vain.
const LOG_TAIL: usize = 15;
/// Set it to look at the files of a sandbox after its test.
const KEEP: &str = "RELION_RS_KEEP_SANDBOX";

pub struct Sandbox {
    folder: PathBuf,
    options: Options,
    daemons: Vec<(String, Child)>,
    keeper: Child,
}

impl Sandbox {
    /// With all nodes idle.
    pub fn start(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("relion-rs-slurm-").tempdir().unwrap().keep();
        // The database has a user of its own, who must come through.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let keeper = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/keeper.sh"))
            .arg(&folder)
            .args(std::env::var_os(KEEP).map(|_| "keep"))
            .stdin(Stdio::piped())
            // Ctrl-C is for the test; the keeper notices its end.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut sandbox = Self { folder, options, daemons: vec![], keeper };
        sandbox.make_folders();
        let database = configuration::write(&sandbox.folder, &sandbox.options);
        sandbox.start_munge();
        if sandbox.options.accounting {
            sandbox.start_accounting(database);
        }
        sandbox.daemon("slurmctld", &["-D"]);
        for node in 1..=sandbox.options.nodes {
            sandbox.start_slurmd(node);
        }
        sandbox.wait_for("idle nodes", PATIENCE, || {
            let states = sandbox.text("sinfo", "-h -N -p low -o %T").ok()?;
            (states.lines().filter(|state| *state == "idle").count() == sandbox.options.nodes).then_some(())
        });
        sandbox
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder for the run folders of jobs; it goes with the sandbox.
    pub fn jobs(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    fn make_folders(&self) {
        let options = &self.options;
        let mut names: Vec<String> = ["state", "log", "run", "dev", "jobs"].map(String::from).into();
        names.extend((1..=options.nodes).flat_map(|n| [format!("spool/n{n}"), format!("tmp/n{n}")]));
        for name in names {
            fs::create_dir_all(self.folder.join(name)).unwrap();
        }
        for gpu in 0..options.gpus {
            let path = self.folder.join(format!("dev/nvidia{gpu}"));
            // Slurm sets no CUDA_VISIBLE_DEVICES for a plain file. This is another /dev/null.
            let null = makedev(1, 3);
            if mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), null).is_err() {
                // A container may forbid new devices.
                symlink("/dev/null", &path).unwrap();
            }
        }
        if !options.hidden.is_empty() {
            let bin = self.folder.join("bin");
            fs::create_dir(&bin).unwrap();
            for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap()) {
                for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                    let name = entry.file_name();
                    if !options.hidden.iter().any(|hidden| name == *hidden) {
                        // The first folder of the PATH counts.
                        let _ = symlink(entry.path(), bin.join(name));
                    }
                }
            }
            let prolog = self.folder.join("prolog.sh");
            // Folders that a job has put before the system's stay where they are.
            let is_system = options.hidden.iter().map(|hidden| format!("[ -e $folder/{hidden} ]")).collect::<Vec<_>>();
            let text = format!(
                "#!/bin/sh\nIFS=:\nfor folder in $PATH; do {} || kept=$kept$folder:; done\necho \"export PATH=$kept{}\"\n",
                is_system.join(" || "),
                bin.display()
            );
            fs::write(&prolog, text).unwrap();
            fs::set_permissions(&prolog, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// A command under this Slurm, and under nothing else that is set outside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let foreign = ["SLURM", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_", "RELION_RS_"];
        for (name, _) in std::env::vars_os() {
            if foreign.iter().any(|begin| name.to_string_lossy().starts_with(begin)) {
                command.env_remove(name);
            }
        }
        command.env("SLURM_CONF", self.folder.join("slurm.conf")).env("LC_ALL", "C");
        command.env("HOME", &self.folder).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }

    /// What a command prints, or its complaint.
    pub fn output(&self, command: &mut Command) -> Result<String, String> {
        let output =
            command.output().unwrap_or_else(|cause| panic!("{command:?}: {cause}; `make test-cluster` installs it"));
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(format!("{command:?}: {} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// The same, of a command of words.
    pub fn text(&self, program: &str, words: &str) -> Result<String, String> {
        // Slurm's commands wait for a controller that is gone for minutes.
        self.output(self.command("timeout").args(["20", program]).args(words.split_whitespace()))
    }

    /// Asks until there is an answer. When the time is over it says what was waited for and what the logs say.
    pub fn wait_for<T>(&self, what: &str, patience: Duration, mut answer: impl FnMut() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            if begin.elapsed() > patience {
                panic!("{what} did not come within {} s\n{}", patience.as_secs(), self.logs());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The queue, and the ends of all logs: Slurm's and those of jobs.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for (program, words) in [("squeue", "-l"), ("sinfo", "-N -l")] {
            let answer = self.text(program, words).unwrap_or_else(|complaint| complaint);
            writeln!(text, "== {program} {words}\n{answer}").unwrap();
        }
        let mut paths: Vec<PathBuf> = vec![];
        let mut folders = vec![self.folder.join("log"), self.jobs()];
        let works = fs::read_dir(self.jobs()).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        folders.extend(works.map(|folder| folder.join("out/log")));
        for folder in folders {
            let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
            paths.extend(entries.map(|entry| entry.path()).filter(|path| path.is_file()));
        }
        paths.sort();
        for path in paths {
            let all = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = all.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n");
            writeln!(text, "== {}\n{tail}", path.display()).unwrap();
        }
        text
    }

    /// Ends everything, and tells which processes are left.
    pub fn stop(mut self) -> Vec<String> {
        self.end()
    }

    fn end(&mut self) -> Vec<String> {
        // The keeper's work begins with the end of its input.
        drop(self.keeper.stdin.take());
        let begin = Instant::now();
        while self.keeper.try_wait().is_ok_and(|status| status.is_none()) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        for (_, daemon) in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        processes::of_sandbox(&self.folder).iter().map(ToString::to_string).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let left = self.end();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}
