//! `submit`: from a job to a batch script with the resources that its plan needs, and to Slurm.

mod again;
mod batch;
mod gpu;
mod limits;
mod resources;
mod scan;
mod send;
mod site;
mod steps;
mod tell;
mod wanted;

use std::path::Path;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::atomic::write_text;
use crate::plan::Backend;
use crate::plan::Cluster;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::RunDir;

pub use again::Asked;
pub use again::again;
pub use again::was_submitted;

use super::engine;
use super::job::Job;
use super::job::JobArguments;
use super::run;
use super::screen::Screen;
use batch::batch;
use scan::Variant;
use site::site;
use steps::Then;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub job: JobArguments,
    #[command(flatten)]
    pub cluster: Cluster,
    /// Begin when this job has ended well: its number, or a run folder that was submitted; may be repeated
    #[arg(long, value_name = "JOBID|DIR", help_heading = "Submission")]
    pub after: Vec<String>,
    /// Dependency as sbatch takes it: afterany:123
    #[arg(long, value_name = "LIST", help_heading = "Submission")]
    pub dependency: Option<String>,
    /// A run for each value of a key, as one job array: symmetry=C1,D2; may be repeated, several multiply
    #[arg(long, value_name = "KEY=A,B", help_heading = "Submission")]
    pub scan: Vec<String>,
    /// Tasks of a scan: 0-9 (these), %4 (four at a time), 0-9%4
    #[arg(long, value_name = "TASKS", help_heading = "Submission")]
    pub array: Option<String>,
    /// What follows when the run has ended well; may be repeated
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Submission")]
    pub then: Vec<Then>,
    /// Copy the stacks to the scratch first, in a job of its own without a GPU
    #[arg(long, help_heading = "Submission")]
    pub stage: bool,
    /// Show the script and submit nothing
    #[arg(long, help_heading = "Submission")]
    pub dry_run: bool,
    /// Further arguments of sbatch, word for word
    #[arg(last = true, value_name = "SBATCH ARGUMENTS")]
    pub sbatch: Vec<String>,
}

/// One run folder of a submission.
struct Run {
    dir: RunDir,
    plan: Plan,
    layers: Layers,
}

impl Run {
    fn computes_on_gpus(&self) -> bool {
        gpu::backend(self.plan.backend, &self.layers.cluster) == Backend::Cuda
    }
}

pub fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode> {
    if arguments.array.is_some() && arguments.scan.is_empty() {
        return Err(Error::new(
            ExitCode::Usage,
            "--array",
            "an array of one run would start the same run folder several times",
            "Give --scan KEY=A,B as well: --array then says which of its runs are started, and how many at a time.",
        ));
    }
    if arguments.stage && arguments.scan.iter().any(|scan| scan.starts_with("particles=")) {
        return Err(Error::usage(
            "--stage copies the stacks of one particle table, and several are scanned",
            "Leave --stage out, or submit these runs one by one.",
        ));
    }
    // Nothing is queued that could not start.
    let programs = engine::program()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let runs = runs(&arguments, screen)?;
    let site = site(&runs[0].layers.cluster)?;
    for note in &site.notes {
        screen.warning(note);
    }
    let (batch, notes) = batch(&arguments, &runs, &programs, site.partition.as_ref())?;
    for note in &notes {
        screen.warning(note);
    }
    let needs_cuda = runs.iter().any(|run| run.computes_on_gpus());
    let suits = engine::suits(batch.request.ranks, needs_cuda, screen);
    if arguments.dry_run {
        if let Err(error) = suits {
            screen.warning(&format!("{}: {}", error.place, error.problem));
        }
        tell::scripts(&batch, screen)?;
        return Ok(ExitCode::Done);
    }
    suits?;
    for run in &runs {
        send::refuse_active(&run.dir, screen)?;
    }
    for run in &runs {
        run::prepare(&run.dir, &run.plan, &run.layers)?;
        remember_cluster(&run.dir, &run.layers)?;
    }
    batch.write()?;
    let told = batch.submit(&runs, screen)?;
    tell::jobs(&told, &batch, &runs, screen)?;
    Ok(ExitCode::Done)
}

/// The runs of all combinations of a scan, checked and with their folders named.
fn runs(arguments: &Arguments, screen: &Screen) -> Result<Vec<Run>> {
    let variants = scan::variants(&arguments.scan)?;
    let mut runs = Vec::new();
    for variant in &variants {
        runs.push(one(arguments, variant, screen)?);
    }
    Ok(runs)
}

fn one(arguments: &Arguments, variant: &Variant, screen: &Screen) -> Result<Run> {
    let flags = arguments.job.flags.with(&variant.keys)?;
    let words = JobArguments { flags, ..arguments.job.clone() };
    let mut job = Job::load_with(words, arguments.cluster.clone(), None)?;
    add_arguments(&mut job.layers.cluster, &arguments.sbatch);
    gpu::settle(&mut job.layers, screen)?;
    if let Some(out) = &job.layers.values.out {
        job.layers.values.out = Some(scan::folder(out, variant));
    }
    let resolved = job.resolve()?;
    for warning in &resolved.warnings {
        screen.warning(warning);
    }
    let plan = resolved.plan;
    run::fits(&gpu::counted(&plan, &job.layers), screen)?;
    let root = std::path::absolute(plan.file(&plan.out)).map_err(|cause| Error::reading(&plan.out, &cause))?;
    Ok(Run { dir: RunDir::new(root), plan, layers: job.layers })
}

fn add_arguments(cluster: &mut Cluster, further: &[String]) {
    if !further.is_empty() {
        cluster.sbatch.get_or_insert_default().extend(joined(further));
    }
}

/// `--comment x` becomes one argument, as a line of a script holds one.
fn joined(words: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        match all.last_mut() {
            Some(last) if !word.starts_with('-') && last.starts_with("--") && !last.contains('=') => {
                *last = format!("{last}={word}");
            }
            Some(last) if !word.starts_with('-') && last.len() == 2 => *last = format!("{last}{word}"),
            _ => all.push(word.clone()),
        }
    }
    all
}

/// What the next `resume` starts from.
fn remember_cluster(run_dir: &RunDir, layers: &Layers) -> Result<()> {
    let mut asked = layers.asked_of_cluster()?;
    if layers.cluster.sbatch.as_ref().is_some_and(|further| !further.is_empty()) {
        asked.sbatch.clone_from(&layers.cluster.sbatch);
    }
    let text = "# What the last submission asked of the cluster, beside the site's and your own settings.\n";
    write_text(&run_dir.cluster(), &format!("{text}{}", asked.to_toml()?))
}
