//! `resume`: starts the engine in an existing run folder, here or on the cluster; the engine finds the checkpoint.

use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::Plan;
use crate::plan::RunDir;

use super::branch;
use super::screen::Screen;
use super::start;
use super::submit;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Go on although inputs have changed since the run began, and from before what a newer program did
    #[arg(long)]
    pub force: bool,
    /// Refuse another program version, precision, instruction set, backend or kind of GPU: the result is to be the same to the last bit
    #[arg(long)]
    pub exact: bool,
    /// Branch off after this iteration, in a run folder of its own; what came later stays
    #[arg(long, value_name = "N")]
    pub from_iteration: Option<u32>,
    /// Run folder of the branch (default: DIR-from-NNN)
    #[arg(long, value_name = "DIR", requires = "from_iteration")]
    pub out: Option<PathBuf>,
    /// On this machine, although the run was submitted to a cluster
    #[arg(long)]
    pub here: bool,
    /// Show the script of a run that was submitted, and submit nothing
    #[arg(long, conflicts_with_all = ["here", "from_iteration"])]
    pub dry_run: bool,
    #[command(flatten)]
    pub cluster: Cluster,
    /// Further arguments of sbatch, word for word
    #[arg(last = true, value_name = "SBATCH ARGUMENTS")]
    pub sbatch: Vec<String>,
}

/// Whether anything but the number of ranks is asked for, which has a meaning here too.
fn asks_for_cluster(cluster: &Cluster) -> bool {
    Cluster { ranks: None, ..cluster.clone() } != Cluster::default()
}

pub fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode> {
    let named = RunDir::new(&arguments.run_dir);
    let mut run_dir = named.clone();
    let mut plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    let is_of_cluster = arguments.dry_run || !arguments.sbatch.is_empty() || asks_for_cluster(&arguments.cluster);
    let goes_to_cluster = !arguments.here && submit::was_submitted(&named);
    if is_of_cluster && !goes_to_cluster {
        return Err(Error::new(
            ExitCode::Usage,
            named.root().display().to_string(),
            "goes on on this machine, so that flags of the cluster have no meaning",
            "A run that was submitted goes on there, from a machine with sbatch and without --here; `relion-rs submit \
             DIR` submits one that was not.",
        ));
    }
    if let Some(iteration) = arguments.from_iteration {
        (run_dir, plan) = branch::off(&run_dir, plan, iteration, arguments.out.as_deref())?;
    }
    let flags = [(arguments.force, "--force"), (arguments.exact, "--exact")];
    let flags: Vec<&str> = flags.into_iter().filter_map(|(given, flag)| given.then_some(flag)).collect();
    if goes_to_cluster {
        let asked = submit::Asked {
            cluster: &arguments.cluster,
            sbatch: &arguments.sbatch,
            flags: &flags,
            dry_run: arguments.dry_run,
        };
        return submit::again(&run_dir, &named, &plan, &asked, screen);
    }
    let ranks = arguments.cluster.ranks.unwrap_or(1).max(1);
    start::engine(&run_dir, &plan, &flags, ranks, screen)
}

/// A missing plan means: no run folder.
pub fn not_a_run(mut error: crate::error::Error) -> crate::error::Error {
    if error.code == ExitCode::NoInput {
        error.fix = "Name a run folder: the --out of an earlier `relion-rs run`.".to_string();
    }
    error
}
