//! The doctor meets a real Slurm, here and on a node.

use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

/// The lines of one topic, `ok       topic  finding`.
fn lines<'a>(text: &'a str, topic: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.get(9..).is_some_and(|rest| rest.starts_with(&format!("{topic} ")))).collect()
}

/// What is the same on a login node and on a node of a partition.
fn assert_knows_this_slurm(sandbox: &Sandbox, text: &str) {
    let version = sandbox.text("sinfo", "--version").unwrap();
    let one = |topic: &str, words: &[&str]| {
        let found = lines(text, topic);
        let is_there = |line: &&&str| words.iter().all(|word| line.contains(word));
        assert!(found.iter().filter(is_there).count() == 1, "{topic}: {words:?} not in\n{text}");
    };
    one("Slurm", &["ok ", &version]);
    one("controller", &["ok ", "UP"]);
    one("accounting", &["ok ", "off: "]);
    // Twenty seconds are little for a checkpoint, and the doctor says so.
    let nodes = "3 nodes with gpu:fake:2, limit 01:00:00, preempted jobs:";
    one("partition", &["warning", &format!("low: {nodes} REQUEUE, GraceTime 20 s")]);
    one("partition", &["warning", &format!("lowcancel: {nodes} CANCEL, GraceTime 20 s")]);
    one("partition", &["ok ", &format!("high: {nodes} OFF, GraceTime 0 s")]);
    assert!(text.contains("GraceTime=120 for the partition leaves time for one"), "{text}");
    one("srun --mpi", &["ok ", "pmix"]);
    one("MPI", &["ok ", "engine: Open MPI", "mpirun: "]);
    one("PMIx", &["ok ", "srun --mpi=pmix"]);
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn it_knows_this_slurm_and_its_nodes() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "doctor");
    let here = run.tell(&sandbox, "doctor --scratch-mib 1");
    println!("{here}");
    assert_knows_this_slurm(&sandbox, &here);
    assert!(lines(&here, "this job").is_empty(), "no job is around it: {here}");

    let there = run.tell(&sandbox, "doctor --scratch-mib 1 --on-node low");
    println!("{there}");
    assert_knows_this_slurm(&sandbox, &there);
    assert!(there.lines().next().is_some_and(|first| first.ends_with(", a node of partition low")), "{there}");
    // The first job of this Slurm: it was one of five minutes, in that partition.
    let job = lines(&there, "this job");
    let is_left = ["1: low, 5:00 left", "1: low, 4:"].iter().any(|left| job[0].contains(left));
    assert!(job.len() == 1 && is_left, "{there}");
    assert_eq!((sandbox.state(1), sandbox.field(1, "Partition")), ("COMPLETED".to_owned(), "low".to_owned()));
    assert_eq!((sandbox.field(1, "TimeLimit").as_str(), sandbox.field(1, "NodeList").as_str()), ("00:05:00", "n1"));
    assert!(sandbox.field(1, "TresPerNode").contains("gpu:1"), "a GPU to look at was asked for");
    // Kept for `submit`.
    let kept = std::fs::read_to_string(sandbox.folder().join(".config/relion-rs/nodes/low.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["partition"], "low", "{kept}");

    let refused = run.output(&sandbox, "doctor --on-node absent");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    println!("{text}");
    assert_eq!(refused.status.code(), Some(69), "{text}");
    assert!(text.contains("invalid partition") && text.contains("absent is none of them, or not yours"), "{text}");
}
