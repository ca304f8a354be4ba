//! How ranks are started: srun with a process manager, or mpirun; and the MPI that the engine was built with.

use serde_json::Value;

use crate::slurm::Failure;
use crate::slurm::call;

use super::answer::Finding;

pub fn look(engine: &Value, has_slurm: bool, findings: &mut Vec<Finding>) {
    let built = match engine {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(in_short(text)),
        other => Some(other.to_string()),
    };
    let flavours = if has_slurm { process_managers(findings) } else { Vec::new() };
    let starter = starter();
    findings.push(match (&built, &starter) {
        (Some(built), Some(starter)) => Finding::ok("MPI", format!("engine: {built}; mpirun: {starter}")),
        (Some(built), None) if flavours.is_empty() => Finding::warning(
            "MPI",
            format!("engine: {built}; mpirun is not on the PATH"),
            "Load the MPI module that the engine was built with (`modules` in the site file).",
        ),
        (Some(built), None) => Finding::ok("MPI", format!("engine: {built}; srun starts the ranks")),
        (None, Some(starter)) => Finding::missing(
            "MPI",
            format!("the engine has none; mpirun: {starter}"),
            "One rank works without. For more than one, install an engine that was built with the feature `mpi`.",
        ),
        (None, None) => Finding::missing(
            "MPI",
            "neither in the engine nor on the PATH",
            "One rank works without. For more than one, install an engine that was built with the feature `mpi`.",
        ),
    });
    if let (Some(built), true) = (&built, has_slurm) {
        findings.push(pmix(built, &flavours));
    }
}

/// Libraries tell who built them, and when and how, behind the first comma or line.
fn in_short(text: &str) -> String {
    let first = text.trim().split([',', '\n']).next().unwrap_or_default();
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What srun can start ranks with.
fn process_managers(findings: &mut Vec<Finding>) -> Vec<String> {
    match call("srun", &["--mpi=list"]) {
        Ok(text) => {
            let words: Vec<String> = text
                .lines()
                .filter(|line| !line.contains(':') && !line.contains("are"))
                .map(|line| line.trim().to_owned())
                .filter(|word| !word.is_empty())
                .collect();
            findings.push(Finding::ok("srun --mpi", words.join(", ")));
            words
        }
        Err(Failure::Absent { .. }) => Vec::new(),
        Err(cause) => {
            let found = cause.to_string().replace('\n', "; ");
            findings.push(Finding::warning("srun --mpi", found, "Say `launcher = \"mpirun\"` in the site file."));
            Vec::new()
        }
    }
}

/// Open MPI wants PMIx from srun; MPICH and its relatives take PMI2 as well.
fn pmix(built: &str, flavours: &[String]) -> Finding {
    let has = |name: &str| flavours.iter().any(|flavour| flavour.starts_with(name));
    let is_open = built.to_lowercase().contains("open");
    match (has("pmix"), has("pmi2"), is_open) {
        (true, _, _) => Finding::ok("PMIx", "srun --mpi=pmix"),
        (false, true, false) => Finding::ok("PMIx", "not there; srun --mpi=pmi2 suits this MPI"),
        _ => Finding::missing(
            "PMIx",
            "this Slurm was built without it",
            "Say `launcher = \"mpirun\"` in the site file, or have Slurm's PMIx plugin installed.",
        ),
    }
}

/// The first line in which mpirun tells what it is.
fn starter() -> Option<String> {
    let text = call("mpirun", &["--version"]).or_else(|_| call("mpiexec", &["--version"])).ok()?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    if first.starts_with("HYDRA") {
        let version = lines.find_map(|line| line.strip_prefix("Version:")).unwrap_or_default();
        return Some(format!("MPICH {}", version.trim()));
    }
    Some(first.to_owned())
}
