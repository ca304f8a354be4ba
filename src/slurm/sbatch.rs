//! Submitting a script, and what each refusal means.

use crate::error::Error;
use crate::error::ExitCode;

use super::call::Answer;
use super::call::Failure;
use super::call::call;
use super::call::call_as_outsider;
use super::job::State;

/// A part of what `sbatch` writes when it refuses, lower case, the code of our error and the way out. The first that is
/// found counts.
const REFUSALS: &[(&str, ExitCode, &str)] = &[
    ("invalid partition", ExitCode::Usage, "`sinfo -s` lists the partitions; name one with --partition."),
    (
        "invalid account or account/partition combination",
        ExitCode::Usage,
        "Name an account of yours that may use this partition, with --account: \
         `sacctmgr show associations user=$USER` lists them.",
    ),
    (
        "invalid account",
        ExitCode::Usage,
        "Name an account of yours with --account: `sacctmgr show associations user=$USER` lists them.",
    ),
    (
        "group not permitted to use this partition",
        ExitCode::Usage,
        "Choose another partition with --partition, or ask the administrators for access to this one.",
    ),
    ("invalid qos", ExitCode::Usage, "`sacctmgr show qos format=name` lists what there is; name one with --qos."),
    (
        "qosmaxsubmitjobperuserlimit",
        ExitCode::Unavailable,
        "You have as many jobs in the queue as this QOS allows: wait until one has ended (`squeue --me`), or name \
         another --qos.",
    ),
    (
        "assocmaxsubmitjob",
        ExitCode::Unavailable,
        "Your account has as many jobs in the queue as it may: wait until one has ended (`squeue --me`).",
    ),
    (
        "job violates accounting/qos policy",
        ExitCode::Usage,
        "The job asks for more than your account or QOS allows (number of jobs, size, time): ask for less, or name \
         another --account or --qos.",
    ),
    (
        "requested time limit is invalid",
        ExitCode::Usage,
        "Give a --time that the partition allows (`sinfo -o '%P %l'`); a run that needs longer goes on by itself.",
    ),
    ("--time specification", ExitCode::Usage, "Write --time as Slurm does: 90 (minutes), 12:00:00 or 2-00:00:00."),
    ("time limit specification", ExitCode::Usage, "Write --time as Slurm does: 90 (minutes), 12:00:00 or 2-00:00:00."),
    (
        "memory specification can not be satisfied",
        ExitCode::Memory,
        "Give a --mem that a node has, or another partition.",
    ),
    (
        "reservation",
        ExitCode::Usage,
        "`scontrol show reservation` lists the reservations and who may use them; change or remove --reservation.",
    ),
    (
        "requested node configuration is not available",
        ExitCode::Usage,
        "No node has what is asked for: see `sinfo -e -o '%P %D %c %m %G %f'`, and give --gpus, --nodes, --mem, \
         --cpus-per-rank, --gpu-type or --constraint that one has.",
    ),
    (
        "node count specification invalid",
        ExitCode::Usage,
        "Ask for a number of nodes that the partition has and allows: `scontrol show partition`.",
    ),
    (
        "invalid generic resource",
        ExitCode::Usage,
        "`sinfo -o '%P %G'` shows how this site names its GPUs: set --gpu-type, or --gpu-request.",
    ),
    (
        "invalid trackable resource",
        ExitCode::Usage,
        "This site does not know GPUs by this name: set --gpu-type, or --gpu-request gres.",
    ),
    ("invalid feature", ExitCode::Usage, "`sinfo -o '%P %f'` lists the features; change --constraint."),
    (
        "more processors requested than permitted",
        ExitCode::Usage,
        "No node has so many cores: see `sinfo -o '%P %D %c'`, and give fewer --cpus-per-rank, or more --nodes.",
    ),
    ("invalid node name", ExitCode::Usage, "`sinfo -N` lists the nodes; change --exclude or --nodelist."),
    (
        "dependency",
        ExitCode::Usage,
        "The job to wait for is unknown or its dependency is written wrongly: check --after and --dependency; a job \
         that ended long ago is forgotten, and needs no waiting for.",
    ),
    ("job array specification", ExitCode::Usage, "Give --array a part of the scan, as 0-9%4."),
    (
        "unrecognized option",
        ExitCode::Usage,
        "This Slurm does not know an option of the script or after `--`: `sbatch --help` lists what it knows.",
    ),
    (
        "invalid option",
        ExitCode::Usage,
        "This Slurm does not know an option of the script or after `--`: `sbatch --help` lists what it knows.",
    ),
    (
        "mutually exclusive",
        ExitCode::Usage,
        "Two settings exclude each other: compare the head of the script (`--dry-run`) with the arguments after `--`.",
    ),
    (
        "unable to contact slurm controller",
        ExitCode::Unavailable,
        "The controller does not answer: try again in a few minutes (`scontrol ping`).",
    ),
    (
        "slurm backup controller in standby",
        ExitCode::Unavailable,
        "The controller does not answer: try again in a few minutes (`scontrol ping`).",
    ),
    (
        "socket timed out",
        ExitCode::Unavailable,
        "The controller is busy. Look with `squeue --me` whether the job is there before trying again.",
    ),
    (
        "zero bytes were transmitted",
        ExitCode::Unavailable,
        "The controller broke off: look with `squeue --me`, then try again.",
    ),
    (
        "unable to resolve",
        ExitCode::Unavailable,
        "This machine finds no Slurm controller: submit from a login node of the cluster.",
    ),
    ("could not establish a configuration source", ExitCode::Unavailable, "Submit from a login node of the cluster."),
    (
        "temporarily unable to accept job",
        ExitCode::Unavailable,
        "The queue of the cluster is full: try again later, or ask the administrators about MaxJobCount.",
    ),
    (
        "job queue full",
        ExitCode::Unavailable,
        "The queue of the cluster is full: try again later, or ask the administrators about MaxJobCount.",
    ),
    ("slurm temporarily unable", ExitCode::Unavailable, "The cluster takes no jobs at present: try again later."),
    (
        "authentication",
        ExitCode::Unavailable,
        "Slurm does not trust this machine (munge): submit from a login node, or tell the administrators.",
    ),
    (
        "munge",
        ExitCode::Unavailable,
        "Slurm does not trust this machine (munge): submit from a login node, or tell the administrators.",
    ),
    (
        "protocol version",
        ExitCode::Unavailable,
        "The sbatch on the PATH is of another version than the controller: load the site's own slurm module.",
    ),
    (
        "access/permission denied",
        ExitCode::Usage,
        "You may not use what is asked for: another --account, --qos or --partition, or ask the administrators.",
    ),
    (
        "unable to open file",
        ExitCode::NoInput,
        "The script is gone, or cannot be read: submit the run again with `relion-rs submit`.",
    ),
];

