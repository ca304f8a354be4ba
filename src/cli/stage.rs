//! `stage`: copies of a run's stacks in a fast folder. `submit --stage` runs it in a job of its own.

use std::path::Path;
use std::path::PathBuf;

use crate::dataset::Images;
use crate::dataset::ReadOptions;
use crate::dataset::staged;
use crate::dataset::staged::Staged;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::format_bytes;

use super::maps::read_particles;
use super::resume::not_a_run;
use super::screen::Screen;
use super::screen::counted;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Folder of the copies; the engine reads them where RELION_RS_STAGE names it
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|cause| Error::reading(path, &cause));
    let plan = Plan::read(&RunDir::new(&arguments.run_dir).plan()).map_err(not_a_run)?;
    let folder = absolute(&arguments.to)?;
    // Names of stacks may start there, for the engine as for us.
    std::env::set_current_dir(&plan.working_directory)
        .map_err(|cause| Error::reading(&plan.working_directory, &cause))?;
    let (mut copied, mut there) = ((0, 0), (0, 0));
    for stack in stacks(&plan)? {
        let (count, bytes) = match staged::copy(&folder, &stack)? {
            Staged::Copied { bytes } => (&mut copied, bytes),
            Staged::WasThere { bytes } => (&mut there, bytes),
        };
        count.0 += 1;
        count.1 += bytes;
    }
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "folder": folder,
            "copied": copied.0,
            "copied_bytes": copied.1,
            "were_there": there.0,
            "were_there_bytes": there.1,
        }))?;
    } else {
        screen.print(&format!(
            "{} copied to {} ({}), {} were there",
            counted(copied.0, "stack"),
            folder.display(),
            format_bytes(copied.1),
            there.0
        ))?;
    }
    Ok(ExitCode::Done)
}

/// The stacks that a run reads. Relative names start at the STAR file's folder, or at the folder of this process.
pub fn stacks(plan: &Plan) -> Result<Vec<PathBuf>> {
    let options = ReadOptions { ctf: plan.ctf, images: Images::Check };
    Ok(read_particles(&plan.file(&plan.particles), &options)?.stack_files)
}
