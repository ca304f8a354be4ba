//! A rank dies and its step with it; the same script goes on with what was kept.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::runs::Run;
use crate::runs::program;
use crate::sandbox::Options;
use crate::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(300);

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn a_killed_rank_costs_only_what_was_not_kept() {
    let sandbox = Sandbox::start(Options { nodes: 1, ..Options::default() });
    let run = Run::prepared(&sandbox, "killed");
    let step = format!("srun --kill-on-bad-exit=1 {} {}", program("relion-rs-rank").display(), run.root().display());
    let script = format!("{step}; echo code=$?; {step}; echo code=$?");
    let job = sandbox.submit("--time=10 --gres=gpu:1", &script);
    sandbox.wait_for("parts of an iteration", PATIENCE, || (run.parts() >= 3).then_some(()));
    sandbox.signal_rank(&run.root(), 0, Signal::SIGKILL);
    sandbox.wait_for_state(job, &["COMPLETED"], PATIENCE);
    let log = sandbox.log_of(job);
    let codes: Vec<_> = log.lines().filter(|line| line.starts_with("code=")).collect();
    assert_eq!(codes, ["code=137", "code=0"], "{log}");
    let starts = run.starts();
    assert!(starts.len() == 2 && starts[1].0 > 0, "it goes on within the iteration: {starts:?}");
    run.assert_equals_whole();
}
