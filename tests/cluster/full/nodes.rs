//! Nodes that go: set down, or their slurmd killed. The run comes back on others, with the same bytes.

use nix::sys::signal::Signal;
use relion_rs::plan::progress::Outcome;

use crate::runs::Run;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;
use crate::submitted::PATIENCE;

const THREE: &str = "--partition low --nodes 3 --gpus 3";

fn four_nodes() -> Sandbox {
    Sandbox::start(Options { nodes: 4, ..Options::default() })
}

fn hosts(run: &Run, start: usize) -> Vec<String> {
    run.tables()[start].iter().map(|place| place.host.clone()).collect()
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_node_is_set_down() {
    let sandbox = four_nodes();
    let run = Run::new(&sandbox, "down");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.node_down(2);
    run.comes_back(&sandbox, job, 2);
    run.assert_done(&sandbox, job);
    assert_eq!(hosts(&run, 1), ["n1", "n3", "n4"]);
    assert_eq!(sandbox.field(job, "Restarts"), "1");
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_slurmd_is_killed_and_back_late() {
    let mut sandbox = four_nodes();
    let run = Run::new(&sandbox, "lost");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.kill_slurmd(2);
    // Until Slurm notices, the rank there works on.
    run.braked(&sandbox, "Slurm notices", || (sandbox.state(job) == "PENDING").then_some(()));
    run.comes_back(&sandbox, job, 2);
    sandbox.start_slurmd(2);
    run.assert_done(&sandbox, job);
    assert_eq!(hosts(&run, 1), ["n1", "n3", "n4"]);
    sandbox.wait_for("the node is back", PATIENCE, || (sandbox.node_state(2) == "idle").then_some(()));
}

/// The script and rank 0 are there, and live on; the folder is theirs until they notice that the others are gone.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn the_slurmd_of_the_first_node_is_killed() {
    let mut sandbox = four_nodes();
    let run = Run::new(&sandbox, "first");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.kill_slurmd(1);
    run.braked(&sandbox, "Slurm notices", || (sandbox.state(job) == "PENDING").then_some(()));
    sandbox.wait_for("the same bytes", PATIENCE, || {
        let state = sandbox.state(job);
        if state == "PENDING" {
            let _ = sandbox.text("scontrol", &format!("update jobid={job} StartTime=now"));
        }
        (state == "COMPLETED").then_some(())
    });
    run.assert_done(&sandbox, job);
    assert_eq!(hosts(&run, run.tables().len() - 1), ["n2", "n3", "n4"]);
}

/// Three nodes for three ranks: none can be left out, so the same job comes back.
#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_killed_rank_where_no_node_can_be_spared() {
    let sandbox = Sandbox::start(Options::default());
    let run = Run::new(&sandbox, "spare");
    let job = run.submit(&sandbox, THREE);
    run.wait_for_work(&sandbox, 1);
    sandbox.signal_rank(&run.root(), 0, Signal::SIGKILL);
    run.comes_back(&sandbox, job, 2);
    run.assert_done(&sandbox, job);
    assert!(run.log(job).contains("n1 cannot be left out of the next try"), "{}", run.log(job));
    assert_eq!(run.outcomes(), [Outcome::Requeued, Outcome::Done]);
}
