//! `status`: how far a run is, from its `progress.jsonl` and from Slurm.

mod cluster;
mod gather;
mod outlook;
mod text;
mod watch;

use std::path::PathBuf;

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress;

use super::resume::not_a_run;
use super::screen::Screen;

pub use cluster::Cluster;
pub use gather::Summary;
pub use gather::is_at_work;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Look again every few seconds, until the run ends
    #[arg(long)]
    pub watch: bool,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let run_dir = RunDir::new(&arguments.run_dir);
    let plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    if arguments.watch {
        return watch::watch(&run_dir, &plan, screen);
    }
    let summary = look(&run_dir, &plan, Cluster::look(&run_dir)?)?;
    if screen.is_json() {
        screen.print_json(&summary)?;
    } else {
        screen.print(&text::text(&summary))?;
    }
    Ok(ExitCode::Done)
}

/// Everything there is to say at this moment.
pub fn look(run_dir: &RunDir, plan: &Plan, cluster: Option<Cluster>) -> Result<Summary> {
    let records = progress::read_or_none(&run_dir.progress())?;
    let mut summary = gather::summarise(plan, &records, is_at_work);
    summary.add_cluster(cluster);
    Ok(summary)
}