/// A job that Slurm took, and what it said of that: a resource that it changed, a message of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub id: String,
    pub remarks: Vec<String>,
}

/// Submits a script.
///
/// # Errors
/// What [`call`] says; an answer that is no number.
pub fn submit(arguments: &[String]) -> Result<Taken, Failure> {
    let Answer { text: answer, complaint } = call_as_outsider("sbatch", arguments)?;
    // `123`, or `123;cluster`; the last line, where a site's own script talks before it.
    let last = answer.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let id = last.split(';').next().unwrap_or_default().trim().to_owned();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = format!("answered {:?}, and no job number", answer.trim());
        return Err(Failure::Refused { command: "sbatch".to_owned(), code: Some(0), text });
    }
    let remarks = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    Ok(Taken { id, remarks })
}

/// Slurm's own sentence, and our way out.
pub fn refusal(failure: &Failure) -> Error {
    let text = match failure {
        Failure::Absent { .. } => {
            return Error::new(
                ExitCode::Unavailable,
                "",
                failure.to_string(),
                "Submit from a login node of the cluster (perhaps after `module load slurm`); `relion-rs run` works on \
                 this machine, and --dry-run shows the script.",
            );
        }
        // A full queue is said at once, and then waited for.
        Failure::Refused { text, .. } | Failure::Late { text, .. } => text.to_lowercase(),
    };
    let known = REFUSALS.iter().find(|(part, ..)| text.contains(part)).map(|(_, code, fix)| (*code, *fix));
    let (code, fix) = known.unwrap_or(match failure {
        Failure::Late { .. } => (
            ExitCode::Unavailable,
            "The controller is busy. Look with `squeue --me` whether the job is there before trying again.",
        ),
        _ => (ExitCode::Usage, "The sentence is Slurm's own; `relion-rs submit --dry-run` shows what it was given."),
    });
    // Its sentences begin with its name.
    let problem = match failure {
        Failure::Refused { command, text, .. } if text.starts_with(&format!("{command}:")) => text.clone(),
        _ => failure.to_string(),
    };
    Error::new(code, "", problem, fix)
}

