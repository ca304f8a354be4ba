//! `logs`: what a job or a rank wrote, if wanted as it comes.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::jobs::Jobs;
use super::resume::not_a_run;
use super::screen::Screen;
use super::status;
use super::status::Cluster;
use super::stop::Incoming;

const PAUSE: Duration = Duration::from_millis(500);
/// How often Slurm is asked whether the run is over.
const SLURM_PAUSE: Duration = Duration::from_secs(15);
/// How soon Ctrl-C is noticed.
const TICK: Duration = Duration::from_millis(100);
const CHUNK_BYTES: usize = 1 << 16;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Go on with what is written from now on, over restarts, until the run ends
    #[arg(short, long)]
    pub follow: bool,
    /// Log of this rank instead of the job's
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let run_dir = RunDir::new(&arguments.run_dir);
    let plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    let jobs = Jobs::of(&run_dir)?;
    let mut reader = Reader::new(*screen);
    if !arguments.follow {
        let path = log(&run_dir, arguments.rank, &jobs)?;
        reader.open(&path)?;
        reader.copy()?;
        reader.flush()?;
        return Ok(ExitCode::Done);
    }
    follow(arguments, &run_dir, &plan, &jobs, reader, screen)
}

fn follow(
    arguments: &Arguments,
    run_dir: &RunDir,
    plan: &Plan,
    jobs: &Jobs,
    mut reader: Reader,
    screen: &Screen,
) -> Result<ExitCode> {
    let incoming = Incoming::new()?;
    let (mut cluster, mut asked) = (Cluster::look(run_dir)?, Instant::now());
    let is_expected = cluster.as_ref().is_some_and(Cluster::is_active);
    loop {
        let is_due = asked.elapsed() >= SLURM_PAUSE;
        if is_due {
            (cluster, asked) = (Cluster::look(run_dir)?, Instant::now());
        }
        // Looked at before the last bytes are read, so that none is missed.
        let mut is_over = status::look(run_dir, plan, cluster.clone())?.is_over();
        if is_over && !is_due {
            (cluster, asked) = (Cluster::look(run_dir)?, Instant::now());
            is_over = status::look(run_dir, plan, cluster.clone())?.is_over();
        }
        match log(run_dir, arguments.rank, jobs) {
            Ok(path) => {
                if reader.path.as_ref() != Some(&path) {
                    // The rest of the log before, then the new one.
                    if reader.path.is_some() && reader.copy()? {
                        screen.message(&format!("==> {} <==", path.display()));
                    }
                    reader.open(&path)?;
                }
                if !reader.copy()? {
                    return Ok(ExitCode::Done);
                }
            }
            // A job that waits has no log yet.
            Err(error) if !is_expected || is_over => return Err(error),
            Err(_) => {}
        }
        if is_over || is_stopped(&incoming) {
            reader.flush()?;
            return Ok(ExitCode::Done);
        }
    }
}

fn is_stopped(incoming: &Incoming) -> bool {
    let end = Instant::now() + PAUSE;
    while Instant::now() < end {
        if incoming.next().is_some() {
            return true;
        }
        thread::sleep(TICK);
    }
    false
}

/// The file to be shown.
fn log(run_dir: &RunDir, rank: Option<usize>, jobs: &Jobs) -> Result<PathBuf> {
    if let Some(rank) = rank {
        let path = run_dir.log(rank);
        if path.is_file() {
            return Ok(path);
        }
        let there = names(&run_dir.logs(), "rank-", ".log")?;
        let fix = match &there[..] {
            [] => "No rank has started yet.".to_owned(),
            _ => format!("There are those of rank {}.", there.join(", ")),
        };
        return Err(Error::new(ExitCode::NoInput, path.display().to_string(), "there is no such log", fix));
    }
    if let Some(path) = newest(&run_dir.logs())? {
        return Ok(path);
    }
    let own = run_dir.log(0);
    if jobs.submissions.is_empty() && own.is_file() {
        return Ok(own);
    }
    let (problem, fix) = match jobs.ids().last() {
        Some(id) => (
            format!("job {id} has not written a log yet"),
            "`relion-rs logs -f` waits for it; `relion-rs status` tells why.",
        ),
        None => ("nothing has been logged yet".to_owned(), "`relion-rs run` or `relion-rs submit` starts the run."),
    };
    Err(Error::new(ExitCode::NoInput, run_dir.logs().display().to_string(), problem, fix))
}

/// What stands between two parts of the names of files, in order.
fn names(folder: &Path, before: &str, after: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        Err(cause) => return Err(Error::reading(folder, &cause)),
    };
    for entry in entries {
        let name = entry.map_err(|cause| Error::reading(folder, &cause))?.file_name();
        if let Some(middle) = name.to_string_lossy().strip_prefix(before).and_then(|name| name.strip_suffix(after)) {
            names.push(middle.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The log of a job that was written to last.
fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let logs = names(folder, "slurm-", ".out")?.into_iter().map(|id| folder.join(format!("slurm-{id}.out")));
    let written = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(logs.max_by_key(written))
}

/// Copies a file from where it was left.
struct Reader {
    screen: Screen,
    path: Option<PathBuf>,
    offset: u64,
    /// Half a line, for those who read JSON.
    torn: Vec<u8>,
}

impl Reader {
    fn new(screen: Screen) -> Self {
        Self { screen, path: None, offset: 0, torn: Vec::new() }
    }

    fn open(&mut self, path: &Path) -> Result<()> {
        self.flush()?;
        (self.path, self.offset) = (Some(path.to_path_buf()), 0);
        Ok(())
    }

    /// What is new; false when nobody reads it any more.
    fn copy(&mut self) -> Result<bool> {
        let Some(path) = self.path.clone() else { return Ok(true) };
        let failed = |cause: std::io::Error| Error::reading(&path, &cause);
        let mut file = File::open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < self.offset {
            // Begun anew.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).map_err(failed)?;
            if count == 0 {
                return Ok(true);
            }
            self.offset += count as u64;
            if !self.show(&chunk[..count])? {
                return Ok(false);
            }
        }
    }

    fn show(&mut self, bytes: &[u8]) -> Result<bool> {
        if !self.screen.is_json() {
            return self.screen.copy(bytes);
        }
        self.torn.extend_from_slice(bytes);
        while let Some(end) = self.torn.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.torn.drain(..=end).collect();
            if !self.line(&line[..end])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What stands behind the last end of a line.
    fn flush(&mut self) -> Result<bool> {
        let line = std::mem::take(&mut self.torn);
        if line.is_empty() { Ok(true) } else { self.line(&line) }
    }

    fn line(&self, line: &[u8]) -> Result<bool> {
        self.screen.show_json(&serde_json::json!({ "line": String::from_utf8_lossy(line) }))
    }
}
