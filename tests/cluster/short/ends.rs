//! The ends of a job that come most often: preempted, out of time, a rank killed, cancelled.

use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use relion_rs::plan::progress::Outcome;

use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

/// What is promised for a dead rank, and what a busy machine and Slurm's own looks take beside that.
const SOON: Duration = Duration::from_secs(30);
const THREE: &str = "--partition low --nodes 3 --gpus 3";

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn preempted_twice_it_comes_back_by_itself() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "preempted");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    for nth in 1..=2 {
        let begin = Instant::now();
        let intruder = sandbox.preempt(2);
        sandbox.wait_for("the engine stops", PATIENCE, || (run.causes().len() == nth).then_some(()));
        println!("stopping {:.1} s after the other was submitted", begin.elapsed().as_secs_f64());
        sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
        run.comes_back(&sandbox, job, nth + 1);
        println!("works again after {:.1} s", begin.elapsed().as_secs_f64());
    }
    run.assert_done(&sandbox, job);
    assert_eq!(run.causes(), ["SIGTERM", "SIGTERM"]);
    assert_eq!(run.outcomes(), [Outcome::Requeued, Outcome::Requeued, Outcome::Done], "{:?}", run.ends());
    assert_eq!(sandbox.field(job, "Restarts"), "2");
    let starts = run.starts();
    assert!(starts.len() == 3 && starts.iter().all(|start| start.1 == 0), "nothing is done twice: {starts:?}");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn out_of_time_it_goes_on_in_the_next_turn() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "late");
    let job = run.submit(&sandbox, &format!("{THREE} --time 1 --signal-margin-seconds 20"));
    run.wait_for_work(&sandbox, 1);
    let begin = Instant::now();
    run.braked(&sandbox, "the end of its time", || (run.ends().len() == 1).then_some(()));
    println!("stopped {:.1} s after it was at work", begin.elapsed().as_secs_f64());
    sandbox.give_time(job);
    run.comes_back(&sandbox, job, 2);
    run.assert_done(&sandbox, job);
    let ends = run.ends();
    assert_eq!(run.outcomes(), [Outcome::Requeued, Outcome::Done], "{ends:?}");
    assert!(ends[0].why.contains("the time of the job is nearly over"), "{ends:?}");
    assert!(
        ["SIGUSR2", "the end of the time that was given"].contains(&run.causes()[0].as_str()),
        "{:?}",
        run.causes()
    );
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_killed_rank_ends_the_job_which_comes_back_without_its_node() {
    let sandbox = Sandbox::start(Options { nodes: 4, ..Options::default() });
    let run = Run::new(&sandbox, "killed");
    let first = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.signal_rank(&run.root(), 1, Signal::SIGKILL);
    let begin = Instant::now();
    sandbox.wait_for("the job's end", SOON, || (run.ends().len() == 1).then_some(()));
    println!("ended {:.1} s after rank 1 was killed", begin.elapsed().as_secs_f64());
    sandbox.wait_for_state(first, &["FAILED"], PATIENCE);
    let last = run.last_line(first);
    println!("{last}");
    assert!(last.contains("rank 1 on n2") && last.contains("Killed") && last.contains("without n2"), "{last}");
    let second = run.last_job();
    assert_ne!(second, first);
    run.assert_done(&sandbox, second);
    assert_eq!(sandbox.field(second, "ExcNodeList"), "n2");
    let hosts: Vec<String> = run.tables()[1].iter().map(|place| place.host.clone()).collect();
    assert_eq!(hosts, ["n1", "n3", "n4"]);
    run.assert_goes_on();
    assert_eq!(run.outcomes(), [Outcome::Continued, Outcome::Done]);
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn cancelled_it_stays_so_until_it_is_resumed() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "cancelled");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.text("scancel", &job.to_string()).unwrap();
    sandbox.wait_for_state(job, &["CANCELLED"], PATIENCE);
    run.assert_stays(&sandbox, job, "CANCELLED");
    assert_eq!(run.outcomes(), [Outcome::Stopped], "{:?}", run.ends());
    assert!(run.last_line(job).contains("cancelled"), "{}", run.log(job));
    let again = run.submitted(&sandbox, "resume out");
    run.assert_done(&sandbox, again);
    run.assert_goes_on();
}
