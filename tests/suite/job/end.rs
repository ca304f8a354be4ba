//! `job end`: what is asked of Slurm, what is written down, and the last line of the log.

use std::fs;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::Outcome;

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

/// A run whose engine has been stopped in job 7.
fn stopped(cause: &str) -> Stage {
    let stage = Stage::new("class3d");
    stage.tell(vec![job_started("7", 0), started(), checkpoint(0), stopping(cause)]);
    stage.jobid("7\n").scontrol(&[]);
    stage
}

/// Checks code, outcome and last line; the line is what was written down.
fn ends(stage: &Stage, told: &Told, code: i32, outcome: Outcome, said: &str) {
    assert_eq!(told.code, code, "{told:?}");
    let end = stage.last_end();
    assert_eq!(end.outcome, outcome, "{told:?}");
    assert!(told.last_line().contains(said), "{told:?}");
    assert_eq!(told.last_line(), format!("relion-rs: {}", end.why));
}

fn is_requeued(stage: &Stage) -> bool {
    stage.calls().contains("scontrol requeue 7")
}

#[test]
fn a_finished_run_takes_its_continuations_with_it() {
    let stage = stopped("SIGUSR2");
    stage.tell(vec![finished(false)]);
    stage.jobid("7\n8 afterany:7\n9 afterany:8\n5\n");
    stage.fake("squeue", "case \"$3\" in 8|9) echo \"$3|PENDING|low|1:00|1:00|N/A|N/A||Dependency\";; esac");
    stage.fake("scontrol", UNKNOWN_JOB).fake("scancel", "exit 0");
    let told = stage.in_job("job end out --code 0", &[]);
    ends(&stage, &told, 0, Outcome::Done, "the run is finished");
    assert!(stage.calls().contains("scancel 8 9\n"), "{}", stage.calls());
    // Where it cannot, they find out by themselves.
    fs::remove_file(stage.path("slurm/scancel")).unwrap();
    let told = stage.in_job("job end out --code 0", &[]);
    assert!(told.code == 0 && told.out.contains("8, 9 will end at once"), "{told:?}");
}

#[test]
fn the_end_of_the_time_and_a_preemption_are_answered_with_a_requeue() {
    let time = stopped("the end of the time that was given");
    let told = time.in_job("job end out --code 75", &[]);
    ends(&time, &told, 75, Outcome::Requeued, "nearly over: it is queued again (restart 1 of at most 50)");
    assert!(is_requeued(&time));

    let near = stopped("SIGUSR2");
    let end = format!("{:.0}", relion_rs::plan::progress::unix_seconds() + 100.0);
    let told = near.in_job("job end out --code 75 --margin 60", &[("SLURM_JOB_END_TIME", &end)]);
    ends(&near, &told, 75, Outcome::Requeued, "nearly over");
    assert!(is_requeued(&near));

    for cause in ["SIGTERM", "SIGUSR2"] {
        let preempted = stopped(cause);
        preempted.scontrol(&[("PreemptTime", "2026-11-26T03:20:00"), ("EndTime", "2026-11-26T03:20:10")]);
        let told = preempted.in_job("job end out --code 75", &[]);
        ends(&preempted, &told, 75, Outcome::Requeued, "being preempted");
        assert!(is_requeued(&preempted));
    }
}

#[test]
fn a_cancelled_job_stays_cancelled_whatever_its_ranks_ended_with() {
    for code in [75, 137, 143] {
        let stage = stopped("SIGTERM");
        stage.scontrol(&[("JobState", "COMPLETING"), ("EndTime", "2026-11-26T03:20:00")]);
        let told = stage.in_job(&format!("job end out --code {code}"), &[]);
        ends(&stage, &told, 75, Outcome::Stopped, "cancelled and stays so; `relion-rs resume out` goes on");
        assert!(!is_requeued(&stage));
    }
    let asked = stopped("RELION_JOB_ABORT_NOW");
    let told = asked.in_job("job end out --code 75", &[]);
    ends(&asked, &told, 75, Outcome::Stopped, "somebody stopped the run");
    assert!(!is_requeued(&asked));
    // Queued again by Slurm or by hand already: nothing is to be asked.
    let back = stopped("SIGTERM");
    back.scontrol(&[("JobState", "COMPLETING"), ("Restarts", "1")]);
    let told = back.in_job("job end out --code 75", &[]);
    ends(&back, &told, 75, Outcome::Requeued, "Slurm has queued this job again");
    assert!(!is_requeued(&back));
}

