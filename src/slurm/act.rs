//! What is asked of Slurm about a job that is there.

use super::call::Failure;
use super::call::call;
use super::sbatch;

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

/// Jobs that wait for the end of another one.
///
/// # Errors
/// `squeue` is not there or does not answer.
pub fn dependents(id: &str) -> Result<Vec<String>, Failure> {
    Ok(waiting_for(id, &call("squeue", &["-h", "-t", "PD", "-r", "-o", "%i %E"])?))
}

/// Of lines like `12 afterok:7(unfulfilled),afterany:8_*(unfulfilled)`.
fn waiting_for(id: &str, answer: &str) -> Vec<String> {
    let waits = |list: &str| list.split(|c: char| !(c.is_ascii_digit() || c == '_')).any(|word| word == id);
    let job = |line: &str| {
        let (job, list) = line.trim().split_once(' ')?;
        waits(list).then(|| job.to_owned())
    };
    answer.lines().filter_map(job).collect()
}

/// Submits a script once more, to begin when `after` has ended and on none of the `excluded` nodes; its number. A job's
/// list of excluded nodes cannot be changed while it runs, and a job that is queued again may get its old nodes.
///
/// # Errors
/// `sbatch` is not there or refuses.
pub fn resubmit(script: &str, after: &str, excluded: &str) -> Result<String, Failure> {
    let (dependency, exclude) = (format!("--dependency=afterany:{after}"), format!("--exclude={excluded}"));
    let words = ["--parsable", &dependency, &exclude, script].map(str::to_owned);
    // What it remarks of this job it has remarked of the one before.
    sbatch::submit(&words).map(|taken| taken.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_job() {
        let answer = "12 afterok:7(unfulfilled)\n13 afterany:71(unfulfilled)\n14 (null)\n\
                      15 afterok:5(unfulfilled),aftercorr:7(unfulfilled)\n16_3 afterok:17(unfulfilled)\n\n";
        assert_eq!(waiting_for("7", answer), ["12", "15"]);
        assert_eq!(waiting_for("17", answer), ["16_3"]);
        assert!(waiting_for("1", answer).is_empty());
    }
}
