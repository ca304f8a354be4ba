//! In a batch script of RELION: the same command again as a step of Slurm. Only steps are told of preemption and of the
//! coming time limit, and RELION's own line in the script is no step.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::error::Error;
use crate::error::Result;
use crate::plan::progress::unix_seconds;
use crate::slurm::call;
use crate::slurm::time;
use crate::slurm::time::Limit;

use super::super::screen::Screen;

/// The step is described in full; these would describe it a second time, and differently in a newer Slurm.
const OTHER_DESCRIPTIONS: [&str; 3] = ["SLURM_TRES_PER_TASK", "SLURM_CPUS_PER_TASK", "SLURM_GPUS_PER_TASK"];
const END_TIME: &str = "SLURM_JOB_END_TIME";

/// Becomes a step when this process is in a batch script, and returns otherwise.
///
/// # Errors
/// `Internal` when the system does not tell this program's path.
pub fn become_one(words: &[OsString], threads: Option<u32>, screen: &Screen) -> Result<()> {
    let Ok(job) = env::var("SLURM_JOB_ID") else { return Ok(()) };
    if env::var_os("SLURM_STEP_ID").is_some() {
        return Ok(());
    }
    let own = env::current_exe().map_err(|cause| Error::internal(format!("own path: {cause}")))?;
    let mut step = Command::new("srun");
    step.args(["--ntasks=1", "--kill-on-bad-exit=1"]);
    if let Some(threads) = threads.filter(|threads| *threads > 0) {
        step.arg(format!("--cpus-per-task={threads}"));
    }
    for name in OTHER_DESCRIPTIONS {
        step.env_remove(name);
    }
    if env::var_os(END_TIME).is_none()
        && let Some(end) = end_of(&job)
    {
        step.env(END_TIME, end.to_string());
    }
    step.env("SLURM_EXPORT_ENV", "ALL").arg(own);
    if screen.is_json() {
        step.arg("--json");
    }
    step.arg("external").args(words);
    // It comes back from here only when it fails.
    let cause = step.exec();
    screen.warning(&format!(
        "job {job}: srun cannot be started ({cause}); works without: a preemption or the time limit costs what was \
         computed since the last checkpoint"
    ));
    Ok(())
}

/// The end of a job in seconds since 1970, which older Slurms do not tell it.
fn end_of(job: &str) -> Option<u64> {
    let left = call("squeue", &["-h", "-j", job, "-o", "%L"]).ok()?;
    match time::parse(left.trim())? {
        Limit::Seconds(left) => Some(unix_seconds() as u64 + left),
        Limit::None => None,
    }
}