#[test]
fn an_unexplained_stop_is_waited_out() {
    let stage = stopped("SIGTERM");
    let told = stage.in_job("job end out --code 75 --patience 0.3", &[]);
    assert!(told.out.contains("staying alive"), "{told:?}");
    ends(&stage, &told, 75, Outcome::Paused, "nothing followed");
    assert!(!is_requeued(&stage));
    // No scancel sends this one by itself, and Slurm says that the job runs.
    let user = stopped("SIGUSR2");
    let told = user.in_job("job end out --code 75 --patience 0.3", &[]);
    ends(&user, &told, 75, Outcome::Requeued, "far from the time limit");
    assert!(is_requeued(&user));
    // Slurm makes up its mind while the job stays alive; signals do not end it.
    let later = stopped("SIGTERM");
    let (plain, preempted) = (job_text(&[]), job_text(&[("PreemptTime", "2026-11-26T03:20:00")]));
    let first = later.path("first").display().to_string();
    later.fake(
        "scontrol",
        &format!("[ $2 = show ] || exit 0\n[ -e {first} ] && echo '{preempted}' || echo '{plain}'\n: > {first}"),
    );
    let end = format!("{:.0}", relion_rs::plan::progress::unix_seconds() + 3600.0);
    let variables = [("SLURM_JOB_ID", "7"), ("SLURM_JOB_END_TIME", end.as_str())];
    let begin = Instant::now();
    let mut command = later.command("job end out --code 75 --patience 60", &variables);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !later.path("first").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = format!("kill -TERM {0}; kill -USR2 {0}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let told = Told::of(child.wait_with_output().unwrap());
    ends(&later, &told, 75, Outcome::Requeued, "being preempted");
    assert!(is_requeued(&later) && begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_real_error_is_never_started_again() {
    let stage = stopped("SIGTERM");
    stage.tell(vec![Event::Failed { code: 74, message: "a.h5: cannot write\n  fix: make room".to_owned() }]);
    for code in [74, 137] {
        let told = stage.in_job(&format!("job end out --code {code}"), &[]);
        ends(&stage, &told, 74, Outcome::Failed, "code 74: a.h5: cannot write fix: make room; it is not started again");
    }
    let silent = stopped("SIGTERM");
    let told = silent.in_job("job end out --code 127", &[]);
    ends(&silent, &told, 70, Outcome::Failed, "the ranks ended with code 127");
    let memory = stopped("SIGTERM");
    fs::write(memory.run_dir().logs().join("slurm-7.out"), "srun: error: n2: task 1: Out Of Memory\n").unwrap();
    let told = memory.in_job("job end out --code 137", &[]);
    ends(&memory, &told, 71, Outcome::Failed, "more memory");
    assert!(![stage, silent, memory].iter().any(is_requeued));
}

/// A `squeue` that lists only what waits for other jobs.
fn waiting(lines: &str) -> String {
    format!("case \"$2\" in -t) echo '{lines}';; *) exit 1;; esac")
}

#[test]
fn a_lost_rank_comes_back_without_its_node_where_that_is_possible() {
    let stage = stopped("SIGTERM");
    fs::write(stage.run_dir().logs().join("slurm-7.out"), "srun: error: n2: task 1: Killed\n").unwrap();
    // Without sbatch on the node: the same job, perhaps on the same node.
    fs::write(stage.run_dir().script(), "#!/bin/sh\n").unwrap();
    stage.scontrol(&[("ExcNodeList", "n5")]).fake("squeue", &waiting("13 afterok:70(unfulfilled)"));
    let told = stage.in_job("job end out --code 137", &[("SLURM_JOB_NODELIST", "n[1-2]")]);
    assert!(told.out.contains("n2 cannot be left out of the next try: sbatch is not on the PATH"), "{told:?}");
    ends(&stage, &told, 75, Outcome::Requeued, "rank 1 on n2 ended by a signal (Killed)");
    assert!(is_requeued(&stage));

    fs::remove_file(stage.path("calls")).unwrap();
    stage.fake("sbatch", "[ -z \"$SLURM_JOB_ID$SLURM_RESTART_COUNT\" ] && echo 8");
    let told = stage.in_job("job end out --code 137", &[("SLURM_RESTART_COUNT", "0")]);
    ends(&stage, &told, 75, Outcome::Continued, "job 8 is queued, without n2");
    let call = "sbatch --parsable --dependency=afterany:7 --exclude=n5,n2 out/job.sbatch\n";
    assert!(stage.calls().contains(call) && !is_requeued(&stage), "{}", stage.calls());
    assert_eq!(fs::read_to_string(stage.run_dir().jobid()).unwrap(), "7\n8 afterany:7\n");

    // A job of --then waits for the end of this one, which that would be.
    fs::remove_file(stage.path("calls")).unwrap();
    stage.jobid("7\n").fake("squeue", &waiting("12 afterok:7(unfulfilled)"));
    let told = stage.in_job("job end out --code 137", &[]);
    assert!(told.out.contains("n2 is not left out of the next try: jobs wait for this one (12)"), "{told:?}");
    assert!(!stage.calls().contains("sbatch") && is_requeued(&stage), "{told:?}");

    stage.fake("squeue", &waiting(""));
    stage
        .jobid("7\n")
        .fake("sbatch", "echo 'sbatch: error: Requested node configuration is not available' >&2; exit 1");
    let told = stage.in_job("job end out --code 137", &[]);
    assert!(told.out.contains("not available") && is_requeued(&stage), "{told:?}");
    // A continuation waits already: another job would work beside it.
    fs::remove_file(stage.path("calls")).unwrap();
    stage.jobid("7 8\n");
    let told = stage.in_job("job end out --code 137", &[]);
    assert!(!stage.calls().contains("sbatch") && is_requeued(&stage), "{told:?}");
    fs::remove_file(stage.path("calls")).unwrap();
    stage.jobid("7\n");
    let off = ("RELION_RS_EXCLUDE_BROKEN_NODES", "false");
    stage.in_job("job end out --code 137", &[off]);
    let told = stage.in_job("job end out --code 137 --no-exclude", &[]);
    assert!(!stage.calls().contains("sbatch") && is_requeued(&stage), "{told:?}");
}

#[test]
fn a_lost_node_ends_srun_with_0_and_is_no_finished_run() {
    let stage = stopped("SIGTERM");
    stage.tell(vec![finished(true)]);
    stage.jobid("7\n8 afterany:7\n").fake("squeue", "echo '8|PENDING|low|1:00|1:00|N/A|N/A||Dependency'");
    fs::write(stage.run_dir().logs().join("slurm-7.out"), "srun: error: Node failure on n3\n").unwrap();
    stage.fake("scancel", "exit 0");
    let told = stage.in_job("job end out --code 0", &[]);
    ends(&stage, &told, 75, Outcome::Requeued, "node n3 failed: it is queued again");
    stage.scontrol(&[("JobState", "COMPLETING"), ("Restarts", "1")]);
    let told = stage.in_job("job end out --code 0", &[]);
    ends(&stage, &told, 75, Outcome::Requeued, "Slurm has queued this job again");
    assert!(!stage.calls().contains("scancel"), "{}", stage.calls());
}

#[test]
fn a_silent_rank_is_a_lost_one() {
    let stage = stopped("SIGTERM");
    let message = "rank 1 on n2: gives no sign of life for 21 s\n  fix: Look at that node".to_owned();
    stage.tell(vec![Event::Failed { code: 70, message }]);
    fs::write(stage.run_dir().script(), "#!/bin/sh\n").unwrap();
    stage.fake("squeue", &waiting(""));
    stage.fake("sbatch", "echo '8;cluster'");
    let told = stage.in_job("job end out --code 70", &[("SLURM_JOB_NODELIST", "n[1-2]")]);
    let said = "rank 1 on n2 gives no sign of life for 21 s: job 8 is queued, without n2";
    ends(&stage, &told, 75, Outcome::Continued, said);
}

#[test]
fn where_slurm_cannot_be_asked_a_person_or_a_continuation_goes_on() {
    let stage = stopped("the end of the time that was given");
    fs::remove_file(stage.path("slurm/scontrol")).unwrap();
    let told = stage.in_job("job end out --code 75", &[]);
    let said = "scontrol is not on the PATH on this node: `scontrol requeue 7` on a login node queues it again";
    ends(&stage, &told, 75, Outcome::Paused, said);
    stage.jobid("7\n8 afterany:7\n");
    stage.fake("squeue", "[ \"$3\" = 8 ] && echo '8|PENDING|low|1:00|1:00|N/A|N/A||Dependency'");
    let told = stage.in_job("job end out --code 75", &[]);
    ends(&stage, &told, 75, Outcome::Continued, "job 8 goes on");
    // squeue tells of a preemption and of a cancel too.
    let preempted = stopped("SIGTERM");
    fs::remove_file(preempted.path("slurm/scontrol")).unwrap();
    preempted.fake("squeue", "echo 'RUNNING 0 2026-11-26T03:15:29'");
    // Slurm will queue it again, if it is still there then.
    let told = preempted.in_job("job end out --code 75 --patience 0.1", &[]);
    ends(&preempted, &told, 75, Outcome::Paused, "the job is being preempted");
    assert!(told.out.contains("stays alive until Slurm ends it or queues it again"), "{told:?}");
    preempted.fake("squeue", "echo 'COMPLETING 0 N/A'");
    let told = preempted.in_job("job end out --code 75", &[]);
    ends(&preempted, &told, 75, Outcome::Stopped, "cancelled");
    // Submitted with --no-requeue.
    let refused = stopped("the end of the time that was given");
    let refusal = "echo 'Requested operation is presently disabled for job 7' >&2; exit 1";
    refused.fake("scontrol", &format!("[ $2 = show ] && echo '{}' && exit 0\n{refusal}", job_text(&[])));
    refused.fake("sacct", NO_ACCOUNTING);
    let told = refused.in_job("job end out --code 75", &[]);
    ends(&refused, &told, 75, Outcome::Paused, "presently disabled");
}

#[test]
fn restarts_have_an_end_and_a_switch() {
    let off = stopped("the end of the time that was given");
    for told in [
        off.in_job("job end out --code 75 --no-requeue", &[]),
        off.in_job("job end out --code 75", &[("RELION_RS_REQUEUE", "false")]),
    ] {
        ends(&off, &told, 75, Outcome::Paused, "requeueing is switched off; `relion-rs resume out` goes on");
    }
    let spent = stopped("the end of the time that was given");
    spent.tell(vec![job_started("7", 1), stopping("the end of the time that was given"), checkpoint(1)]);
    let told = spent.in_job("job end out --code 75", &[("SLURM_RESTART_COUNT", "1"), ("RELION_RS_MAX_RESTARTS", "1")]);
    ends(&spent, &told, 75, Outcome::Paused, "it was restarted 1 times, which is the most");
    let stuck = stopped("SIGTERM");
    stuck.tell((1..=3).map(|restart| job_started("7", restart)).collect());
    stuck.scontrol(&[("Restarts", "3")]);
    let told = stuck.in_job("job end out --code 137 --no-exclude", &[("SLURM_RESTART_COUNT", "3")]);
    ends(&stuck, &told, 75, Outcome::Paused, "the last 3 restarts have made no progress");
    assert!(![off, spent, stuck].iter().any(is_requeued));
}

#[test]
fn outside_of_a_job_and_without_a_run_there_is_nothing_to_decide() {
    let stage = stopped("SIGTERM");
    for (code, wanted, said) in [(0, 0, "finished"), (75, 75, "relion-rs resume out"), (137, 70, "code 137")] {
        let told = stage.run(&format!("job end out --code {code}"), &[]);
        assert!(told.code == wanted && told.last_line().contains(said), "{told:?}");
    }
    assert_eq!(stage.calls(), "");
    assert_eq!(stage.in_job("job end absent --code 75", &[]).code, 66);
    assert_eq!(stage.in_job("job end out", &[]).code, 64);
}
