//! One rank of the engine: `relion-rs-rank RUN_DIR`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Parser;
use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use relion_rs::error::Error;
use relion_rs::error::ExitCode;
use relion_rs::error::Result;
use relion_rs::plan::InstructionSet;
use relion_rs::plan::Plan;
use relion_rs::plan::RunDir;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::ProgressWriter;
use relion_rs::plan::progress::unix_seconds;

/// The engine of relion-rs. `relion-rs run` starts it; started by hand it works in an existing run folder.
#[derive(Parser)]
#[command(name = "relion-rs-rank", version)]
struct Arguments {
    /// Run folder
    #[arg(required_unless_present = "probe")]
    run_dir: Option<PathBuf>,
    /// Print what this machine offers, as JSON
    #[arg(long)]
    probe: bool,
    /// Errors as JSON
    #[arg(long)]
    json: bool,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

fn main() -> std::process::ExitCode {
    // The launcher holds signals back while it starts this program; they are wanted from here on.
    let outcome = SigSet::all().thread_unblock().map_err(|cause| Error::internal(format!("signals: {cause}")));
    let outcome = outcome.and_then(|()| relion_rs::cli::tell_file_limits());
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(cause) => {
            // When even standard error is closed there is nobody to tell.
            let _ = cause.print();
            return (if cause.use_stderr() { ExitCode::Usage as u8 } else { 0 }).into();
        }
    };
    let json = arguments.json;
    let code = outcome.and_then(|()| act(arguments)).unwrap_or_else(|error| {
        let text = if json { relion_rs::cli::error_json(&error) } else { format!("error: {error}") };
        let _ = writeln!(std::io::stderr(), "{text}");
        error.code
    });
    (code as u8).into()
}

fn act(arguments: Arguments) -> Result<ExitCode> {
    if arguments.die_with_parent {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|cause| Error::internal(format!("prctl: {cause}")))?;
    }
    match arguments.run_dir {
        Some(root) if !arguments.probe => work(&RunDir::new(root)),
        _ => probe(),
    }
}

/// Does the work of a run folder, and leaves a word about it in the log and in the progress file.
fn work(run_dir: &RunDir) -> Result<ExitCode> {
    let plan = Plan::read(&run_dir.plan())?;
    run_dir.create()?;
    let _lock = run_dir.lock()?;
    log(run_dir, &format!("relion-rs-rank {} starts, process {}", env!("CARGO_PKG_VERSION"), std::process::id()))?;
    let outcome = relion_rs::refine::run(run_dir, &plan);
    match &outcome {
        Ok(code) => log(run_dir, &format!("ends with code {} ({code:?})", *code as u8))?,
        Err(error) => {
            // A full disk may refuse this too; the error itself matters more.
            let _ = log(run_dir, &format!("ends with code {}: {error}", error.code as u8));
            let failed = Event::Failed { code: error.code as u8, message: error.to_string() };
            let _ = ProgressWriter::open(&run_dir.progress()).and_then(|mut writer| writer.write(failed));
        }
    }
    outcome
}

fn log(run_dir: &RunDir, text: &str) -> Result<()> {
    let path = run_dir.log(0);
    let failed = |cause: std::io::Error| Error::writing(&path, &cause);
    let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
    file.write_all(format!("{:.3} {text}\n", unix_seconds()).as_bytes()).map_err(failed)
}

fn probe() -> Result<ExitCode> {
    let (major, minor, release) = hdf5::library_version();
    let seen = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "hdf5": format!("{major}.{minor}.{release}"),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "instruction_set": InstructionSet::Auto.on_this_machine()?.name(),
        "backends": ["cpu"],
    });
    // A closed pipe is the reader's choice.
    match writeln!(std::io::stdout(), "{seen}") {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::writing(Path::new("standard output"), &cause))
        }
        _ => Ok(ExitCode::Done),
    }
}
