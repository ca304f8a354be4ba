//! `cancel`.

use std::time::Duration;
use std::time::Instant;

use super::stage::Stage;
use super::stage::Told;
use super::stage::UNKNOWN_JOB;
use super::stage::finished;
use super::stage::job_started;
use super::stage::started;

const QUEUE: &str = "case \"$3\" in 7) echo '7|RUNNING|low|1:00:00|9:00|N/A|N/A|n1|None';;\n\
                     8) echo '8|PENDING|low|1:00|1:00|N/A|N/A||Dependency';;\n*) exit 1;; esac";

fn submitted() -> Stage {
    let stage = Stage::new("class3d");
    stage.jobid("5\n7\n8 afterany:7\n").fake("squeue", QUEUE).fake("scontrol", UNKNOWN_JOB).fake("scancel", "exit 0");
    stage.tell(vec![job_started("7", 0), started()]);
    stage
}

#[test]
fn the_job_and_what_waits_for_it_are_cancelled() {
    let stage = submitted();
    let told = stage.run("cancel out", &[]);
    assert!(told.code == 0 && told.out.contains("cancelled: job 7, 8; `relion-rs resume out` goes on"), "{told:?}");
    assert!(stage.calls().contains("scancel 7 8\n"), "{}", stage.calls());
    let told = stage.run("cancel out --json", &[]);
    assert_eq!(told.out.trim(), r#"{"cancelled":["7","8"],"checkpoint":false}"#);
    stage.fake("squeue", UNKNOWN_JOB).fake("sacct", "echo '7|COMPLETED|low|0:0|2026-11-26T04:00:00|n1'");
    stage.jobid("7\n");
    let told = stage.run("cancel out", &[]);
    assert!(told.code == 0 && told.out.contains("job 7 has ended: COMPLETED; there is nothing to cancel"), "{told:?}");
}

#[test]
fn a_checkpoint_is_asked_for_and_waited_for() {
    let stage = submitted();
    let request = stage.run_dir().abort_request();
    let command = &mut stage.command("cancel out --checkpoint-first --wait 60", &[]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !request.exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "no request");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(stage.calls().contains("scancel 8\n"), "what waits must not start: {}", stage.calls());
    std::fs::remove_file(&request).unwrap();
    stage.tell(vec![finished(true)]);
    let told = Told::of(child.wait_with_output().unwrap());
    assert!(told.code == 0 && told.out.contains("cancelled after a checkpoint: job 7, 8"), "{told:?}");
    assert!(stage.calls().contains("scancel 7\n"), "{}", stage.calls());
}

#[test]
fn no_checkpoint_in_time_is_told_and_the_job_is_cancelled_all_the_same() {
    let stage = submitted();
    let told = stage.run("cancel out --checkpoint-first --wait 1", &[]);
    assert!(told.code == 0 && told.err.contains("no checkpoint within 1 s"), "{told:?}");
    assert!(stage.calls().contains("scancel 7\n") && !stage.run_dir().abort_request().exists());
    // One that waits has nothing to save.
    stage.jobid("8\n");
    let told = stage.run("cancel out --checkpoint-first", &[]);
    assert!(told.code == 0 && told.out.contains("cancelled: job 8"), "{told:?}");
}

#[test]
fn what_cannot_be_cancelled_is_an_error_with_a_remedy() {
    let stage = submitted();
    std::fs::remove_file(stage.path("slurm/scancel")).unwrap();
    let told = stage.run("cancel out", &[]);
    assert!(told.code == 69 && told.err.contains("`scancel 7 8`"), "{told:?}");
    stage.fake("scancel", "echo 'scancel: error: Kill job error on job id 7: Access/permission denied' >&2; exit 1");
    let told = stage.run("cancel out", &[]);
    assert!(told.code == 69 && told.err.contains("permission denied"), "{told:?}");
    // Nobody can say whether the job is there: it may be.
    for name in ["squeue", "scontrol"] {
        std::fs::remove_file(stage.path("slurm").join(name)).unwrap();
    }
    stage.fake("scancel", "exit 0");
    assert_eq!(stage.run("cancel out", &[]).code, 0);
    let told = stage.run("cancel out --checkpoint-first", &[]);
    assert!(told.code == 69 && told.err.contains("squeue is not on the PATH"), "{told:?}");
    assert_eq!(stage.run("cancel absent", &[]).code, 66);
    assert_eq!(stage.run("cancel out --wait 3", &[]).code, 64);
}

#[test]
fn a_run_that_was_not_submitted_is_stopped_in_another_way() {
    let stage = Stage::new("class3d");
    let told = stage.run("cancel out", &[]);
    assert!(told.code == 64 && told.err.contains("nothing works on it"), "{told:?}");
    stage.tell(vec![started()]);
    let told = stage.run("cancel out", &[]);
    assert!(told.code == 64 && told.err.contains("runs on a-node as process 4194305"), "{told:?}");
    assert!(told.err.contains("Ctrl-C") && told.err.contains("--checkpoint-first"), "{told:?}");
    stage.tell(vec![finished(true)]);
    assert!(stage.run("cancel out", &[]).err.contains("nothing works on it"));
    assert_eq!(stage.calls(), "");
}
