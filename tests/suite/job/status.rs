//! `status` of runs that were submitted.

use super::stage::NO_ACCOUNTING;
use super::stage::Stage;
use super::stage::UNKNOWN_JOB;
use super::stage::checkpoint;
use super::stage::finished;
use super::stage::iteration;
use super::stage::job_started;
use super::stage::started;

const RUNNING: &str = "echo '7|RUNNING|low|1:10:00|10:00|2026-11-26T03:15:24|2026-11-26T04:25:24|n1|None'";

/// A run in its third iteration.
fn working() -> Stage {
    let stage = Stage::new("class3d");
    stage.tell(vec![job_started("7", 0), started(), checkpoint(0), iteration(1, 900.0), checkpoint(1)]);
    stage.tell(vec![started(), iteration(2, 900.0), checkpoint(2)]);
    stage.jobid("7\n");
    stage
}

#[test]
fn state_nodes_time_and_outlook_are_told() {
    let stage = working();
    stage.fake("squeue", RUNNING).scontrol(&[]);
    let told = stage.run("status out", &[]);
    assert_eq!(told.code, 0, "{told:?}");
    // Seven iterations of 15 min, and 10 min left of a job of 70.
    for said in [
        "job 7: RUNNING on n1 in low, 10 min 00 s left",
        "last checkpoint: after iteration 2,",
        "; 1 restart\n",
        "class3d: running in iteration 2",
        "about 1 h 45 min left: will be queued again about 2 times",
    ] {
        assert!(told.out.contains(said), "{said}: {told:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&stage.run("status out --json", &[]).out).unwrap();
    assert_eq!((json["state"].as_str(), json["restarts"].as_u64()), (Some("running"), Some(1)));
    let job = &json["cluster"]["job"];
    assert_eq!(
        (job["state"].as_str(), job["time_left"].as_u64(), job["nodes"].as_str()),
        (Some("RUNNING"), Some(600), Some("n1"))
    );
    assert_eq!(json["outlook"]["restarts_to_come"], 2);
}

#[test]
fn a_job_that_waits_comes_back_by_itself_and_unknown_states_are_shown() {
    let stage = working();
    stage.tell(vec![finished(true)]);
    stage.jobid("7\n8 afterany:7\n");
    stage.fake(
        "squeue",
        "case \"$3\" in 7) echo '7|PENDING|low|1:10:00|1:10:00|2026-11-26T04:00:00|N/A||BeginTime';;\n\
         8) echo '8|PENDING|low|1:00|1:00|N/A|N/A||Dependency';; esac",
    );
    stage.fake("scontrol", UNKNOWN_JOB);
    let told = stage.run("status out", &[]);
    for said in
        ["job 7: PENDING (BeginTime: waits before it may start again)", "goes on by itself", "go on after it: 8"]
    {
        assert!(told.out.contains(said), "{said}: {told:?}");
    }
    stage.fake("squeue", "echo \"$3|HIBERNATING|low|1:10:00|9:00|N/A|N/A||FullMoon\"");
    let told = stage.run("status out", &[]);
    assert!(told.code == 0 && told.out.contains("job 7: HIBERNATING (FullMoon)"), "{told:?}");
}

#[test]
fn slurm_that_does_not_answer_is_told_and_hides_nothing() {
    let stage = working();
    let told = stage.run("status out", &[]);
    for said in [
        "job 7: nothing is known",
        "squeue is not on the PATH",
        "sacct is not on the PATH",
        "started on a-node",
        "iteration   2:",
    ] {
        assert!(told.out.contains(said), "{said}: {told:?}");
    }
    // Without accounting and long gone: that is no failure of anything.
    stage.fake("squeue", UNKNOWN_JOB).fake("scontrol", UNKNOWN_JOB).fake("sacct", "[ \"$1\" = -c ] && exit 0\nexit 1");
    let told = stage.run("status out", &[]);
    assert!(told.out.contains("Slurm does not know it any more") && !told.out.contains("no answer"), "{told:?}");
    stage.fake("sacct", NO_ACCOUNTING);
    let told = stage.run("status out", &[]);
    assert!(told.code == 0 && told.out.contains("no answer: sacct: Slurm accounting storage is disabled"), "{told:?}");
    // By the list of ended jobs, and by the accounting.
    stage.fake("sacct", "[ \"$1\" = -c ] && echo '7|NODE_FAIL|low'\n[ \"$1\" = -c ]");
    assert!(stage.run("status out", &[]).out.contains("job 7: NODE_FAIL in low"));
    stage.fake("sacct", "echo '7|FAILED|low|74:0|2026-11-26T04:00:00|n1'\necho '7.batch|FAILED||74:0|Unknown|n1'");
    let told = stage.run("status out", &[]);
    assert!(told.out.contains("job 7: FAILED on n1 in low") && told.out.contains("interrupted"), "{told:?}");
    stage.fake("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1");
    stage.fake("scontrol", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1");
    let told = stage.run("status out", &[]);
    assert!(told.code == 0 && told.out.contains("no answer: squeue: slurm_load_jobs error: Unable"), "{told:?}");
    stage.jobid("what\n");
    let told = stage.run("status out", &[]);
    assert!(told.code == 65 && told.err.contains("holds no number of a job"), "{told:?}");
}

#[test]
fn watching_ends_when_the_run_does() {
    let stage = working();
    stage.fake("squeue", RUNNING).scontrol(&[]);
    let mut child = stage.command("status out --watch", &[]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none(), "it ended before the run");
    stage.tell(vec![started(), finished(false)]);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.starts_with("class3d: running, iteration 2, 11.30 A, job 7 RUNNING\n"),
        "{text}"
    );
    assert!(text.ends_with("class3d: finished at 11.30 A\n"), "{text}");
    // Nobody works on it and no job is there: there is nothing to wait for.
    let idle = Stage::new("class3d");
    assert!(idle.run("status out --watch", &[]).out.ends_with("not started: `relion-rs resume` starts it\n"));
}

#[test]
fn watching_is_ended_by_ctrl_c() {
    let stage = working();
    stage.fake("squeue", RUNNING).scontrol(&[]);
    let child = stage.command("status out --watch", &[]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    let kill = format!("kill -INT {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}
