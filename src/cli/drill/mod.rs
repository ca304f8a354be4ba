//! `drill`: interrupts a run on purpose, goes on with it, and compares its files with those of an uninterrupted one.
//!
//! Every run has the same path, because files name each other by it; afterwards its folder is renamed.

mod act;
mod cases;
mod disk;
mod job;
mod outputs;
mod table;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::job::Job;
use super::job::JobArguments;
use super::run::prepare;
use super::screen::Screen;
use super::screen::counted;
use super::screen::duration;
use super::stop::Incoming;

use act::Act;
use act::Met;
use act::Start;
use cases::Case;
use cases::Interruption;
use disk::Limit;
use disk::Obstacle;
use disk::SmallDisk;
use outputs::Digests;

/// Without --out the folder is made under such a name, and removed when all went well.
const PREFIX: &str = "relion-rs-drill-";
/// An instant that turns out to lie after the end is taken earlier so often.
const ATTEMPTS: u32 = 4;
/// Least time of a start, of an uninterrupted run's, when --walltime does not say it.
const WALLTIME_SHARE: f64 = 0.3;
const SECONDS_PER_HOUR: f64 = 3600.0;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub job: JobArguments,
    /// Kind of the job on simulated particles (default: refine3d)
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Option<JobKind>,
    /// Number of particles to simulate when the job names none
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub count: usize,
    /// Box of the simulated particles in pixels
    #[arg(long = "box", value_name = "PIXELS", default_value_t = 32)]
    pub box_pixels: usize,
    /// Send this signal (may be given several times)
    #[arg(long, value_enum, value_name = "SIGNAL", ignore_case = true)]
    pub signal: Vec<cases::Sent>,
    /// Kill the run with SIGKILL
    #[arg(long)]
    pub kill: bool,
    /// Kill this rank of several, from 0, with SIGKILL: all end, and the run goes on
    #[arg(long, value_name = "N")]
    pub kill_rank: Option<u32>,
    /// Ranks of the interrupted runs, started by mpirun (default: 1; with --kill-rank 3, or more if need be)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ranks: Option<u32>,
    /// Kill the run, and flip a bit in its newest checkpoint
    #[arg(long)]
    pub corrupt_checkpoint: bool,
    /// Make checkpoints fail to be written for a while, by a limit on the size of files (RLIMIT_FSIZE), or see --disk
    #[arg(long)]
    pub fill_disk: bool,
    /// Run --fill-disk in this small file system (at most 1 GiB free) and really fill it up; to mount one takes root
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// Give every start so much time (30s, 2m, 1h), as --max-hours does, and start until the end
    #[arg(long, value_name = "TIME", value_parser = cases::time)]
    pub walltime: Option<Duration>,
    /// Interrupt so long after the start: 3s, 2m (default: at different shares of the run's time)
    #[arg(long, value_name = "TIME", value_parser = cases::time)]
    pub after: Option<Duration>,
    /// Do everything so many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub times: u32,
    /// Keep the run folders of interruptions that went well
    #[arg(long)]
    pub keep: bool,
}

/// What came of an interruption.
#[derive(Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
enum Verdict {
    /// All files are those of the uninterrupted run.
    Equal {
        files: usize,
    },
    /// They are, but the run had ended before it could be interrupted.
    NotInterrupted {
        files: usize,
    },
    Differ {
        differing: Vec<String>,
    },
    /// The run did not come to its end as it should.
    Failed {
        problem: String,
    },
}

impl Verdict {
    fn is_good(&self) -> bool {
        matches!(self, Self::Equal { .. } | Self::NotInterrupted { .. })
    }
}

#[derive(Debug, Serialize)]
struct Outcome {
    interruption: &'static str,
    starts: Vec<Start>,
    #[serde(flatten)]
    verdict: Verdict,
    /// Where the run lies, if it was kept.
    folder: Option<PathBuf>,
}

