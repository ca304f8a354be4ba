//! One rank of the engine, `relion-rs-rank RUN_DIR`, and the verbs that need HDF5.

use std::io::IsTerminal;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;
use nix::sys::signal::SigSet;
use relion_rs::bench;
use relion_rs::checkpoint;
use relion_rs::cli::CheckpointVerb;
use relion_rs::cli::Export;
use relion_rs::cli::narrate;
use relion_rs::comm::Team;
use relion_rs::device;
use relion_rs::error::Error;
use relion_rs::error::ExitCode;
use relion_rs::error::Result;
use relion_rs::import;
use relion_rs::plan::GsdSettings;
use relion_rs::plan::InstructionSet;
use relion_rs::plan::Plan;
use relion_rs::plan::RunDir;
use relion_rs::refine;
use relion_rs::refine::Resume;
use relion_rs::refine::export::export;

/// The engine of relion-rs. `relion-rs run` starts it; started by hand it works in an existing run folder.
#[derive(Parser)]
#[command(name = "relion-rs-rank", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Run folder
    #[arg(required_unless_present = "probe")]
    run_dir: Option<PathBuf>,
    /// Go on although inputs have changed, and from before what a newer program did
    #[arg(long)]
    force: bool,
    /// Refuse to go on with another version, precision, instruction set, backend or kind of GPU
    #[arg(long)]
    exact: bool,
    /// Show no progress: whoever started this does
    #[arg(long, hide = true)]
    silent: bool,
    /// Print what this machine offers, as JSON
    #[arg(long)]
    probe: bool,
    /// Results and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    /// As one of several ranks: end when the process of this number ends, which had them started
    #[arg(long, hide = true, value_name = "PID")]
    watched_by: Option<u32>,
    /// End when the process of this number ends, which started this one
    #[arg(long, global = true, hide = true, value_name = "PID")]
    die_with_parent: Option<u32>,
}

/// What the launcher has done here, because it opens no HDF5 file itself.
#[derive(Subcommand)]
enum Verb {
    /// Look into the checkpoints of a run
    #[command(subcommand)]
    Checkpoint(CheckpointVerb),
    /// Write the checkpoint of a RELION job's iteration into a folder that `relion-rs import` prepared
    Import {
        /// Folder that becomes the run folder, absolute
        run_dir: PathBuf,
        /// RELION's run_itNNN_optimiser.star, absolute
        optimiser: PathBuf,
    },
    /// Measure a part of the engine, for `relion-rs bench`
    #[command(subcommand)]
    Bench(BenchVerb),
    /// The kernels for GPUs
    #[command(subcommand)]
    Kernels(KernelsVerb),
}

#[derive(Subcommand)]
enum KernelsVerb {
    /// Compile the kernels ahead, in both precisions; needs NVRTC (a CUDA module, or RELION_RS_NVRTC) and no GPU
    Build {
        /// Folder for the files; PREFIX/lib/relion-rs/kernels beside PREFIX/bin is where the engine looks
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// GPUs, such as sm_80,sm_90a
        #[arg(long, value_delimiter = ',', value_name = "LIST", default_values_t = device::Arch::ahead())]
        arch: Vec<device::Arch>,
    },
}

#[derive(Subcommand)]
enum BenchVerb {
    /// Forms of the coarse pass's squared differences; writes what `relion-rs bench gsd` shows, as JSON
    Gsd {
        /// Run folder whose particles and reference are taken
        run_dir: PathBuf,
        #[command(flatten)]
        settings: GsdSettings,
    },
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
    if let Some(parent) = arguments.die_with_parent
        && !relion_rs::cli::tie_to(parent)?
    {
        // It died before this process could be tied to it.
        return Ok(ExitCode::Checkpointed);
    }
    let resume = Resume { force: arguments.force, exact: arguments.exact };
    match (arguments.verb, arguments.run_dir) {
        (Some(Verb::Kernels(KernelsVerb::Build { to, arch })), _) => {
            build_kernels(&to, &arch, arguments.json).map(|()| ExitCode::Done)
        }
        (Some(Verb::Checkpoint(verb)), _) => look(verb, arguments.json),
        (Some(Verb::Import { run_dir, optimiser }), _) => take_over(&RunDir::new(run_dir), &optimiser, arguments.json),
        (Some(Verb::Bench(BenchVerb::Gsd { run_dir, settings })), _) => measure_gsd(&run_dir, &settings),
        (None, Some(root)) if !arguments.probe => {
            let is_watched = arguments.silent || arguments.die_with_parent.is_some();
            let show = (!is_watched).then_some(arguments.json);
            let manner = Manner { show, watched_by: arguments.watched_by };
            work(&RunDir::new(root), resume, &manner)
        }
        _ => probe(),
    }
}

/// How this process works.
struct Manner {
    /// Progress goes to standard output, as JSON or not.
    show: Option<bool>,
    /// The process that had this rank started.
    watched_by: Option<u32>,
}

