//! Slurm as a job meets it: commands, controller, partitions with their limits and what preemption does there.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::env;

use crate::slurm::Failure;
use crate::slurm::call;

use super::answer::Finding;

/// Commands beside sinfo, what is missing without each, and what to do.
const COMMANDS: [(&str, &str, &str); 5] = [
    ("sbatch", "`relion-rs submit` needs it", "Ask for the cluster's Slurm clients on this machine."),
    ("srun", "several ranks need it", "Ask for Slurm's clients here, or say `launcher = \"mpirun\"` in the site file."),
    ("squeue", "`relion-rs status` shows no queue", "Ask for the cluster's Slurm clients on this machine."),
    ("scancel", "`relion-rs cancel` needs it", "Ask for the cluster's Slurm clients on this machine."),
    (
        "scontrol",
        "a job cannot requeue itself from here",
        "Say `continuation = \"dependency\"` in the site file if compute nodes lack it too.",
    ),
];
/// A checkpoint within an iteration takes so long at most where disks are slow.
const ENOUGH_GRACE_SECONDS: u64 = 30;

/// Tells what there is, and whether there is a Slurm at all.
pub fn look(findings: &mut Vec<Finding>) -> bool {
    let topic = "Slurm";
    match call("sinfo", &["--version"]) {
        Ok(text) => findings.push(Finding::ok(topic, text.trim())),
        Err(Failure::Absent { .. }) => {
            findings.push(Finding::missing(
                topic,
                "not on this machine: sinfo is not on the PATH",
                "`relion-rs run` works without. For `submit`, log in to the cluster or load its Slurm module.",
            ));
            return false;
        }
        Err(cause) => {
            findings.push(Finding::warning(topic, one_line(&cause), "See slurm.conf, or SLURM_CONF, on this machine."));
            return false;
        }
    }
    for (command, without, remedy) in COMMANDS {
        if !is_on_path(command) {
            findings.push(Finding::missing(topic, format!("{command} is not on the PATH: {without}"), remedy));
        }
    }
    if !controller(findings) {
        return true;
    }
    let settings = settings();
    accounting(&settings, findings);
    requeueing(&settings, findings);
    partitions(&settings, findings);
    own_job(findings);
    true
}

/// Whether the controller answers.
fn controller(findings: &mut Vec<Finding>) -> bool {
    let topic = "controller";
    let answer = match call("scontrol", &["ping"]) {
        Err(Failure::Absent { .. }) => call("sinfo", &["-h", "-o", "%R"]).map(|_| "answers".to_owned()),
        other => other,
    };
    let remedy = "Jobs cannot be submitted until it answers; ask the administrator.";
    match answer {
        Ok(text) if text.contains("DOWN") && !text.contains(" UP") => {
            findings.push(Finding::warning(topic, text.trim().replace('\n', "; "), remedy));
            false
        }
        Ok(text) => {
            findings.push(Finding::ok(topic, text.trim().replace('\n', "; ")));
            true
        }
        Err(cause) => {
            findings.push(Finding::warning(topic, one_line(&cause), remedy));
            false
        }
    }
}

