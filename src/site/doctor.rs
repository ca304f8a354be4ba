//! All probes, in the order in which they are told.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::error::Result;
use crate::plan::progress::unix_seconds;
use crate::slurm::call_within;

use super::answer::Answer;
use super::answer::Finding;
use super::disk;
use super::gpu;
use super::machine;
use super::mpi;
use super::scheduler;

/// An engine on a slow file system may take seconds to load its libraries.
const ENGINE_PATIENCE: Duration = Duration::from_secs(60);

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The engine's program, or why there is none.
    pub engine: std::result::Result<PathBuf, Finding>,
    /// What was found about the settings.
    pub settings: Vec<Finding>,
    /// Where a run would write.
    pub folder: PathBuf,
    /// Where a job would keep what only it needs.
    pub scratch: PathBuf,
    /// Bytes written to scratch; 0: none.
    pub scratch_bytes: u64,
}

/// Looks at everything. What is not there is a finding, not an error.
///
/// # Errors
/// The system does not tell its own name.
pub fn examine(what: &Examination) -> Result<Answer> {
    let mut findings = what.settings.clone();
    let probe = match &what.engine {
        Ok(program) => engine(program, &mut findings),
        Err(finding) => {
            findings.push(finding.clone());
            Value::Null
        }
    };
    let (cores, memory_bytes) = machine::look(&mut findings);
    let gpus = gpu::look(&probe, &mut findings);
    let has_slurm = scheduler::look(&mut findings);
    mpi::look(&probe["mpi"], has_slurm, &mut findings);
    disk::look(&what.folder, &what.scratch, what.scratch_bytes, &mut findings);
    Ok(Answer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: machine::host()?,
        partition: None,
        unix_seconds: unix_seconds(),
        cores,
        memory_bytes,
        instruction_set: probe["instruction_set"].as_str().unwrap_or_default().to_owned(),
        gpus,
        findings,
    })
}

/// Starts the engine, which tells what it is made of.
///
/// # Errors
/// It does not start, or tells nothing: why, and the remedy.
pub fn probe(program: &Path) -> std::result::Result<Value, (String, &'static str)> {
    let name = program.display().to_string();
    let text = call_within(&name, &["--probe"], ENGINE_PATIENCE).map_err(|cause| {
        let remedy = "Install it anew, with the libraries that it was built with (HDF5, MPI): load their modules, or \
                      name them in `modules` of the site file.";
        (cause.to_string(), remedy)
    })?;
    serde_json::from_str(text.trim())
        .map_err(|_| (format!("{name} --probe wrote no JSON"), "Install both programs anew, of one version."))
}

/// What is told of the engine.
fn engine(program: &Path, findings: &mut Vec<Finding>) -> Value {
    let name = program.display().to_string();
    let probe = match probe(program) {
        Ok(probe) => probe,
        Err((found, remedy)) => {
            findings.push(Finding::failed("engine", found, remedy));
            return Value::Null;
        }
    };
    let word = |key: &str| probe[key].as_str().unwrap_or("?").to_owned();
    if word("version") != env!("CARGO_PKG_VERSION") {
        let found = format!("{name} is version {}, the launcher {}", word("version"), env!("CARGO_PKG_VERSION"));
        findings.push(Finding::failed("engine", found, "Install both programs anew, of one version."));
    } else {
        let backends: Vec<&str> =
            probe["backends"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let found = format!("{name} {}, for {}", word("version"), backends.join(" and "));
        findings.push(Finding::ok("engine", found));
    }
    findings.push(Finding::ok("HDF5", format!("{}, which the engine starts with", word("hdf5"))));
    let cores = probe["cores"].as_u64().unwrap_or(1);
    findings.push(Finding::ok("cores", format!("{cores} usable, instruction set {}", word("instruction_set"))));
    probe
}
