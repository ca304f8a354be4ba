//! `job`: what a batch script asks before and after its ranks. Hidden: people have `status`, `cancel` and `logs`.

mod act;
mod begin;
mod deaths;
mod decide;
mod end;
mod history;
mod place;
mod record;

use std::path::PathBuf;

use crate::error::ExitCode;
use crate::error::Result;

use super::screen::Screen;

pub use place::submitted;

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Before the ranks: print the lines of shell that the script evaluates
    Begin(BeginArguments),
    /// After the ranks: decide what becomes of the job
    End(EndArguments),
}

#[derive(clap::Args, Debug)]
pub struct BeginArguments {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run_dir: PathBuf,
    /// Time limit of the job, for a Slurm that does not tell it
    #[arg(long, value_name = "MINUTES", env = "RELION_RS_TIME_LIMIT")]
    pub time_limit: Option<u32>,
}

#[derive(clap::Args, Debug)]
pub struct EndArguments {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run_dir: PathBuf,
    /// Code with which the ranks ended
    #[arg(long, value_name = "CODE")]
    pub code: u8,
    /// Never ask Slurm to queue the job again
    #[arg(long)]
    pub no_requeue: bool,
    /// Most restarts of the run
    #[arg(long, value_name = "N", default_value_t = 50, env = "RELION_RS_MAX_RESTARTS")]
    pub max_restarts: u32,
    /// Time before the limit at which Slurm sends SIGUSR2
    #[arg(long, value_name = "SECONDS", default_value_t = 120, env = "RELION_RS_SIGNAL_MARGIN_SECONDS")]
    pub margin: u32,
    /// Do not leave out a node on which a rank was lost
    #[arg(long)]
    pub no_exclude: bool,
    /// How long to stay alive after a SIGTERM that Slurm does not explain
    #[arg(long, value_name = "SECONDS", default_value_t = 900.0)]
    pub patience: f64,
}

pub fn run(verb: &Verb, screen: &Screen) -> Result<ExitCode> {
    match verb {
        Verb::Begin(arguments) => begin::run(arguments, screen),
        Verb::End(arguments) => end::run(arguments, screen),
    }
}
