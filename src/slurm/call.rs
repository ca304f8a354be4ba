//! One call of one of Slurm's commands, with an end.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A controller that is restarting answers within a minute or not at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// Variables that say where the cluster is and who asks, and nothing of a job.
const OF_CLUSTER: [&str; 4] = ["SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS"];
/// Variables that set the form of an answer.
const OF_FORM: [&str; 4] = ["SQUEUE_", "SINFO_", "SACCT_", "SCONTROL_"];
const PAUSE: Duration = Duration::from_millis(5);
/// After SIGTERM, in which `srun` takes its request for an allocation back.
const GRACE: Duration = Duration::from_secs(2);

/// Why a command gave no answer. Slurm speaks English only where nobody translated it, and one line is enough to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command is not on this machine's PATH.
    Absent { command: String },
    /// It ended with a code of its own, or by a signal; what it wrote to standard error.
    Refused { command: String, code: Option<i32>, text: String },
    /// It did not end in time; what it wrote to standard error until then.
    Late { command: String, seconds: u64, text: String },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { command } => write!(f, "{command} is not on the PATH"),
            Self::Refused { command, code, text } => match (text.trim(), code) {
                ("", Some(code)) => write!(f, "{command} ended with code {code} and said nothing"),
                ("", None) => write!(f, "{command} was ended by a signal"),
                (text, _) => write!(f, "{command}: {text}"),
            },
            Self::Late { command, seconds, text } => {
                write!(f, "{command} did not answer within {seconds} s")?;
                if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
            }
        }
    }
}

/// Standard output of a command that ended well, and what it wrote to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub complaint: String,
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// It is not there, does not end within a minute, or fails.
pub fn call<A: AsRef<OsStr>>(command: &str, arguments: &[A]) -> Result<String, Failure> {
    run(command, arguments, &mut plain(command), PATIENCE).map(|answer| answer.text)
}

/// The same with a patience of its own.
///
/// # Errors
/// It is not there, does not end in time, or fails.
pub fn call_within<A: AsRef<OsStr>>(command: &str, arguments: &[A], patience: Duration) -> Result<String, Failure> {
    run(command, arguments, &mut plain(command), patience).map(|answer| answer.text)
}

/// A command whose answer is read here: whatever a person has set to change the form of it is left out.
fn plain(command: &str) -> Command {
    let mut process = Command::new(command);
    for (name, _) in std::env::vars_os() {
        if OF_FORM.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            process.env_remove(&name);
        }
    }
    process.env("LC_ALL", "C").env("SLURM_TIME_FORMAT", "standard");
    process
}

/// The same as if typed outside of any job: a job that is submitted inherits the environment, and the variables of the
/// one that submits it (its restarts, its tasks) are not its own.
///
/// # Errors
/// As [`call`].
pub fn call_as_outsider<A: AsRef<OsStr>>(command: &str, arguments: &[A]) -> Result<Answer, Failure> {
    let mut process = Command::new(command);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SLURM") && !OF_CLUSTER.contains(&text.as_ref()) {
            process.env_remove(&name);
        }
    }
    run(command, arguments, &mut process, PATIENCE)
}

fn run<A: AsRef<OsStr>>(
    command: &str,
    arguments: &[A],
    process: &mut Command,
    patience: Duration,
) -> Result<Answer, Failure> {
    let refused = |cause: &io::Error| match cause.kind() {
        io::ErrorKind::NotFound => Failure::Absent { command: command.to_owned() },
        _ => Failure::Refused { command: command.to_owned(), code: None, text: cause.to_string() },
    };
    let mut child = process
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| refused(&cause))?;
    let (answer, complaint) = (Drain::start(child.stdout.take()), Drain::start(child.stderr.take()));
    let Some(status) = ends_within(&mut child, patience).map_err(|cause| refused(&cause))? else {
        // Whatever it started may hold the pipes open; the rest of its text is not waited for.
        let text = complaint.so_far().trim().to_owned();
        return Err(Failure::Late { command: command.to_owned(), seconds: patience.as_secs(), text });
    };
    let (answer, complaint) = (answer.whole(), complaint.whole());
    if status.success() {
        return Ok(Answer { text: answer, complaint });
    }
    let text = if complaint.trim().is_empty() { answer } else { complaint };
    Err(Failure::Refused { command: command.to_owned(), code: status.code(), text: text.trim().to_owned() })
}

/// The child's end, or `None` after ending it because it took too long.
fn ends_within(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    if let Some(status) = awaited(child, patience)? {
        return Ok(Some(status));
    }
    // It may end at this moment; then there is nothing to tell.
    let _ = signal::kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    if awaited(child, GRACE)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(None)
}

fn awaited(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + patience;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= end {
            return Ok(status);
        }
        thread::sleep(PAUSE);
    }
}

/// What comes out of a pipe.
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Drain {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let read = |mut pipe: Box<dyn Read + Send>| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut some = [0; 4096];
                // What could be read of a pipe that breaks is all there is.
                while let Ok(count @ 1..) = pipe.read(&mut some) {
                    bytes.lock().unwrap_or_else(PoisonError::into_inner).extend(&some[..count]);
                }
            })
        };
        let reader = pipe.map(|pipe| read(Box::new(pipe)));
        Self { bytes, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn whole(mut self) -> String {
        // A reader that panicked has read what it has read.
        let _ = self.reader.take().map(JoinHandle::join);
        self.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_takes_too_long_is_asked_to_end_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("asked");
        let script =
            format!("echo so far >&2; trap 'echo > {}; exit 0' TERM; while :; do sleep 0.05; done", mark.display());
        let start = Instant::now();
        let outcome = call_within("sh", &["-c", &script], Duration::from_millis(300));
        assert_eq!(outcome, Err(Failure::Late { command: "sh".to_owned(), seconds: 0, text: "so far".to_owned() }));
        assert!(mark.is_file(), "it was killed before it could take its request back");
        let deaf = call_within("sh", &["-c", "trap '' TERM; while :; do sleep 0.05; done"], Duration::from_millis(100));
        assert!(matches!(deaf, Err(Failure::Late { .. })) && start.elapsed() < Duration::from_secs(20));
        assert_eq!(call_within("echo", &["a"], Duration::from_secs(20)), Ok("a\n".to_owned()));
    }
}
