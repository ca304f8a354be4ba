//! `job begin`.

use std::fs;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use relion_rs::plan::progress;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::JobStarted;

use super::stage::NO_ACCOUNTING;
use super::stage::Stage;
use super::stage::Told;
use super::stage::UNKNOWN_JOB;
use super::stage::checkpoint;
use super::stage::finished;
use super::stage::job_started;
use super::stage::job_text;
use super::stage::started;
use super::stage::stopping;

fn seconds_from_now(line: &str) -> f64 {
    let end: f64 = line.trim().strip_prefix("export SLURM_JOB_END_TIME=").unwrap().parse().unwrap();
    end - progress::unix_seconds()
}

fn starts(stage: &Stage) -> Vec<JobStarted> {
    let starts = stage.events().into_iter().filter_map(|event| match event {
        Event::JobStarted(started) => Some(started),
        _ => None,
    });
    starts.collect()
}

#[test]
fn the_end_of_the_job_comes_from_slurm_or_from_the_script() {
    let stage = Stage::new("class3d");
    let told = stage.in_job("job begin out", &[]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!((3590.0..3601.0).contains(&seconds_from_now(&told.out)), "Slurm's variable: {told:?}");

    let no_end = ("SLURM_JOB_END_TIME", "");
    let told = stage.in_job("job begin out", &[("SLURM_JOB_END_TIME", "1000"), ("RELION_RS_TIME_LIMIT", "10")]);
    assert!((590.0..601.0).contains(&seconds_from_now(&told.out)), "of another job: {told:?}");
    let told = stage.in_job("job begin out", &[no_end, ("RELION_RS_TIME_LIMIT", "10")]);
    assert!((590.0..601.0).contains(&seconds_from_now(&told.out)), "the script's limit: {told:?}");
    let told = stage.in_job("job begin out", &[no_end]);
    assert!(
        told.out.trim() == "unset SLURM_JOB_END_TIME" && told.err.contains("squeue is not on the PATH"),
        "{told:?}"
    );

    stage.fake("squeue", "echo '7|RUNNING|low|1:00:00|20:00|2026-11-26T03:15:24|2026-11-26T04:15:24|n1|None'");
    let told = stage.in_job("job begin out", &[no_end, ("RELION_RS_TIME_LIMIT", "10")]);
    assert!((1190.0..1201.0).contains(&seconds_from_now(&told.out)), "squeue: {told:?}");
    stage.fake("squeue", "exit 1").scontrol(&[("TimeLimit", "00:15:00")]);
    let told = stage.in_job("job begin out", &[no_end]);
    assert!((290.0..301.0).contains(&seconds_from_now(&told.out)), "scontrol: {told:?}");
    stage.scontrol(&[("TimeLimit", "UNLIMITED")]);
    assert_eq!(stage.in_job("job begin out", &[no_end]).out.trim(), "unset SLURM_JOB_END_TIME");
}

#[test]
fn a_start_is_recorded_with_its_place() {
    let stage = Stage::new("class3d");
    fs::write(stage.run_dir().logs().join("slurm-7.out"), "twelve bytes").unwrap();
    let told = stage.in_job("job begin out", &[("SLURM_RESTART_COUNT", "2")]);
    assert!(told.err.contains("job 7, restart 2, on n1 (low), 1 h 00 min left"), "{told:?}");
    let start = starts(&stage).remove(0);
    assert_eq!((start.job.as_str(), start.restarts, start.log_bytes), ("7", 2, 12));
    assert_eq!((start.nodes.as_str(), start.partition.as_str(), start.continues), ("n1", "low", None));
    // Nobody wrote the number of a job that was submitted by hand.
    assert_eq!(fs::read_to_string(stage.run_dir().jobid()).unwrap(), "7\n");
    stage.jobid("5\n7 afterany:5\n");
    assert_eq!(stage.in_job("job begin out", &[("SLURM_RESTART_COUNT", "3")]).code, 0);
    assert_eq!(starts(&stage)[1].continues.as_deref(), Some("5"));
    let array = [("SLURM_ARRAY_JOB_ID", "6"), ("SLURM_ARRAY_TASK_ID", "3")];
    assert_eq!(stage.in_job("job begin out", &array).code, 0);
    assert_eq!(starts(&stage)[2].job, "6_3");
}

#[test]
fn nothing_is_started_when_nothing_is_left_to_do_or_outside_of_a_job() {
    let stage = Stage::new("class3d");
    assert_eq!(stage.run("job begin out", &[]).out, "");
    stage.tell(vec![started(), finished(true)]);
    assert!(stage.in_job("job begin out", &[]).out.starts_with("export "));
    stage.tell(vec![started(), finished(false)]);
    let told = stage.in_job("job begin out", &[]);
    assert!(told.out == "exit 0\n" && told.err.contains("the run is finished"), "{told:?}");
    assert_eq!(starts(&stage).len(), 1);
    let told = stage.in_job("job begin absent", &[]);
    assert!(told.code == 66 && told.err.contains("absent/plan.json"), "{told:?}");
}

#[test]
fn a_continuation_starts_after_everything_but_a_cancel_and_an_error() {
    let ended = |state: &str| format!("[ \"$4\" = 5 ] && echo '{}'", job_text(&[("JobState", state)]));
    for (state, goes_on) in [("CANCELLED", false), ("PREEMPTED", true), ("TIMEOUT", true), ("NODE_FAIL", true)] {
        let stage = Stage::new("class3d");
        stage.jobid("5\n7 afterany:5\n").fake("squeue", UNKNOWN_JOB).fake("scontrol", &ended(state));
        stage.tell(vec![job_started("5", 0), started(), checkpoint(0), stopping("SIGTERM")]);
        let told = stage.in_job("job begin out", &[]);
        assert_eq!((told.code, told.out.starts_with("export ")), (0, goes_on), "{state}: {told:?}");
        assert_eq!(told.out == "exit 0\n", !goes_on, "{state}: {told:?}");
    }
    // By the accounting, when Slurm itself has forgotten it; and when nobody knows.
    for (sacct, goes_on) in [("echo '5|CANCELLED by 0|low|0:0|Unknown|n1'", false), (NO_ACCOUNTING, true)] {
        let stage = Stage::new("class3d");
        stage.jobid("5\n7 afterany:5\n").fake("squeue", UNKNOWN_JOB).fake("scontrol", UNKNOWN_JOB).fake("sacct", sacct);
        stage.tell(vec![job_started("5", 0), started()]);
        let told = stage.in_job("job begin out", &[]);
        assert_eq!(told.out.starts_with("export "), goes_on, "{told:?}");
    }
    let stage = Stage::new("class3d");
    stage.jobid("5\n7 afterany:5\n");
    stage.tell(vec![job_started("5", 0), Event::Failed { code: 74, message: "disk full".to_owned() }]);
    let told = stage.in_job("job begin out", &[]);
    assert!(told.out == "exit 0\n" && told.err.contains("job 5 failed"), "{told:?}");
    // A person who submits it anew means it.
    stage.jobid("5\n7\n");
    assert!(stage.in_job("job begin out", &[]).out.starts_with("export "));
}

#[test]
fn ranks_that_outlived_their_job_are_asked_to_end() {
    let stage = Stage::new("class3d");
    let request = stage.run_dir().abort_request();
    let lock = stage.run_dir().lock().unwrap();
    // A first start has no such ranks: whoever works in the folder then is left alone, and the engine refuses.
    assert!(stage.in_job("job begin out", &[]).out.starts_with("export ") && !request.exists());
    let variables = [("SLURM_JOB_ID", "7"), ("SLURM_RESTART_COUNT", "1"), ("RELION_RS_TIME_LIMIT", "10")];
    let mut command = stage.command("job begin out", &variables);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !request.exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody was asked");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(lock);
    let told = Told::of(child.wait_with_output().unwrap());
    assert!(told.out.starts_with("export ") && told.err.contains("they have ended"), "{told:?}");
    assert!(!request.exists(), "it would stop this start");
}
