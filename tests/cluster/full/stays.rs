//! What does not come back: enough restarts, requeueing switched off, a real error.

use std::fs;
use std::os::unix::fs::symlink;

use relion_rs::plan::progress::Outcome;

use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

const TWO: &str = "--partition low --nodes 2 --gpus 2";

fn two_nodes() -> Sandbox {
    Sandbox::start(Options { nodes: 2, ..Options::default() })
}

/// Ended by itself in the grace time of a preemption: for Slurm that is a failure and no reason to start it again.
fn gives_up(sandbox: &Sandbox, run: &Run, job: u32, why: &str) {
    let intruder = sandbox.preempt(1);
    sandbox.wait_for_state(job, &["FAILED"], PATIENCE);
    sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
    run.assert_stays(sandbox, job, "FAILED");
    let last = run.last_line(job);
    assert!(last.contains(why) && last.contains("relion-rs resume"), "{last}");
    assert_eq!(run.outcomes().last(), Some(&Outcome::Paused));
    assert_eq!(sandbox.field(job, "ExitCode"), "75:0");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn after_the_last_restart_a_person_goes_on() {
    let sandbox = two_nodes();
    let run = Run::new(&sandbox, "cap");
    let job = run.submit(&sandbox, &format!("{TWO} --max-restarts 1"));
    run.wait_for_work(&sandbox, 1);
    let intruder = sandbox.preempt(1);
    sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
    run.comes_back(&sandbox, job, 2);
    gives_up(&sandbox, &run, job, "restarted 1 times, which is the most");
    let again = run.submitted(&sandbox, "resume out");
    run.assert_done(&sandbox, again);
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn requeueing_can_be_switched_off() {
    let sandbox = two_nodes();
    let run = Run::new(&sandbox, "off");
    let job = run.submit(&sandbox, &format!("{TWO} --requeue false"));
    run.wait_for_work(&sandbox, 1);
    gives_up(&sandbox, &run, job, "requeueing is switched off");
}

/// The stack loses its end while the job waits in the queue.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_real_error_is_never_queued_again() {
    let sandbox = two_nodes();
    let run = Run::new(&sandbox, "error");
    let linked = run.folder.join("set");
    let from = fs::read_link(&linked).unwrap();
    fs::remove_file(&linked).unwrap();
    fs::create_dir(&linked).unwrap();
    let mut stacks = vec![];
    for entry in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap()) {
        let here = linked.join(entry.file_name());
        if entry.path().extension().is_some_and(|end| end == "mrcs") {
            fs::copy(entry.path(), &here).unwrap();
            stacks.push(here);
        } else {
            symlink(entry.path(), here).unwrap();
        }
    }
    let job = run.submit(&sandbox, &format!("{TWO} -- --hold"));
    let stack = fs::File::options().write(true).open(&stacks[0]).unwrap();
    let bytes = stack.metadata().unwrap().len();
    stack.set_len(bytes / 2).unwrap();
    sandbox.text("scontrol", &format!("release {job}")).unwrap();
    sandbox.wait_for_state(job, &["FAILED"], PATIENCE);
    run.assert_stays(&sandbox, job, "FAILED");
    let last = run.last_line(job);
    println!("{last}");
    assert!(last.contains("mrcs") && last.ends_with("it is not started again"), "{last}");
    assert_eq!(run.outcomes(), [Outcome::Failed]);
    assert_eq!(sandbox.field(job, "ExitCode"), "65:0");
    assert_eq!(sandbox.field(job, "Restarts"), "0");
}