/// Which of these jobs wait or run, as `123 RUNNING`.
///
/// # Errors
/// `squeue` is absent or does not answer.
pub fn active(ids: &[&str]) -> Result<Vec<String>, Failure> {
    let answer = match call("squeue", &["-h", "-j", &ids.join(","), "-r", "-o", "%i %T"]) {
        Err(Failure::Refused { text, .. }) if text.to_lowercase().contains("invalid job id") => return Ok(Vec::new()),
        answer => answer?,
    };
    // Right after its end a job is still listed.
    let is_active = |line: &&str| line.split_whitespace().nth(1).is_some_and(|state| State::parse(state).is_active());
    Ok(answer.lines().map(str::trim).filter(is_active).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Error {
        refusal(&Failure::Refused { command: "sbatch".to_owned(), code: Some(1), text: text.to_owned() })
    }

    #[test]
    fn each_refusal_has_its_own_way_out() {
        for (text, code, fix) in [
            ("sbatch: error: invalid partition specified: gpux", ExitCode::Usage, "sinfo -s"),
            (
                "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
                ExitCode::Usage,
                "--account",
            ),
            ("sbatch: error: Batch job submission failed: Invalid qos specification", ExitCode::Usage, "--qos"),
            (
                "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates \
                 accounting/QOS policy (job submit limit, user's size and/or time limits)",
                ExitCode::Unavailable,
                "squeue --me",
            ),
            (
                "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
                ExitCode::Usage,
                "--time",
            ),
            (
                "sbatch: error: Batch job submission failed: Requested node configuration is not available",
                ExitCode::Usage,
                "--gpus",
            ),
            ("sbatch: error: Batch job submission failed: Job dependency problem", ExitCode::Usage, "--after"),
            (
                "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
                ExitCode::Unavailable,
                "scontrol ping",
            ),
            (
                "sbatch: error: If munged is up, restart with --num-threads=10\nsbatch: error: Batch job submission \
                 failed: Protocol authentication error",
                ExitCode::Unavailable,
                "munge",
            ),
            (
                "sbatch: error: Batch job submission failed: Requested reservation is invalid",
                ExitCode::Usage,
                "scontrol",
            ),
            (
                "sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job submission failed: \
                 Requested node configuration is not available",
                ExitCode::Memory,
                "--mem",
            ),
            ("sbatch: error: something new", ExitCode::Usage, "--dry-run"),
        ] {
            let error = said(text);
            assert_eq!(error.code, code, "{error}");
            assert!(error.problem == text && error.fix.contains(fix), "{error}");
        }
        let late =
            |text: &str| refusal(&Failure::Late { command: "sbatch".to_owned(), seconds: 60, text: text.to_owned() });
        let full = late("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying");
        assert!(full.problem.contains("within 60 s: sbatch: error") && full.fix.contains("MaxJobCount"), "{full}");
        assert!(late("").fix.contains("busy"));
        let error = refusal(&Failure::Absent { command: "sbatch".to_owned() });
        assert!(error.code == ExitCode::Unavailable && error.fix.contains("login node"), "{error}");
    }
}
