//! The engine's half: particles and maps are read, the checkpoint is written, and the folder becomes a run folder.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::checkpoint;
use crate::error::Error;
use crate::error::Result;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;
use crate::refine::Inputs;

use super::run::Run;
use super::state::state;

/// The plan of a folder whose checkpoint is not written yet: it is no run folder, and nothing can start in it.
pub const DRAFT_PLAN: &str = "import.json";
/// Relative difference of pixel sizes that files print with six decimals.
const SAME_PIXEL: f64 = 1e-4;

/// What was taken over.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub run_folder: PathBuf,
    pub kind: JobKind,
    /// The iteration after which the run goes on, and the last one.
    pub iteration: u32,
    pub iterations: u32,
    pub particles: usize,
    pub classes: usize,
    pub resolution_angstrom: f64,
    /// RELION's, as its file says; may be empty.
    pub relion_version: String,
    pub checkpoint: PathBuf,
    /// What was not taken over, a sentence each.
    pub warnings: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = if self.relion_version.is_empty() { "of RELION" } else { "of RELION " };
        let classes = if self.classes == 1 { "class" } else { "classes" };
        writeln!(
            f,
            "took over iteration {} of a {} {version}{}: {} particles, {} {classes}, {:.2} A",
            self.iteration, self.kind, self.relion_version, self.particles, self.classes, self.resolution_angstrom
        )?;
        for warning in &self.warnings {
            writeln!(f, "not taken over: {warning}")?;
        }
        write!(f, "`relion-rs resume {}` goes on to iteration {}", self.run_folder.display(), self.iterations)?;
        if self.kind == JobKind::Refine3d { f.write_str(" at most") } else { Ok(()) }
    }
}

/// Writes the checkpoint of a folder that holds [`DRAFT_PLAN`], and then makes that its plan.
///
/// # Errors
/// Those of reading the job's files, its particles and maps; the folder has no plan then.
pub fn take_over(run_dir: &RunDir, optimiser_file: &Path) -> Result<Report> {
    let draft = run_dir.root().join(DRAFT_PLAN);
    let plan = Plan::read(&draft)?;
    // Image names that are not beside the particle table start there.
    std::env::set_current_dir(&plan.working_directory)
        .map_err(|cause| Error::reading(&plan.working_directory, &cause))?;
    let run = Run::read(optimiser_file, Some(&plan.working_directory))?;
    let inputs = Inputs::load(&plan)?;
    same_box(&run, &inputs)?;
    let (state, lacks) = state(&run, &plan, &inputs.dataset, &inputs.group)?;
    let warnings = [run.not_taken()?, lacks].concat();
    let path = checkpoint::save(run_dir.root(), &state, &inputs.origin)?;
    std::fs::rename(&draft, run_dir.plan()).map_err(|cause| Error::writing(&run_dir.plan(), &cause))?;
    let mut progress = ProgressWriter::open(&run_dir.progress())?;
    for text in &warnings {
        progress.write(Event::Warning { text: text.clone() })?;
    }
    Ok(Report {
        run_folder: run_dir.root().to_path_buf(),
        kind: plan.kind,
        iteration: run.iteration,
        iterations: plan.iterations,
        particles: inputs.dataset.particles.len(),
        classes: plan.classes,
        resolution_angstrom: 1.0 / state.sizes.current_resolution_per_angstrom,
        relion_version: run.version.clone(),
        checkpoint: path,
        warnings,
    })
}

/// The references that a run starts from decide its box; here they must agree with the model file.
fn same_box(run: &Run, inputs: &Inputs) -> Result<()> {
    let (n, pixel) = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    if n == run.box_pixels && (pixel / run.pixel_size_angstrom - 1.0).abs() <= SAME_PIXEL {
        return Ok(());
    }
    Err(Error::bad_data(
        run.optimiser_file.display().to_string(),
        format!(
            "the model has {} voxels of {} A, the particles ask for {n} of {pixel} A",
            run.box_pixels, run.pixel_size_angstrom
        ),
        "Start the job here: `relion-rs run` with the same particles and reference.",
    ))
}