/// Does the work of a run folder, alone or as one of several ranks, and leaves a word about it in the log and in the
/// progress file.
fn work(run_dir: &RunDir, resume: Resume, manner: &Manner) -> Result<ExitCode> {
    let plan = Plan::read(&run_dir.plan())?;
    run_dir.create()?;
    // Before MPI starts threads of its own.
    refine::hold_signals()?;
    let (_session, team) = Team::join()?;
    if let Some(launcher) = manner.watched_by.filter(|_| team.rank() == 0) {
        relion_rs::cli::watch(launcher)?;
    }
    let lock = (team.rank() == 0).then(|| run_dir.lock()).transpose();
    let outcome = lock.and_then(|_lock| {
        let process = std::process::id();
        let place = if team.is_alone() { String::new() } else { format!(", rank {} of {}", team.rank(), team.size()) };
        let version = env!("CARGO_PKG_VERSION");
        run_dir.tell_log(team.rank(), &format!("relion-rs-rank {version} starts, process {process}{place}"))?;
        let show = manner.show.filter(|_| team.rank() == 0);
        let narrator = show.map(|json| narrate(run_dir, json)).transpose()?;
        let outcome = refine::run(run_dir, &plan, resume, &team);
        drop(narrator);
        outcome
    });
    match &outcome {
        Ok(code) => run_dir.tell_log(team.rank(), &format!("ends with code {} ({code:?})", *code as u8))?,
        Err(error) => refine::last_words(run_dir, error, &team),
    }
    outcome
}

fn probe() -> Result<ExitCode> {
    let (major, minor, release) = hdf5::library_version();
    let (devices, no_device) = match device::seen() {
        Ok(devices) if devices.is_empty() => (Vec::new(), Some(device::Absent::Device.error())),
        Ok(devices) => (devices, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let no_device = no_device.map(|error| serde_json::json!({ "problem": error.problem, "fix": error.fix }));
    let seen = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "hdf5": format!("{major}.{minor}.{release}"),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "instruction_set": InstructionSet::Auto.on_this_machine()?.name(),
        "mpi": Team::library(),
        "backends": if device::can_compute() { &["cpu", "cuda"][..] } else { &["cpu"] },
        "devices": devices,
        "no_device": no_device,
        "libraries": device::needed_libraries(),
        "kernels": device::Source::digest(),
    });
    print(&seen.to_string())?;
    Ok(ExitCode::Done)
}

/// Compiles kernels ahead, with a line a file.
fn build_kernels(to: &Path, archs: &[device::Arch], json: bool) -> Result<()> {
    if !json {
        print(&format!("{:8} {:9} {:>9} {:>8}  compiler", "GPU", "precision", "bytes", "seconds"))?;
    }
    device::build(to, archs, |built| {
        let (arch, precision) = (built.arch.name(), built.precision.name());
        if json {
            return print(
                &serde_json::json!({
                    "arch": arch, "precision": precision, "bytes": built.bytes, "seconds": built.seconds,
                    "compiler": built.compiler, "file": built.file,
                })
                .to_string(),
            );
        }
        print(&format!("{arch:8} {precision:9} {:9} {:8.1}  {}", built.bytes, built.seconds, built.compiler))
    })
}

fn look(verb: CheckpointVerb, json: bool) -> Result<ExitCode> {
    match verb {
        CheckpointVerb::Show(place) => {
            let overview = checkpoint::show(&place.path)?;
            overview.warnings.iter().for_each(|warning| warn(warning, json));
            let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            print(&if json { to_json(&overview)? } else { overview.text(colour) })?;
        }
        CheckpointVerb::Verify(place) => {
            let verdicts = checkpoint::verify(&place.path)?;
            if json {
                print(&to_json(&verdicts)?)?;
            } else {
                verdicts.iter().try_for_each(|verdict| print(&verdict.to_string()))?;
            }
            if !verdicts.iter().all(checkpoint::Verdict::is_whole) {
                return Ok(ExitCode::BadData);
            }
        }
        CheckpointVerb::Export(Export { run_dir, iteration, out, force }) => {
            let exported = export(&RunDir::new(run_dir), iteration, &out, force)?;
            exported.warnings.iter().for_each(|warning| warn(warning, json));
            let text =
                format!("{} files; RELION continues from {}", exported.files.len(), exported.optimiser.display());
            let value = serde_json::json!({ "optimiser": exported.optimiser, "files": exported.files });
            print(&if json { value.to_string() } else { text })?;
        }
    }
    Ok(ExitCode::Done)
}

/// On standard error. When even that is closed there is nobody to tell.
fn warn(text: &str, json: bool) {
    let line = if json { serde_json::json!({ "warning": text }).to_string() } else { format!("warning: {text}") };
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn take_over(run_dir: &RunDir, optimiser: &Path, json: bool) -> Result<ExitCode> {
    let _lock = run_dir.lock()?;
    let report = import::take_over(run_dir, optimiser)?;
    print(&if json { to_json(&report)? } else { report.to_string() })?;
    Ok(ExitCode::Done)
}

fn measure_gsd(run_dir: &Path, settings: &GsdSettings) -> Result<ExitCode> {
    let plan = Plan::read(&RunDir::new(run_dir).plan())?;
    let mut tell = |text: &str| {
        // When standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{text}");
    };
    print(&to_json(&bench::gsd::run(&plan, settings, &mut tell)?)?)?;
    Ok(ExitCode::Done)
}

fn to_json(result: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(result).map_err(|cause| Error::internal(format!("result: {cause}")))
}

/// A line of a result. A closed pipe is the reader's choice.
fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::writing(Path::new("standard output"), &cause))
        }
        _ => Ok(()),
    }
}
