//! One run of a job, by the program itself, and what its record tells.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::cli::bench::precision_name;
use crate::cli::bench::progress;
use crate::cli::parent;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::JobKind;
use crate::plan::Precision;

/// Whole jobs that are alike but for the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub kind: JobKind,
    pub precision: Precision,
}

impl Case {
    pub fn name(&self) -> String {
        format!("{} {}", self.kind, precision_name(self.precision))
    }
}

/// What all cases share.
pub struct Setup {
    pub particles: PathBuf,
    pub reference: PathBuf,
    pub ranks: u32,
    pub iterations: u32,
    /// Further flags of `run`.
    pub flags: Vec<String>,
    /// Run folders lie here.
    pub folder: PathBuf,
}

/// Seconds of a phase in each iteration; the whole iteration has an empty name.
pub type Seconds = BTreeMap<u32, BTreeMap<String, f64>>;
pub const WHOLE: &str = "";

/// What a run comes to.
pub enum Measured {
    Seconds(Seconds),
    /// The backend is not there, with the engine's own words.
    Missing(String),
}

/// Runs a case once.
///
/// # Errors
/// The job fails for another cause than a backend that is not there.
pub fn measure(setup: &Setup, case: Case, backend: Backend, round: u32) -> Result<Measured> {
    let name = format!("{}-{}-{}", case.name().replace(' ', "-"), backend.name(), round + 1);
    let run_dir = setup.folder.join(name);
    let own = std::env::current_exe().map_err(|cause| Error::internal(format!("own path: {cause}")))?;
    let mut command = Command::new(&own);
    command.args(parent::tied()).args(["--json", "run", case.kind.name()]);
    command.arg("--particles").arg(&setup.particles).arg("--reference").arg(&setup.reference);
    command.arg("--out").arg(&run_dir).args(["--backend", backend.name()]);
    command.args(["--precision", precision_name(case.precision)]);
    command.args(["--ranks", &setup.ranks.to_string(), "--iterations", &setup.iterations.to_string()]);
    command.args(&setup.flags).stdin(Stdio::null());
    let output = command.output().map_err(|cause| Error::reading(&own, &cause))?;
    let code = output.status.code();
    if code == Some(ExitCode::Done as i32) {
        let recorded = progress::read(&run_dir)?;
        let seconds = recorded.iterations.into_iter().map(|(iteration, finished)| {
            let whole = [(WHOLE.to_owned(), finished.wall_seconds)];
            (iteration, finished.phase_seconds.into_iter().chain(whole).collect())
        });
        return Ok(Measured::Seconds(seconds.collect()));
    }
    let told = problem(&String::from_utf8_lossy(&output.stderr));
    if backend == Backend::Cuda && code == Some(ExitCode::Unavailable as i32) {
        return Ok(Measured::Missing(told));
    }
    let code = code.and_then(|code| u8::try_from(code).ok()).and_then(ExitCode::from_code);
    Err(Error::new(
        code.unwrap_or(ExitCode::Internal),
        run_dir.display().to_string(),
        format!("{} on {} failed: {told}", case.name(), backend.name()),
        "Run it by itself to see more: `relion-rs run`, with the same flags.",
    ))
}

/// The problem of the last error among lines of JSON; all of the text where there is none.
fn problem(text: &str) -> String {
    let parsed = text.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of = |value: serde_json::Value| value["error"]["problem"].as_str().map(str::to_owned);
    parsed.filter_map(of).next().unwrap_or_else(|| text.trim().to_owned())
}

/// Checks that the folder of a data set is there before anything is timed.
pub fn input(path: &Path) -> Result<PathBuf> {
    std::fs::metadata(path).map_err(|cause| Error::reading(path, &cause))?;
    std::path::absolute(path).map_err(|cause| Error::reading(path, &cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_run_is_its_problem() {
        let text = "{\"warning\":\"w\"}\n{\"error\":{\"code\":69,\"problem\":\"no device\"}}\n{\"warning\":\"late\"}\n";
        assert_eq!(problem(text), "no device");
        assert_eq!(problem("killed\n"), "killed");
    }
}
