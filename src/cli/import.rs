//! `import`: makes a run folder of a RELION job. The settings are made here; the engine writes the checkpoint.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::atomic::write_text;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::import::DRAFT_PLAN;
use crate::import::Run;
use crate::plan::InstructionSet;
use crate::plan::JobFile;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::plan::RunDir;
use crate::plan::Sources;
use crate::plan::resolve;

use super::engine;
use super::screen::Screen;

/// The table of the classes' maps in the run folder.
const REFERENCES: &str = "references.star";

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// RELION's run_itNNN_optimiser.star of the iteration to go on after
    #[arg(value_name = "OPTIMISER")]
    pub optimiser: PathBuf,
    /// Run folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folder in which RELION was started (default: found above the optimiser file)
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// Last iteration instead of RELION's (refine3d: the most that are done without convergence)
    #[arg(long, value_name = "N")]
    pub iterations: Option<u32>,
    /// Reconstruct with iterative gridding (default: as that version of RELION)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub gridding: Option<bool>,
    /// Threads; 0: one a core that this process may use
    #[arg(long, value_name = "N")]
    pub threads: Option<u32>,
    /// Most memory that the run may take, as 4GiB; auto: what the plan needs
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Precision of the expectation step
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Vector instructions; part of what decides the bits of a result
    #[arg(long, value_enum)]
    pub isa: Option<InstructionSet>,
    /// Reproduce RELION's shortcuts number by number (for tests)
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub parity: Option<bool>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let run = Run::read(&arguments.optimiser, arguments.project.as_deref())?;
    let references = run.references()?;
    let root = std::path::absolute(&arguments.out).map_err(|cause| Error::reading(&arguments.out, &cause))?;
    let run_dir = RunDir::new(&root);
    refuse_used(&run_dir)?;
    let mut folder = Draft { run_dir: &run_dir, is_whole: false };
    run_dir.create()?;
    // A name that starts at the project folder, as all others, if it can.
    let out = root.strip_prefix(&run.project).unwrap_or(&root);
    let reference = match &references[..] {
        [only] => only.clone(),
        all => {
            write_references(&root.join(REFERENCES), all)?;
            out.join(REFERENCES)
        }
    };
    let job = run.job(reference)?;
    let flags = JobFile {
        out: Some(if out.as_os_str().is_empty() { root.clone() } else { out.to_path_buf() }),
        iterations: arguments.iterations.or(job.iterations),
        gridding: arguments.gridding.or(job.gridding),
        threads: arguments.threads,
        memory: arguments.memory.clone(),
        precision: arguments.precision,
        isa: arguments.isa,
        parity: arguments.parity,
        ..job
    };
    let layers = Layers::load(&Sources::of_process(None, flags)?)?;
    let plan = resolve(&layers, references.len(), &run.project)?.plan;
    refuse_the_end(&run, &plan)?;
    write_text(&root.join(DRAFT_PLAN), &plan.to_json()?)?;
    let paths = [OsStr::new("--"), root.as_os_str(), run.optimiser_file.as_os_str()];
    let code = engine::verb(&["import"], &paths, screen)?;
    if code == ExitCode::Done {
        folder.is_whole = true;
        let header = "# What `relion-rs import` took from a job of RELION. plan.json holds all values.\n";
        write_text(&run_dir.job(), &format!("{header}{}", layers.asked()?.to_toml()?))?;
    }
    Ok(code)
}

/// A folder that did not become a run folder goes away, as far as it is ours.
struct Draft<'a> {
    run_dir: &'a RunDir,
    is_whole: bool,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        // The error that is being told matters more; what cannot be removed is no run folder.
        let root = self.run_dir.root();
        for file in [root.join(DRAFT_PLAN), root.join(REFERENCES), root.join("log/lock")] {
            let _ = fs::remove_file(file);
        }
        for folder in [self.run_dir.checkpoint(), root.join("log"), root.to_path_buf()] {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn refuse_used(run_dir: &RunDir) -> Result<()> {
    let is_empty = |folder: &Path| fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if !run_dir.plan().exists() && !run_dir.job().exists() && is_empty(&run_dir.checkpoint()) {
        return Ok(());
    }
    Err(Error::new(
        ExitCode::Usage,
        run_dir.root().display().to_string(),
        "holds a run already",
        "Name a new folder for --out, or go on with that run (`relion-rs resume`).",
    ))
}

fn refuse_the_end(run: &Run, plan: &Plan) -> Result<()> {
    if plan.iterations > run.iteration {
        return Ok(());
    }
    Err(Error::usage(
        format!("iteration {} is the last one of {}: there is nothing to go on with", run.iteration, plan.iterations),
        format!("Ask for more, as --iterations {}, or import an earlier iteration.", run.iteration + 5),
    ))
}

fn write_references(path: &Path, maps: &[PathBuf]) -> Result<()> {
    let mut table = Block::table("references");
    let names: Vec<String> = maps.iter().map(|map| map.display().to_string()).collect();
    table.set_str("rlnReferenceImage", &names);
    StarFile::new(vec![table]).write(path)
}