/// What `scontrol show config` tells; nothing where that is not to be had.
fn settings() -> BTreeMap<String, String> {
    let text = call("scontrol", &["show", "config"]).unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

fn accounting(settings: &BTreeMap<String, String>, findings: &mut Vec<Finding>) {
    let topic = "accounting";
    match settings.get("AccountingStorageType").map(String::as_str) {
        None => {}
        Some("accounting_storage/none" | "(null)") => {
            findings.push(Finding::ok(topic, "off: ended jobs are known from their run folders"));
        }
        Some(kind) if is_on_path("sacct") => findings.push(Finding::ok(topic, format!("{kind}, sacct"))),
        Some(kind) => findings.push(Finding::ok(topic, format!("{kind}; sacct is not on the PATH and not needed"))),
    }
}

fn requeueing(settings: &BTreeMap<String, String>, findings: &mut Vec<Finding>) {
    if settings.get("JobRequeue").is_some_and(|value| value == "0") {
        let found = "jobs are not requeued unless they ask (JobRequeue=0); `submit` asks";
        findings.push(Finding::ok("requeue", found));
    }
}

fn partitions(settings: &BTreeMap<String, String>, findings: &mut Vec<Finding>) {
    let text = match call("scontrol", &["-o", "show", "partition"]) {
        Ok(text) => text,
        // Less is known: names, limits and nodes.
        Err(Failure::Absent { .. }) => {
            let list = call("sinfo", &["-h", "-o", "%R, %D nodes, limit %l, %G"]).unwrap_or_default();
            for line in list.lines().filter(|line| !line.trim().is_empty()) {
                findings.push(Finding::ok("partition", line.trim()));
            }
            return;
        }
        Err(cause) => {
            findings.push(Finding::warning("partitions", one_line(&cause), "Ask the administrator."));
            return;
        }
    };
    let cards = call("sinfo", &["-h", "-o", "%R|%G"]).unwrap_or_default();
    let preempts = settings.get("PreemptType").is_some_and(|kind| kind != "preempt/none");
    for line in text.lines().filter(|line| line.contains("PartitionName=")) {
        findings.push(partition(line, &cards, preempts));
    }
}

/// One line of `scontrol -o show partition`, and lines of a partition and the GPUs of a kind of its nodes.
fn partition(line: &str, cards: &str, preempts: bool) -> Finding {
    let fields: BTreeMap<&str, &str> = line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let field = |key: &str| fields.get(key).copied().unwrap_or("?");
    let topic = "partition";
    let cards = cards.lines().filter_map(|line| line.split_once('|'));
    let cards: BTreeSet<&str> = cards
        .filter(|(name, what)| *name == field("PartitionName") && what.contains("gpu"))
        .map(|(_, what)| what.split('(').next().unwrap_or(what))
        .collect();
    let mut found = format!("{}: {} nodes", field("PartitionName"), field("TotalNodes"));
    if !cards.is_empty() {
        let list: Vec<&str> = cards.into_iter().collect();
        found.push_str(&format!(" with {}", list.join(" or ")));
    }
    found.push_str(&format!(", limit {}", field("MaxTime")));
    if field("State") != "UP" {
        found.push_str(&format!(", {}", field("State")));
        return Finding::warning(topic, found, "Jobs wait there until the administrator opens it.");
    }
    if !preempts {
        return Finding::ok(topic, found + ", no preemption");
    }
    let grace: u64 = field("GraceTime").parse().unwrap_or(0);
    let mode = field("PreemptMode");
    found.push_str(&format!(", preempted jobs: {mode}, GraceTime {grace} s"));
    let is_ended = mode.contains("REQUEUE") || mode.contains("CANCEL");
    let mut remedies = Vec::new();
    if is_ended && grace < ENOUGH_GRACE_SECONDS {
        remedies.push(
            "Nothing is lost, but what was computed since the last checkpoint is repeated (checkpoint_minutes); \
             GraceTime=120 for the partition leaves time for one.",
        );
    }
    if mode.contains("CANCEL") {
        remedies.push(
            "Preempted jobs do not come back there by themselves: `submit` queues a continuation. PreemptMode=REQUEUE \
             saves that.",
        );
    }
    match &remedies[..] {
        [] => Finding::ok(topic, found),
        remedies => Finding::warning(topic, found, remedies.join(" ")),
    }
}

/// The time that is left, inside a job.
fn own_job(findings: &mut Vec<Finding>) {
    let Ok(job) = env::var("SLURM_JOB_ID") else { return };
    let topic = "this job";
    match call("squeue", &["-h", "-j", &job, "-o", "%P, %L left"]) {
        Ok(text) if !text.trim().is_empty() => findings.push(Finding::ok(topic, format!("{job}: {}", text.trim()))),
        Ok(_) => findings.push(Finding::warning(topic, format!("{job} is not in the queue"), "It may be ending.")),
        Err(cause) => findings.push(Finding::warning(
            topic,
            format!("{job}: {}", one_line(&cause)),
            "The time that is left is unknown on this node; the batch script carries the limit.",
        )),
    }
}

/// Slurm says the cause last.
fn one_line(cause: &Failure) -> String {
    let text = cause.to_string();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

/// Whether a command would be found.
fn is_on_path(command: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::State;

    #[test]
    fn partitions_tell_what_preemption_does() {
        let line = |mode: &str, grace: u64, state: &str| {
            format!(
                "PartitionName=gpu AllowGroups=ALL GraceTime={grace} MaxTime=2-00:00:00 PreemptMode={mode} State={state} \
                 TotalNodes=3 TRES=cpu=6,mem=3000M,node=3,billing=6,gres/gpu=12"
            )
        };
        let cards = "gpu|gpu:a100:4(S:0-1)\ngpu|gpu:a100:4(S:0)\nhigh|gpu:v100:2";
        let told = partition(&line("REQUEUE", 120, "UP"), cards, true);
        let text = "gpu: 3 nodes with gpu:a100:4, limit 2-00:00:00, preempted jobs: REQUEUE, GraceTime 120 s";
        assert_eq!((told.state, told.found.as_str()), (State::Ok, text));
        assert!(partition(&line("REQUEUE", 10, "UP"), "", true).remedy.contains("GraceTime=120"));
        assert!(partition(&line("CANCEL", 120, "UP"), "", true).remedy.contains("continuation"));
        let both = partition(&line("CANCEL", 10, "UP"), "", true).remedy;
        assert!(both.contains("GraceTime=120") && both.contains("continuation"), "{both}");
        assert!(partition(&line("OFF", 0, "UP"), "", true).state == State::Ok);
        assert!(partition(&line("OFF", 0, "UP"), "", false).found.ends_with("no preemption"));
        assert!(partition(&line("OFF", 0, "DRAIN"), "", true).found.ends_with("DRAIN"));
    }
}
