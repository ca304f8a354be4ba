//! The doctor on a node of a partition: one task that answers as JSON.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::slurm::Failure;
use crate::slurm::call;
use crate::slurm::call_within;

use super::answer::Answer;

/// What looking at a node takes at most, once it has been given.
const LOOK: Duration = Duration::from_secs(180);
const MINUTES: &str = "5";

#[derive(Clone, Debug)]
pub struct OnNode {
    pub partition: String,
    /// How long to wait for a node.
    pub wait_seconds: u64,
    /// Further arguments of srun (`--account=...`).
    pub arguments: Vec<String>,
    /// This program, as the node sees it.
    pub program: PathBuf,
    /// How much the node writes to its scratch, in MiB.
    pub scratch_mib: u64,
}

/// Runs the doctor there.
///
/// # Errors
/// `Unavailable` when there is no Slurm, no node in time, or a refusal; `Usage` inside a job; `Internal` for an answer
/// that is none.
pub fn ask(what: &OnNode) -> Result<Answer> {
    if let Ok(job) = env::var("SLURM_JOB_ID") {
        return Err(Error::usage(
            format!("this is job {job}, in which srun starts no other"),
            "Run it on a login node, or `srun relion-rs doctor` for the nodes of this job.",
        ));
    }
    let partition = &what.partition;
    let mut arguments = vec![
        format!("--partition={partition}"),
        "--nodes=1".to_owned(),
        "--ntasks=1".to_owned(),
        format!("--time={MINUTES}"),
        format!("--immediate={}", what.wait_seconds),
        "--job-name=relion-rs-doctor".to_owned(),
        "--quiet".to_owned(),
    ];
    if has_gpus(partition) && !what.arguments.iter().any(|word| word.contains("gpu") || word.contains("gres")) {
        arguments.push("--gres=gpu:1".to_owned());
    }
    arguments.extend(what.arguments.iter().cloned());
    arguments.push(what.program.display().to_string());
    arguments.extend(["--json", "doctor", "--answer-for", partition.as_str(), "--scratch-mib"].map(str::to_owned));
    arguments.push(what.scratch_mib.to_string());
    let text = call_within("srun", &arguments, Duration::from_secs(what.wait_seconds) + LOOK)
        .map_err(|cause| refusal(what, &cause))?;
    // Prologues of a site may write before it.
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line).map_err(|_| {
        Error::internal(format!("the doctor on partition {partition} answered: {}", text.trim().replace('\n', "; ")))
    })
}

/// Whether the partition's nodes have GPUs to ask for.
fn has_gpus(partition: &str) -> bool {
    call("sinfo", &["-h", "-p", partition, "-o", "%G"]).is_ok_and(|text| text.contains("gpu"))
}

fn refusal(what: &OnNode, cause: &Failure) -> Error {
    let partition = &what.partition;
    let place = format!("srun --partition={partition}");
    let (problem, fix) = match cause {
        Failure::Absent { .. } => {
            ("srun is not on the PATH".to_owned(), "Log in to the cluster, or load its Slurm module.".to_owned())
        }
        Failure::Late { seconds, .. } => (
            format!("no answer within {seconds} s"),
            "Look at `squeue`; with a longer --wait it can be tried again.".to_owned(),
        ),
        Failure::Refused { text, .. } => {
            let fix = advice(text, partition);
            (text.trim().replace('\n', "; "), fix)
        }
    };
    Error::new(ExitCode::Unavailable, place, problem, fix)
}

/// What srun's words ask for.
fn advice(text: &str, partition: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["Immediate execution impossible", "nodes are busy", "Unable to allocate resources: Requested nodes"]) {
        return "No node became free in time: try again later, or wait longer with --wait SECONDS.".to_owned();
    }
    if says(&["invalid partition", "Invalid partition"]) {
        return format!("`sinfo -s` lists the partitions; {partition} is none of them, or not yours.");
    }
    if says(&["account", "Account", "qos", "QOS"]) {
        return "Name yours after `--`: relion-rs doctor --on-node PARTITION -- --account=NAME --qos=NAME".to_owned();
    }
    if says(&["configuration is not available", "gres", "GRES"]) {
        return "Say after `--` how GPUs are asked for there: -- --gres=gpu:TYPE:1".to_owned();
    }
    if says(&["No such file", "execve", "Exec format"]) {
        return "The node does not see this program: install it on a file system that all nodes share.".to_owned();
    }
    if says(&["time limit", "Time limit"]) {
        return format!("It asks for {MINUTES} minutes; name what is allowed after `--`: -- --time=MINUTES");
    }
    "What follows `--` is given to srun as it is.".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_advice() {
        for (text, part) in [
            ("srun: error: Unable to allocate resources: Immediate execution impossible", "--wait"),
            ("srun: error: invalid partition specified: gqu", "sinfo -s"),
            ("srun: error: Unable to allocate resources: Invalid account or account/partition", "--account"),
            ("srun: error: Unable to allocate resources: Requested node configuration is not available", "--gres"),
            ("slurmstepd: error: execve(): /opt/relion-rs: No such file or directory", "file system"),
            ("something else", "as it is"),
        ] {
            assert!(advice(text, "gpu").contains(part), "{text}: {}", advice(text, "gpu"));
        }
    }
}
