//! Several ranks on this machine: the engine's program under an MPI launcher.

use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::parent;

/// Names of MPI's launcher, the usual one first.
const LAUNCHERS: [&str; 2] = ["mpirun", "mpiexec"];
/// Names it instead, with arguments if need be.
const VARIABLE: &str = "RELION_RS_MPIRUN";
/// OpenMPI binds ranks to single cores and refuses more ranks than cores unless it is told not to; ranks divide the
/// cores among themselves. Other libraries do not look at these.
const SETTINGS: [(&str, &str); 5] = [
    ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
    ("OMPI_MCA_mpi_yield_when_idle", "1"),
    ("PRTE_MCA_hwloc_default_binding_policy", "none"),
    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
];

/// The engine's program with so many ranks; one needs no MPI.
///
/// # Errors
/// `Unavailable` when no MPI launcher is on the PATH.
pub(super) fn command(program: &Path, ranks: u32) -> Result<Command> {
    if ranks <= 1 {
        return Ok(Command::new(program));
    }
    let named = std::env::var(VARIABLE).ok().filter(|words| !words.trim().is_empty());
    let words: Vec<String> = match named {
        Some(words) => words.split_whitespace().map(str::to_owned).collect(),
        None => vec![found()?.to_owned()],
    };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("-n").arg(ranks.to_string()).arg(program).envs(SETTINGS);
    Ok(command)
}

/// The words that tie the engine to this process: alone it is a child, of several ranks it is none.
pub(super) fn tied(ranks: u32) -> Vec<String> {
    if ranks <= 1 {
        return parent::tied().to_vec();
    }
    vec!["--silent".to_owned(), "--watched-by".to_owned(), std::process::id().to_string()]
}

fn found() -> Result<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    LAUNCHERS.iter().find(is_there).copied().ok_or_else(|| {
        Error::new(
            ExitCode::Unavailable,
            "mpirun",
            "is not on the PATH, and several ranks are started by it",
            format!("Load the site's MPI module, name the launcher in {VARIABLE}, or leave --ranks out."),
        )
    })
}
