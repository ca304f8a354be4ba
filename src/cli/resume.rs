//! `resume`: starts the engine in an existing run folder; the engine finds the checkpoint.

use std::path::PathBuf;

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::screen::Screen;
use super::start;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let run_dir = RunDir::new(&arguments.run_dir);
    let plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    start::engine(&run_dir, &plan, screen)
}

/// A missing plan means: no run folder.
pub fn not_a_run(mut error: crate::error::Error) -> crate::error::Error {
    if error.code == ExitCode::NoInput {
        error.fix = "Name a run folder: the --out of an earlier `relion-rs run`.".to_string();
    }
    error
}
