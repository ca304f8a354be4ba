//! `run`: writes the run folder and starts the engine in it. In a folder with a checkpoint it goes on.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::JobKind;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::refine::plan::plan as count;

use super::engine;
use super::job::Job;
use super::job::JobArguments;
use super::screen::Screen;
use super::start;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub job: JobArguments,
    /// Ranks on this machine, started by mpirun; they share its cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Computing")]
    pub ranks: u32,
}

pub fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode> {
    let job = Job::load(arguments.job)?;
    let resolved = job.resolve()?;
    for warning in &resolved.warnings {
        screen.warning(warning);
    }
    let plan = resolved.plan;
    match plan.backend {
        // The engine would say the same, in a run folder.
        Backend::Cuda => {
            let whole = engine::gpu_memory()?;
            fits(&Plan { gpu_memory_bytes: plan.gpu_memory_bytes.or(Some(whole)), ..plan.clone() }, screen)?;
        }
        _ => fits(&plan, screen)?,
    }
    let run_dir = RunDir::new(plan.file(&plan.out));
    prepare(&run_dir, &plan, &job.layers)?;
    start::engine(&run_dir, &plan, &[], arguments.ranks, screen)
}

/// Refuses a cap on memory, or a GPU, that the job cannot do with to its end, before it starts: a refinement ends with an iteration
/// of the full window. The window of a classification grows only as far as its maps' resolution, so there it is told.
pub(super) fn fits(plan: &Plan, screen: &Screen) -> Result<()> {
    let has_gpu_cap = plan.backend == Backend::Cuda && plan.gpu_memory_bytes.is_some();
    if plan.memory_bytes.is_none() && !has_gpu_cap {
        return Ok(());
    }
    match count(plan).and_then(|estimate| estimate.fits_gpu()) {
        Err(error) if error.code == ExitCode::Memory && plan.kind == JobKind::Class3d => {
            screen.warning(&format!("{}: {}", error.place, error.problem));
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => Ok(()),
    }
}

/// Writes `job.toml` and `plan.json`, unless the folder belongs to another run.
pub(super) fn prepare(run_dir: &RunDir, plan: &Plan, layers: &Layers) -> Result<()> {
    if run_dir.plan().exists() {
        let earlier = Plan::read(&run_dir.plan())?;
        refuse_another_run(run_dir, &earlier, plan)?;
    }
    run_dir.create()?;
    let lock = run_dir.lock()?;
    if !run_dir.job().is_file() {
        let header = "# What was asked of relion-rs: every key that is not a default. plan.json holds all values.\n";
        let (job, cluster) = (layers.asked()?.to_toml()?, layers.asked_of_cluster()?.to_toml()?);
        let between = if cluster.is_empty() { "" } else { "\n" };
        write_whole(&run_dir.job(), &format!("{header}{job}{between}{cluster}"))?;
    }
    write_whole(&run_dir.plan(), &plan.to_json()?)?;
    drop(lock);
    Ok(())
}

fn refuse_another_run(run_dir: &RunDir, earlier: &Plan, plan: &Plan) -> Result<()> {
    let differences = plan_differences(earlier, plan);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ExitCode::Usage,
        run_dir.root().display().to_string(),
        format!("holds a run with other settings: {}", differences.join("; ")),
        "Choose another --out, go on with the old settings (`relion-rs resume`), or delete the folder.",
    ))
}

fn plan_differences(earlier: &Plan, plan: &Plan) -> Vec<String> {
    earlier.differences(plan).into_iter().map(|(key, old, new)| format!("{key} is {old} there, {new} here")).collect()
}

/// Replaces a file in one step, so that nobody reads half of it.
fn write_whole(path: &Path, text: &str) -> Result<()> {
    let failed = |cause: std::io::Error| Error::writing(path, &cause);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    // A temporary file is readable by its owner only; a run folder is read by colleagues.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(file.path(), mode).map_err(failed)?;
    file.persist(path).map_err(|cause| failed(cause.error))?;
    Ok(())
}
