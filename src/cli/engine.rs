//! The engine's program beside this one, and its verbs: what needs HDF5 is done there and said there.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::site;

use super::parent;
use super::screen::Screen;

/// Name of the engine's program; it lies in the launcher's own folder.
const ENGINE: &str = "relion-rs-rank";

/// Runs a verb of the engine to its end: `relion-rs-rank NAME ARGUMENTS`, the arguments being flags and, after `--`,
/// paths. The engine writes to the standard output and error of this process and reads nothing; signals that a
/// terminal sends reach it directly, and it ends with this process.
///
/// # Errors
/// `Unavailable` when the engine's program is missing; `Internal` when it dies of a signal. Its own errors are told by
/// itself; here only their code comes back.
pub fn verb(name: &[&str], arguments: &[&OsStr], screen: &Screen) -> Result<ExitCode> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.args(name).args(parent::tied()).stdin(Stdio::null());
    if screen.is_json() {
        command.arg("--json");
    }
    command.args(arguments);
    let status = command.status().map_err(|cause| not_started(&program, &cause))?;
    ended(&program, status)
}

/// The code of an engine that ended.
fn ended(program: &Path, status: ExitStatus) -> Result<ExitCode> {
    match signal_name(status) {
        Some(name) => Err(Error::new(
            ExitCode::Internal,
            program.display().to_string(),
            format!("the engine was ended by {name}"),
            "If nobody sent it, SIGKILL means that the system ran out of memory and SIGABRT a defect of relion-rs.",
        )),
        None => code(status),
    }
}

/// The same for a verb whose standard output is an answer to this program: its code and what it wrote.
///
/// # Errors
/// Those of [`verb`].
pub(super) fn answer(name: &[&str], arguments: &[&OsStr], screen: &Screen) -> Result<(ExitCode, String)> {
    let program = program()?;
    let mut command = Command::new(&program);
    command.args(name).args(parent::tied()).stdin(Stdio::null()).stderr(Stdio::inherit());
    if screen.is_json() {
        command.arg("--json");
    }
    let output = command.args(arguments).output().map_err(|cause| not_started(&program, &cause))?;
    let code = ended(&program, output.status)?;
    Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// The engine's program.
///
/// # Errors
/// `Unavailable` when it is not beside the launcher.
pub(super) fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|cause| Error::internal(format!("own path: {cause}")))?;
    let program = own.with_file_name(ENGINE);
    if fs::metadata(&program).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(program);
    }
    Err(Error::new(
        ExitCode::Unavailable,
        program.display().to_string(),
        "the engine is not beside the launcher",
        "Install both programs into one folder: `make install`, or `cargo build --release` for both.",
    ))
}

/// Nothing is queued that could not start: several ranks need an engine with MPI, GPUs one with CUDA. One that does not
/// start on this machine, a login node without the libraries of the others, is only doubted.
///
/// # Errors
/// `Unavailable` when it was built without.
pub(super) fn suits(ranks: u32, needs_cuda: bool, screen: &Screen) -> Result<()> {
    if ranks < 2 && !needs_cuda {
        return Ok(());
    }
    let program = program()?;
    match site::probe(&program) {
        Ok(told) if ranks > 1 && matches!(told["mpi"], Value::Null | Value::Bool(false)) => Err(Error::new(
            ExitCode::Unavailable,
            program.display().to_string(),
            format!("the engine was built without MPI, and {ranks} ranks are asked for"),
            "Build one with it: `make build-mpi`, or `cargo build --release --features mpi --bin relion-rs-rank`. Or ask \
             for one rank: --ranks 1, with one GPU if any.",
        )),
        // The node may show devices that this machine does not.
        Ok(told) if needs_cuda && is_without_cuda(&told) => Err(Error::new(
            ExitCode::Unavailable,
            program.display().to_string(),
            "the engine was built without CUDA, and GPUs are asked for",
            "Build one with it: `cargo build --release --features cuda --bin relion-rs-rank`. Or compute on CPUs: \
             --backend cpu, without --gpus.",
        )),
        Ok(_) => Ok(()),
        Err((cause, _)) => {
            let what = match (ranks > 1, needs_cuda) {
                (true, true) => "takes several ranks and computes on GPUs",
                (true, false) => "takes several ranks",
                (false, _) => "computes on GPUs",
            };
            screen.warning(&format!("whether the engine {what} could not be asked on this machine: {cause}"));
            Ok(())
        }
    }
}

fn is_without_cuda(told: &Value) -> bool {
    told["backends"].as_array().is_some_and(|backends| !backends.iter().any(|name| name == "cuda"))
}

/// Bytes of the smallest GPU that the engine sees on this machine.
///
/// # Errors
/// `Unavailable` when it sees none: its own cause and remedy.
pub(super) fn gpu_memory() -> Result<u64> {
    let program = program()?;
    let unavailable = |problem: String, fix: &str| Error::new(ExitCode::Unavailable, "--backend cuda", problem, fix);
    let told = site::probe(&program)
        .map_err(|(cause, remedy)| unavailable(format!("the engine does not tell what it sees: {cause}"), remedy))?;
    if let Some(problem) = told["no_device"]["problem"].as_str() {
        return Err(unavailable(problem.to_owned(), told["no_device"]["fix"].as_str().unwrap_or_default()));
    }
    let devices = told["devices"].as_array().into_iter().flatten();
    let least = devices.filter_map(|device| device["memory_bytes"].as_u64()).min();
    least.ok_or_else(|| {
        unavailable(format!("{} names no GPU", program.display()), "Install both programs anew, of one version.")
    })
}

pub(super) fn not_started(program: &Path, cause: &io::Error) -> Error {
    Error::new(
        ExitCode::Unavailable,
        program.display().to_string(),
        format!("cannot be started: {cause}"),
        "Install it anew with `make install`.",
    )
}

/// The signal that ended a process.
pub(super) fn signal_name(status: ExitStatus) -> Option<String> {
    let signal = status.signal()?;
    Some(Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string()))
}

/// The code of a process that ended by itself.
///
/// # Errors
/// `Internal` for a code that is none of ours.
pub(super) fn code(status: ExitStatus) -> Result<ExitCode> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.and_then(ExitCode::from_code).ok_or_else(|| {
        Error::internal(format!("the engine ended with the unknown code {}", status.code().unwrap_or(-1)))
    })
}
