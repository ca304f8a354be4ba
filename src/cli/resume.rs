//! `resume`: starts the engine in an existing run folder; the engine finds the checkpoint.

use std::path::PathBuf;

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::branch;
use super::screen::Screen;
use super::start;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Go on although inputs have changed since the run began, and from before what a newer program did
    #[arg(long)]
    pub force: bool,
    /// Refuse another program version, precision or instruction set: the result is to be the same to the last bit
    #[arg(long)]
    pub exact: bool,
    /// Branch off after this iteration, in a run folder of its own; what came later stays
    #[arg(long, value_name = "N")]
    pub from_iteration: Option<u32>,
    /// Run folder of the branch (default: DIR-from-NNN)
    #[arg(long, value_name = "DIR", requires = "from_iteration")]
    pub out: Option<PathBuf>,
    /// Ranks on this machine, started by mpirun; they share its cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub ranks: u32,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let mut run_dir = RunDir::new(&arguments.run_dir);
    let mut plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    if let Some(iteration) = arguments.from_iteration {
        (run_dir, plan) = branch::off(&run_dir, plan, iteration, arguments.out.as_deref())?;
    }
    let flags = [(arguments.force, "--force"), (arguments.exact, "--exact")];
    let flags: Vec<&str> = flags.into_iter().filter_map(|(given, flag)| given.then_some(flag)).collect();
    start::engine(&run_dir, &plan, &flags, arguments.ranks, screen)
}

/// A missing plan means: no run folder.
pub fn not_a_run(mut error: crate::error::Error) -> crate::error::Error {
    if error.code == ExitCode::NoInput {
        error.fix = "Name a run folder: the --out of an earlier `relion-rs run`.".to_string();
    }
    error
}
