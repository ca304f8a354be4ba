//! What tasks see of their place: which of them are on a node, and which GPUs are theirs.

use std::time::Duration;

use crate::sandbox::Options;
use crate::sandbox::Sandbox;

const SHOW: &str = "echo $SLURM_PROCID $SLURM_LOCALID $SLURMD_NODENAME gpus=$CUDA_VISIBLE_DEVICES \
                    step=$SLURM_STEP_GPUS tasks=$SLURM_NTASKS nodes=$SLURM_NNODES end=$SLURM_JOB_END_TIME";

/// The lines of all tasks, by rank.
fn seen(sandbox: &Sandbox, flags: &str, step: &str) -> Vec<String> {
    let job = sandbox.submit(flags, &format!("srun {step} sh -c '{SHOW}'"));
    sandbox.wait_for_state(job, &["COMPLETED"], Duration::from_secs(60));
    let mut lines: Vec<_> = sandbox.log_of(job).lines().map(str::to_owned).collect();
    lines.sort();
    println!("{flags} | srun {step}");
    lines.iter().for_each(|line| println!("    {line}"));
    lines
}

#[test]
#[ignore = "needs root and Debian's slurm-wlm; make test-cluster"]
fn ranks_are_told_their_gpus() {
    let sandbox = Sandbox::start(Options::default());
    let wide = seen(&sandbox, "--nodes=3 --ntasks-per-node=1 --gres=gpu:1", "");
    let expected = |n: usize| format!("{n} 0 n{} gpus=0 step=0 tasks=3 nodes=3 end=", n + 1);
    assert_eq!(wide, [0, 1, 2].map(expected), "Slurm 22.05 tells no end");

    // Both see both: a rank chooses by its local number.
    let narrow = seen(&sandbox, "--nodes=1 --ntasks=2 --gres=gpu:2", "");
    let expected = |n: usize| format!("{n} {n} n1 gpus=0,1 step=0,1 tasks=2 nodes=1 end=");
    assert_eq!(narrow, [0, 1].map(expected));

    let request = "--nodes=1 --ntasks=2 --gpus-per-task=1";
    // Absolute numbers, because no cgroup hides the other one.
    let expected = |n: usize| format!("{n} {n} n1 gpus={n} step={n} tasks=2 nodes=1 end=");
    for step in ["", "--gpus-per-task=1", "--gpus-per-task=1 --gpu-bind=single:1"] {
        assert_eq!(seen(&sandbox, request, step), [0, 1].map(expected), "srun {step}");
    }
}