/// The uninterrupted run, and what all others share.
struct Drill<'a> {
    incoming: &'a Incoming,
    folder: &'a Path,
    job: &'a Job,
    plan: Plan,
    disk: Option<&'a Path>,
    keep: bool,
    ranks: u32,
    digests: Digests,
    time: Duration,
    smallest_checkpoint: u64,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let cases = cases::wanted(arguments);
    if let Some(disk) = &arguments.disk {
        SmallDisk(disk).check()?;
    }
    let incoming = Incoming::new()?;
    let folder = folder(arguments)?;
    let say = |text: &str| {
        if !screen.is_json() {
            screen.message(text)
        }
    };
    let job = job::of(arguments, &folder.join("run"), &folder.join("data"));
    let resolved = job.and_then(|job| job.resolve().map(|resolved| (job, resolved)));
    if resolved.is_err() && arguments.job.flags.out.is_none() {
        // Nothing has run yet: the error is all there is to see.
        let _ = fs::remove_dir_all(&folder);
    }
    let (job, resolved) = resolved?;
    for warning in &resolved.warnings {
        screen.warning(warning);
    }
    say(&format!("{} in {}", counted(cases.len(), "interruption"), folder.display()));
    let mut drill = Drill {
        incoming: &incoming,
        folder: &folder,
        job: &job,
        plan: resolved.plan,
        disk: arguments.disk.as_deref(),
        keep: arguments.keep,
        ranks: ranks(arguments)?,
        digests: Digests::new(),
        time: Duration::ZERO,
        smallest_checkpoint: 0,
    };
    let mut outcomes = Vec::new();
    let all = drill.uninterrupted().and_then(|()| {
        say(&format!("uninterrupted: {} files, {}", drill.digests.len(), duration(drill.time.as_secs_f64())));
        cases.iter().try_for_each(|case| {
            let outcome = drill.case(case)?;
            say(&table::line(&outcome));
            outcomes.push(outcome);
            Ok(())
        })
    });
    let good = outcomes.iter().all(|outcome| outcome.verdict.is_good());
    let is_own = arguments.job.flags.out.is_none();
    let clean = || -> Result<()> {
        if good && !arguments.keep && is_own {
            return fs::remove_dir_all(&folder).map_err(|cause| Error::writing(&folder, &cause));
        }
        Ok(())
    };
    match all {
        Err(error) if error.code == ExitCode::Checkpointed => {
            let run = folder.join("run");
            if run.exists() {
                drill.remove(&run)?;
            }
            clean()?;
            let done = counted(outcomes.len(), "interruption");
            screen.warning(&format!("{}, after {done} of {}", error.problem, cases.len()));
            return Ok(ExitCode::Checkpointed);
        }
        other => other?,
    }
    let interrupted =
        outcomes.iter().filter(|outcome| !matches!(outcome.verdict, Verdict::NotInterrupted { .. })).count();
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "equal": good,
            "interrupted": interrupted,
            "folder": &folder,
            "uninterrupted": { "seconds": drill.time.as_secs_f64(), "sha256": &drill.digests },
            "interruptions": &outcomes,
        }))?;
    } else {
        screen.print(&table::table(&outcomes, drill.digests.len()))?;
    }
    clean()?;
    if interrupted == 0 {
        return Err(Error::usage(
            format!("no run was interrupted: each ends within {}", duration(drill.time.as_secs_f64())),
            "Choose a shorter --after or --walltime, or a job that takes longer.",
        ));
    }
    Ok(if good { ExitCode::Done } else { ExitCode::Internal })
}

/// Ranks of the interrupted runs.
fn ranks(arguments: &Arguments) -> Result<u32> {
    const USUAL: u32 = 3;
    let Some(victim) = arguments.kill_rank else { return Ok(arguments.ranks.unwrap_or(1)) };
    let ranks = arguments.ranks.unwrap_or(USUAL.max(victim.saturating_add(1)));
    if ranks < 2 || victim >= ranks {
        return Err(Error::usage(
            format!("there is no rank {victim} among {ranks} to be killed alone"),
            "Ranks are counted from 0; give --ranks 2 or more.",
        ));
    }
    Ok(ranks)
}

/// The folder of the drill, absolute; made by this program unless it was named.
fn folder(arguments: &Arguments) -> Result<PathBuf> {
    let Some(named) = &arguments.job.flags.out else {
        let here = std::env::current_dir().map_err(|cause| Error::reading(Path::new("."), &cause))?;
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&here);
        return Ok(made.map_err(|cause| Error::writing(&here, &cause))?.keep());
    };
    let path = std::path::absolute(named).map_err(|cause| Error::reading(named, &cause))?;
    fs::create_dir_all(&path).map_err(|cause| Error::writing(&path, &cause))?;
    let is_empty = fs::read_dir(&path).map_err(|cause| Error::reading(&path, &cause))?.next().is_none();
    if is_empty {
        return Ok(path);
    }
    Err(Error::new(
        ExitCode::CannotCreate,
        named.display().to_string(),
        "is not empty",
        "Choose another --out: a drill makes its own runs there.",
    ))
}

