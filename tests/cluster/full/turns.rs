//! A run in several turns: by time, by a person's signal, by a partition that cancels, on other numbers of ranks.

use relion_rs::plan::progress::Outcome;

use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

const THREE: &str = "--partition low --nodes 3 --gpus 3";

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn out_of_time_twice() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "late");
    let job = run.submit(&sandbox, &format!("{THREE} --time 1 --signal-margin-seconds 20"));
    for nth in 1..=2 {
        run.wait_for_work(&sandbox, nth);
        run.braked(&sandbox, "the end of its time", || (run.ends().len() == nth).then_some(()));
        sandbox.wait_for_state(job, &["PENDING"], PATIENCE);
        if nth == 2 {
            sandbox.give_time(job);
        }
        sandbox.hurry(job);
    }
    run.assert_done(&sandbox, job);
    assert_eq!(run.outcomes(), [Outcome::Requeued, Outcome::Requeued, Outcome::Done], "{:?}", run.ends());
    assert!(
        run.ends()[..2].iter().all(|end| end.why.contains("the time of the job is nearly over")),
        "{:?}",
        run.ends()
    );
    assert_eq!(sandbox.field(job, "Restarts"), "2");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn scontrol_requeue_and_a_signal_by_hand() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "hand");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.text("scontrol", &format!("requeue {job}")).unwrap();
    run.comes_back(&sandbox, job, 2);
    sandbox.text("scancel", &format!("--signal=USR2 {job}")).unwrap();
    sandbox.wait_for("the engine stops", PATIENCE, || run.causes().last().filter(|c| *c == "SIGUSR2").map(drop));
    run.comes_back(&sandbox, job, 3);
    run.assert_done(&sandbox, job);
    assert_eq!(sandbox.field(job, "Restarts"), "2");
    let ends = run.ends();
    assert!(ends.iter().any(|end| end.why.contains("SIGUSR2 was sent far from the time limit")), "{ends:?}");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn on_three_then_two_then_five_ranks() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "ranks");
    let mut job = run.submit(&sandbox, THREE);
    for (nth, words) in [(1, "--nodes 2 --gpus 2"), (2, "--nodes 3 --gpus 5 --gpu-request gpus-per-task")] {
        run.wait_for_work(&sandbox, nth);
        let told = run.tell(&sandbox, "cancel out --checkpoint-first");
        assert!(told.contains("cancelled after a checkpoint"), "{told}");
        sandbox.wait_for("the job's end", PATIENCE, || {
            ["CANCELLED", "COMPLETED", "FAILED"].contains(&sandbox.state(job).as_str()).then_some(())
        });
        run.assert_stays(&sandbox, job, &sandbox.state(job));
        job = run.submitted(&sandbox, &format!("resume out {words}"));
    }
    run.assert_done(&sandbox, job);
    assert_eq!(run.tables().iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 5]);
    let starts = run.starts();
    assert!(starts.iter().all(|start| start.1 == 0), "nothing is done twice: {starts:?}");
}

/// Slurm cancels what it preempts there; the run goes on in a job that was queued behind it.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn where_preempted_jobs_are_cancelled_a_continuation_goes_on() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "chain");
    let told = run.json(&sandbox, &format!("submit {} --partition lowcancel --nodes 3 --gpus 3", crate::runs::JOB));
    let jobs: Vec<u32> =
        told["job_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(jobs.len(), 4, "{told}");
    run.wait_for_work(&sandbox, 1);
    let intruder = sandbox.preempt(2);
    sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
    run.assert_done(&sandbox, jobs[1]);
    assert_eq!(run.outcomes(), [Outcome::Continued, Outcome::Done], "{:?}", run.ends());
    // Those behind it have nothing to do.
    for job in &jobs[2..] {
        sandbox.wait_for_state(*job, &["CANCELLED"], PATIENCE);
    }
}

/// Nodes without `scontrol`: a preempted job waits for Slurm to queue it again; without `sacct` nobody misses it.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn without_scontrol_on_the_nodes() {
    let sandbox = Sandbox::start(Options { hidden: &["scontrol", "sacct"], ..Options::default() });
    let run = Run::new(&sandbox, "hidden");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    let intruder = sandbox.preempt(2);
    sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
    run.comes_back(&sandbox, job, 2);
    run.assert_done(&sandbox, job);
    assert!(run.log(job).contains("stays alive until Slurm ends it or queues it again"), "{}", run.log(job));
    assert_eq!(sandbox.field(job, "Restarts"), "1");

    // With continuations by dependency nobody needs it.
    let run = Run::new(&sandbox, "chain");
    let first = run.submit(&sandbox, &format!("{THREE} --continuation dependency"));
    run.wait_for_work(&sandbox, 1);
    sandbox.text("scancel", &format!("--signal=USR2 {first}")).unwrap();
    run.wait_for_work(&sandbox, 2);
    run.assert_done(&sandbox, first + 1);
    assert_eq!(run.outcomes(), [Outcome::Continued, Outcome::Done], "{:?}", run.ends());
}
