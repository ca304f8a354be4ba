//! The verbs, and the way from arguments to an exit code.

use std::process::ExitCode as Code;

use clap::FromArgMatches;
use clap::Parser;
use clap::Subcommand;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::bench;
use super::cancel;
use super::check;
use super::checkpoint;
use super::compare;
use super::completions;
use super::config;
use super::doctor;
use super::drill;
use super::external;
use super::import;
use super::in_job;
use super::logs;
use super::man;
use super::mask;
use super::module;
use super::new;
use super::parent::tie_to;
use super::plan;
use super::postprocess;
use super::relion;
use super::report;
use super::resume;
use super::run;
use super::screen::Screen;
use super::simulate;
use super::stage;
use super::status;
use super::stop;
use super::submit;
use super::words::command;

/// Refine cryo-EM single-particle maps by RELION's method.
#[derive(Parser, Debug)]
#[command(name = "relion-rs", version, about, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Write results and errors as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// End when the process of this number ends, which started this one
    #[arg(long, hide = true, value_name = "PID")]
    pub die_with_parent: Option<u32>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Write a commented job file with every key
    New(new::Arguments),
    /// Read all inputs of a job and report what is wrong with them
    Check(Box<check::Arguments>),
    /// Say how much memory and time a job will take
    Plan(Box<plan::Arguments>),
    /// Run a job: refine3d, class3d, a job file or a run folder
    Run(Box<run::Arguments>),
    /// Hand a job to Slurm: refine3d, class3d, a job file or a run folder
    Submit(Box<submit::Arguments>),
    /// Go on with a run from its latest checkpoint: here, or on the cluster if it was submitted
    Resume(Box<resume::Arguments>),
    /// Take over a job of RELION: a run folder that goes on after one of its iterations
    Import(import::Arguments),
    /// Show how far a run is
    Status(status::Arguments),
    /// Copy the stacks of a run to a fast folder, as `submit --stage` does in a job of its own
    Stage(stage::Arguments),
    /// Cancel the jobs of a run
    Cancel(cancel::Arguments),
    /// Print the log of a run's job, or of one of its ranks
    Logs(logs::Arguments),
    /// What a batch script asks before and after its ranks
    #[command(subcommand, hide = true)]
    Job(in_job::Verb),
    /// Look into the checkpoints of a run
    #[command(subcommand)]
    Checkpoint(checkpoint::Verb),
    /// Make a solvent mask from a map
    Mask(mask::Arguments),
    /// FSC and sharpened map of two half maps
    Postprocess(Box<postprocess::Arguments>),
    /// Write a page of figures about a run
    Report(report::Arguments),
    /// Make particles with a known truth from a map
    Simulate(Box<simulate::Arguments>),
    /// Interrupt a small run on purpose, and see that it ends with the same files
    Drill(Box<drill::Arguments>),
    /// Print the Fourier shell correlation of two maps
    Compare(compare::Arguments),
    /// Measure the program: memory of a run, speed of CPUs and GPUs
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Look at the settings
    #[command(subcommand)]
    Config(config::Verb),
    /// Look at this machine and its cluster: what is there, what is missing, and what to do about it
    Doctor(doctor::Arguments),
    /// Install versions side by side, with module files
    #[command(subcommand)]
    Module(module::Verb),
    /// Run as an External job of RELION's GUI
    External(external::Arguments),
    /// Print a batch script that RELION's GUI fills in (RELION_QSUB_TEMPLATE)
    RelionTemplate,
    /// Print a completion script for a shell
    Completions(completions::Arguments),
    /// Write the man pages into a folder
    #[command(hide = true)]
    Man(man::Arguments),
}

/// A file beyond the limit of this process (`ulimit -f`) shall be an error of writing with the file's name, as a full
/// disk is, and not the end by a signal.
///
/// # Errors
/// `Internal` when the system refuses.
pub fn tell_file_limits() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().map_err(|cause| Error::internal(format!("signals: {cause}")))
}

/// Parses the arguments of this process, does what they say, and says how it went.
pub fn main() -> Code {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let screen = Screen::new(json);
    let outcome = match words() {
        Ok(cli) => tell_file_limits().and_then(|()| tied(cli, &screen)),
        Err(cause) => said_by_clap(&cause, &screen),
    };
    match outcome {
        Ok(code) => Code::from(code as u8),
        Err(error) => {
            screen.error(&error);
            Code::from(error.code as u8)
        }
    }
}

fn words() -> std::result::Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches()?)
}

/// As `drill` starts it: with the signals that it holds back itself let through, and never alone.
fn tied(cli: Cli, screen: &Screen) -> Result<ExitCode> {
    if let Some(parent) = cli.die_with_parent {
        stop::let_through()?;
        if !tie_to(parent)? {
            return Ok(ExitCode::Checkpointed);
        }
    }
    act(cli.verb, screen)
}

fn act(verb: Verb, screen: &Screen) -> Result<ExitCode> {
    match verb {
        Verb::New(arguments) => new::run(&arguments, screen),
        Verb::Check(arguments) => check::run(*arguments, screen),
        Verb::Plan(arguments) => plan::run(*arguments, screen),
        Verb::Run(arguments) => run::run(*arguments, screen),
        Verb::Submit(arguments) => submit::run(*arguments, screen),
        Verb::Resume(arguments) => resume::run(*arguments, screen),
        Verb::Import(arguments) => import::run(&arguments, screen),
        Verb::Stage(arguments) => stage::run(&arguments, screen),
        Verb::Status(arguments) => status::run(&arguments, screen),
        Verb::Cancel(arguments) => cancel::run(&arguments, screen),
        Verb::Logs(arguments) => logs::run(&arguments, screen),
        Verb::Job(verb) => in_job::run(&verb, screen),
        Verb::Checkpoint(verb) => checkpoint::run(&verb, screen),
        Verb::Mask(arguments) => mask::run(&arguments, screen),
        Verb::Postprocess(arguments) => postprocess::run(&arguments, screen),
        Verb::Report(arguments) => report::run(&arguments, screen),
        Verb::Simulate(arguments) => simulate::run(&arguments, screen),
        Verb::Drill(arguments) => drill::run(&arguments, screen),
        Verb::Compare(arguments) => compare::run(&arguments, screen),
        Verb::Bench(verb) => bench::run(&verb, screen),
        Verb::Config(verb) => config::run(verb, screen),
        Verb::Doctor(arguments) => doctor::run(&arguments, screen),
        Verb::Module(verb) => module::run(&verb, screen),
        Verb::External(arguments) => external::run(&arguments, screen),
        Verb::RelionTemplate => relion::run(screen),
        Verb::Completions(arguments) => completions::run(&arguments, screen),
        Verb::Man(arguments) => man::run(&arguments, screen),
    }
}

/// Help and version are no errors; the rest is one of usage.
fn said_by_clap(cause: &clap::Error, screen: &Screen) -> Result<ExitCode> {
    if !cause.use_stderr() {
        // A closed pipe behind `--help` is nobody's loss.
        let _ = cause.print();
        return Ok(ExitCode::Done);
    }
    if screen.is_json() {
        let text = cause.render().to_string();
        let problem = text.trim_start_matches("error: ").trim_end().to_string();
        return Err(Error::usage(problem, "`relion-rs help` lists the verbs and flags."));
    }
    let _ = cause.print();
    Ok(ExitCode::Usage)
}
