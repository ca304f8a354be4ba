//! RELION's files of a checkpoint: what the run wrote after that iteration, byte for byte, wherever it is wanted.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::checkpoint;
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::outputs;
use crate::outputs::Moment;
use crate::outputs::Names;
use crate::outputs::Snapshot;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::files::Files;
use super::grid;
use super::inputs::Inputs;

/// What was exported.
pub struct Export {
    /// The file that names the others; `relion_refine --continue` takes it.
    pub optimiser: PathBuf,
    pub files: Vec<PathBuf>,
    /// Why newer checkpoints were passed over.
    pub warnings: Vec<String>,
}

/// Writes the optimiser, model, sampling and data files and the maps of a checkpoint into the folder `out`, as
/// `run_itNNN_...`; the newest whole checkpoint unless an iteration is named. The files mention each other from the
/// folder in which the run was started, where RELION is to be started too.
///
/// # Errors
/// There is no such checkpoint, the inputs are gone or not those of the run, or a file is there already and may not be
/// replaced.
pub fn export(run_dir: &RunDir, iteration: Option<u32>, out: &Path, replace: bool) -> Result<Export> {
    let plan = Plan::read(&run_dir.plan())?;
    let (checkpoint, warnings) = find(run_dir, iteration)?;
    let inputs = Inputs::load(&plan)?;
    let changed = checkpoint.origin.changed_inputs(&inputs.origin.inputs);
    if !changed.is_empty() {
        return Err(Error::bad_data(
            "checkpoint",
            format!("the inputs are not those the run began with:\n  {}", changed.join("\n  ")),
            "Restore the inputs: the particle table is written from them.",
        ));
    }
    fs::create_dir_all(out).map_err(|e| Error::writing(out, &e))?;
    let names = Names::new(out, &mentioned(&plan, out)?);
    let state = &checkpoint.state;
    let moment = Moment::Iteration(state.iteration);
    let optimiser = names.path(&moment.optimiser());
    if optimiser.exists() && !replace {
        return Err(Error::new(
            ExitCode::CannotCreate,
            optimiser.display().to_string(),
            "is there already",
            "Choose another --out, or replace it with --force.",
        ));
    }
    let orientations = grid::orientations(&plan, &inputs, state)?;
    let directions: Vec<[f64; 2]> = orientations.directions().iter().map(|d| [d.rot_degrees, d.tilt_degrees]).collect();
    let snapshot = Snapshot { state, moment, used_size: state.sizes.current_size };
    let header = Files::header(&plan, &inputs);
    let files = outputs::write_iteration(&names, &header, &snapshot, &inputs.dataset, &directions)?;
    Ok(Export { optimiser, files, warnings })
}

fn find(run_dir: &RunDir, iteration: Option<u32>) -> Result<(Checkpoint, Vec<String>)> {
    let absent = |problem: String, fix: &str| Error::new(ExitCode::NoInput, place(run_dir), problem, fix);
    let Some(wanted) = iteration else {
        let latest = checkpoint::load_latest(run_dir.root())?;
        let nothing = || absent("there is no checkpoint".to_owned(), "Finish an iteration first.");
        return latest.map(|latest| (latest.checkpoint, latest.warnings)).ok_or_else(nothing);
    };
    let listed = checkpoint::list(run_dir.root())?;
    match listed.iter().find(|(iteration, _)| *iteration == wanted) {
        Some((_, file)) => Ok((checkpoint::load(file)?, Vec::new())),
        None => {
            let have: Vec<String> = listed.iter().map(|(iteration, _)| iteration.to_string()).collect();
            let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
            Err(absent(
                format!("there is no checkpoint of iteration {wanted}; there is: {have}"),
                "Name one of these, or keep more with --keep-last or --keep-every.",
            ))
        }
    }
}

fn place(run_dir: &RunDir) -> String {
    run_dir.checkpoint().display().to_string()
}

/// The root of the names inside the files: from the folder in which the run was started, or absolute outside of it.
fn mentioned(plan: &Plan, out: &Path) -> Result<String> {
    let out = out.canonicalize().map_err(|e| Error::reading(out, &e))?;
    let start = plan.working_directory.canonicalize().unwrap_or_else(|_| plan.working_directory.clone());
    let folder = out.strip_prefix(start).unwrap_or(&out);
    Ok(folder.join(RunDir::OUTPUT_PREFIX).display().to_string())
}
