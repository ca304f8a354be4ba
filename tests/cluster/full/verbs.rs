//! The verbs that look at jobs, against the real Slurm, with and without its accounting.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use relion_rs::plan::progress::Outcome;

use crate::runs::JOB;
use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

const TWO: &str = "--partition low --nodes 1 --gpus 2";

fn one_node() -> Sandbox {
    Sandbox::start(Options { nodes: 1, ..Options::default() })
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn status_logs_and_cancel_follow_a_job() {
    let sandbox = one_node();
    let run = Run::new(&sandbox, "watched");
    let job = run.submit(&sandbox, &format!("{TWO} -- --hold"));
    let status = || run.json(&sandbox, "status out");
    let waiting = status();
    assert_eq!(
        (waiting["state"].as_str(), waiting["cluster"]["job"]["state"].as_str()),
        (Some("waiting"), Some("PENDING"))
    );
    let refused = run.output(&sandbox, &format!("submit {JOB} {TWO}"));
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(64), "{complaint}");
    assert!(complaint.contains(&format!("this run has a job already: {job} PENDING")), "{complaint}");

    sandbox.text("scontrol", &format!("release {job}")).unwrap();
    run.wait_for_work(&sandbox, 1);
    // The log as it comes, until the run is over.
    let mut logs = run.relion_rs(&sandbox);
    let logs = logs.args(["logs", "-f", "out"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let running = status();
    assert_eq!(
        (running["state"].as_str(), running["cluster"]["job"]["state"].as_str()),
        (Some("running"), Some("RUNNING")),
        "{running}"
    );
    assert_eq!(running["cluster"]["job"]["id"].as_str(), Some(job.to_string().as_str()));
    let text = run.tell(&sandbox, "status out");
    assert!(text.contains(&format!("job {job}: RUNNING on n1 in low")), "{text}");
    assert!(run.tell(&sandbox, "logs out --rank 1").contains("rank 1 of 2"));

    let begin = Instant::now();
    let told = run.json(&sandbox, "cancel out --checkpoint-first");
    println!("cancelled {:.1} s after it was asked for", begin.elapsed().as_secs_f64());
    assert_eq!(
        (told["checkpoint"].as_bool(), told["cancelled"][0].as_str()),
        (Some(true), Some(job.to_string().as_str()))
    );
    sandbox.wait_for("its end", PATIENCE, || {
        (sandbox.state(job) != "RUNNING" && sandbox.state(job) != "COMPLETING").then_some(())
    });
    let state = sandbox.state(job);
    run.assert_stays(&sandbox, job, &state);
    assert_eq!(run.outcomes(), [Outcome::Stopped], "{:?}", run.ends());
    assert_eq!(status()["state"], "checkpointed");
    let followed = logs.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&followed.stdout).into_owned();
    assert!(followed.status.success() && text.contains("on n1 (low)") && text.contains(&run.last_line(job)), "{text}");

    // The same script, with all that was asked for.
    let again = run.submitted(&sandbox, "resume out");
    sandbox.text("scontrol", &format!("release {again}")).unwrap();
    run.assert_done(&sandbox, again);
    let over = status();
    assert_eq!((over["state"].as_str(), over["restarts"].as_u64()), (Some("finished"), Some(1)), "{over}");
}

/// What the accounting remembers, what a list of ended jobs does, and what there is to say when nobody is asked.
#[test]
#[ignore = "needs root and Debian's slurm-wlm, slurmdbd and mariadb-server; make test-long"]
fn sacct_is_asked_where_there_is_one() {
    for accounting in [true, false] {
        let hidden = &["scontrol", "sacct"];
        let sandbox = Sandbox::start(Options { nodes: 1, accounting, hidden, ..Options::default() });
        let run = Run::new(&sandbox, "remembered");
        let job = run.submit(&sandbox, TWO);
        run.assert_done(&sandbox, job);
        // Without scontrol, and squeue does not tell of ended jobs.
        let (bin, more) = (sandbox.folder().join("bin"), sandbox.folder().join("more"));
        let sacct = sandbox.text("which", "sacct").unwrap();
        fs::create_dir(&more).unwrap();
        symlink(sacct, more.join("sacct")).unwrap();
        let job_by = |folders: &[&Path]| {
            let mut command: Command = run.relion_rs(&sandbox);
            command.env("PATH", std::env::join_paths(folders).unwrap()).args(["--json", "status", "out"]);
            let text = sandbox.output(&mut command).unwrap();
            let told: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(told["state"], "finished", "the run folder knows in any case");
            told["cluster"].clone()
        };
        let told = sandbox.wait_for("sacct knows", PATIENCE, || {
            Some(job_by(&[&bin, &more])).filter(|told| told["job"]["state"] == "COMPLETED")
        });
        assert_eq!(told["job"]["source"], "sacct", "{told}");
        // The list of ended jobs that a Slurm without a database writes has no nodes.
        assert_eq!(told["job"]["nodes"].as_str(), accounting.then_some("n1"), "{told}");

        let told = job_by(&[&bin]);
        println!("with squeue only: {told}");
        assert!(told["job"].is_null(), "{told}");
        assert_eq!(told["silent"], serde_json::json!(["scontrol is not on the PATH", "sacct is not on the PATH"]));
    }
}
