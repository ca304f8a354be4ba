//! What is asked of Slurm about a job that is there.

use super::call::Failure;
use super::call::call;
use super::call::call_as_outsider;

/// Queues a running job again: Slurm ends it and starts it later, with the same number.
///
/// # Errors
/// `scontrol` is not there or refuses, as it does for jobs that were submitted with `--no-requeue`.
pub fn requeue(id: &str) -> Result<(), Failure> {
    call("scontrol", &["requeue", id]).map(drop)
}

/// Cancels jobs, for good.
///
/// # Errors
/// `scancel` is not there or refuses.
pub fn cancel(ids: &[&str]) -> Result<(), Failure> {
    call("scancel", ids).map(drop)
}

/// Submits a script once more, to begin when `after` has ended and on none of the `excluded` nodes; its number. A job's
/// list of excluded nodes cannot be changed while it runs, and a job that is queued again may get its old nodes.
///
/// # Errors
/// `sbatch` is not there or refuses.
pub fn resubmit(script: &str, after: &str, excluded: &str) -> Result<String, Failure> {
    let (dependency, exclude) = (format!("--dependency=afterany:{after}"), format!("--exclude={excluded}"));
    let answer = call_as_outsider("sbatch", &["--parsable", &dependency, &exclude, script])?;
    let id = answer.trim().split(';').next().unwrap_or_default().to_owned();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::Refused { command: "sbatch".to_owned(), code: Some(0), text: answer });
    }
    Ok(id)
}