impl<'a> Drill<'a> {
    /// A fresh run folder at the path that all runs share.
    fn prepare(&self, plan: &Plan, name: &str, disk: Option<&Path>, ranks: u32) -> Result<Act<'a>> {
        let root = self.folder.join("run");
        if let Some(disk) = disk {
            let real = disk.join(format!("{PREFIX}{}-{name}", std::process::id()));
            fs::create_dir(&real).map_err(|cause| Error::writing(&real, &cause))?;
            let real = std::path::absolute(&real).map_err(|cause| Error::reading(&real, &cause))?;
            std::os::unix::fs::symlink(&real, &root).map_err(|cause| Error::writing(&root, &cause))?;
        }
        let run_dir = RunDir::new(root);
        prepare(&run_dir, plan, &self.job.layers)?;
        Ok(Act::new(run_dir, self.folder.join(format!("{name}.log")), self.incoming, ranks))
    }

    /// Gives the run folder another name, to make room for the next.
    fn put_aside(&self, name: &str) -> Result<PathBuf> {
        let (from, to) = (self.folder.join("run"), self.folder.join(name));
        fs::rename(&from, &to).map_err(|cause| Error::writing(&to, &cause))?;
        Ok(to)
    }

    fn remove(&self, folder: &Path) -> Result<()> {
        let failed = |cause| Error::writing(folder, &cause);
        if folder.is_symlink() {
            let real = fs::read_link(folder).map_err(failed)?;
            fs::remove_file(folder).map_err(failed)?;
            return fs::remove_dir_all(&real).map_err(failed);
        }
        fs::remove_dir_all(folder).map_err(failed)
    }

    fn uninterrupted(&mut self) -> Result<()> {
        let begin = Instant::now();
        let mut act = self.prepare(&self.plan, "uninterrupted", None, 1)?;
        let met = act.run()?;
        self.time = begin.elapsed();
        if let Met::Wrong(problem) = met {
            return Err(Error::new(
                ExitCode::BadData,
                "the uninterrupted run",
                problem,
                "A drill needs a job that comes to its end: try it with `relion-rs run` first.",
            ));
        }
        for checkpoint in act.checkpoints()? {
            let bytes = fs::metadata(&checkpoint).map_err(|cause| Error::reading(&checkpoint, &cause))?.len();
            self.smallest_checkpoint = match self.smallest_checkpoint {
                0 => bytes,
                least => least.min(bytes),
            };
        }
        self.digests = outputs::digests(&self.put_aside("uninterrupted")?)?;
        Ok(())
    }

    fn case(&self, case: &Case) -> Result<Outcome> {
        let name = format!("{:02}-{}", case.number, case.what.name().replace(' ', "-"));
        let mut after = case.after.unwrap_or(self.time.mul_f64(case.share));
        let mut attempts = if case.after.is_some() { 1 } else { ATTEMPTS };
        loop {
            let (met, starts) = self.attempt(case, &name, after)?;
            let folder = self.put_aside(&name)?;
            attempts -= 1;
            if matches!(met, Met::Late) && attempts > 0 {
                self.remove(&folder)?;
                after /= 2;
                continue;
            }
            let verdict = self.verdict(met, &folder)?;
            let is_kept = self.keep || !verdict.is_good();
            if !is_kept {
                self.remove(&folder)?;
            }
            let folder = is_kept.then_some(folder);
            return Ok(Outcome { interruption: case.what.name(), starts, verdict, folder });
        }
    }

    /// Interrupts a fresh run, and goes on with it to its end.
    fn attempt(&self, case: &Case, name: &str, after: Duration) -> Result<(Met, Vec<Start>)> {
        let mut plan = self.plan.clone();
        if let Interruption::Walltime(time) = case.what {
            let time = time.unwrap_or_else(|| after.max(self.time.mul_f64(WALLTIME_SHARE)));
            plan.max_hours = Some(time.as_secs_f64() / SECONDS_PER_HOUR);
        }
        let disk = self.disk.filter(|_| case.what == Interruption::FullDisk);
        let mut act = self.prepare(&plan, name, disk, self.ranks)?;
        let met = match case.what {
            Interruption::Signal(signal) => act.signal(signal, after)?,
            Interruption::Kill => act.kill(after, 0)?,
            Interruption::KillRank(rank) => act.kill_rank(rank as usize, after)?,
            Interruption::Corrupt => {
                let met = act.kill(after, 2)?;
                if let (Met::Interrupted, Some(newest)) = (&met, act.checkpoints()?.last()) {
                    act::flip_a_bit(newest)?;
                }
                met
            }
            Interruption::FullDisk => {
                let (limit, small) = (Limit(self.smallest_checkpoint.saturating_sub(1)), disk.map(SmallDisk));
                let obstacle: &dyn Obstacle = match &small {
                    Some(small) => small,
                    None => &limit,
                };
                act.hindered(after, obstacle)?
            }
            Interruption::Walltime(_) => act.by_the_clock()?,
        };
        let is_over = matches!(case.what, Interruption::Walltime(_)) || !matches!(met, Met::Interrupted);
        let met = match if is_over { Met::Interrupted } else { act.run()? } {
            Met::Interrupted => met,
            other => other,
        };
        Ok((met, act.starts))
    }

    fn verdict(&self, met: Met, folder: &Path) -> Result<Verdict> {
        if let Met::Wrong(problem) = met {
            return Ok(Verdict::Failed { problem });
        }
        let found = outputs::digests(folder)?;
        let differing = outputs::differing(&self.digests, &found);
        Ok(match met {
            _ if !differing.is_empty() => Verdict::Differ { differing },
            Met::Late => Verdict::NotInterrupted { files: found.len() },
            _ => Verdict::Equal { files: found.len() },
        })
    }
}
