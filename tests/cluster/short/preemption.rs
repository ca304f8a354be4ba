//! A job of a higher partition takes the node; the refinement stops with its work kept and comes back.

use std::time::Duration;
use std::time::Instant;

use crate::processes;
use crate::runs::Run;
use crate::runs::program;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

/// Longer than the run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_requeued_job_ends_with_the_same_bytes() {
    let sandbox = Sandbox::start(Options { nodes: 1, ..Options::default() });
    let run = Run::prepared(&sandbox, "preempted");
    // A job that ends by itself in the grace time is not requeued: it stays until Slurm ends it.
    let script = format!(
        "echo restarts=${{SLURM_RESTART_COUNT:-0}}
        srun --kill-on-bad-exit=1 {} {} &
        rank=$!
        wait $rank
        code=$?
        echo code=$code
        if [ $code = 75 ]; then sleep 600; fi
        exit $code",
        program("relion-rs-rank").display(),
        run.root().display()
    );
    let job = sandbox.submit("--requeue --time=10 --gres=gpu:1", &script);
    sandbox.wait_for("parts of an iteration", PATIENCE, || (run.parts() >= 3).then_some(()));
    let ranks = processes::ranks(&run.root());
    assert_eq!(ranks.len(), 1);
    assert_eq!((ranks[0].variable("SLURM_PROCID"), ranks[0].variable("CUDA_VISIBLE_DEVICES")), ("0", "0"));

    let begin = Instant::now();
    let intruder = sandbox.preempt(3);
    sandbox.wait_for("the engine stops", PATIENCE, || (run.causes().len() == 1).then_some(()));
    println!("stopping {:.1} s after the other was submitted", begin.elapsed().as_secs_f64());
    assert_eq!(run.causes(), ["SIGTERM"]);
    sandbox.wait_for_state(job, &["PENDING"], PATIENCE);
    println!("requeued after {:.1} s: {}", begin.elapsed().as_secs_f64(), sandbox.text("squeue", "-l").unwrap());
    sandbox.wait_for_state(intruder, &["COMPLETED"], PATIENCE);
    sandbox.hurry(job);
    println!("runs again after {:.1} s", begin.elapsed().as_secs_f64());
    sandbox.wait_for_state(job, &["COMPLETED"], PATIENCE);

    assert_eq!(sandbox.field(job, "Restarts"), "1");
    let log = sandbox.log_of(job);
    for line in ["restarts=0", "code=75", "restarts=1", "code=0"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let starts = run.starts();
    assert!(starts.len() == 2 && starts[1].1 == 0, "nothing is done twice after a stop: {starts:?}");
    run.assert_equals_whole();
}
