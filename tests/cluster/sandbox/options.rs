//! What may differ between sandboxes.

#[derive(Clone, Debug)]
pub struct Options {
    /// Their names are n1, n2 ...
    pub nodes: usize,
    /// Of each node.
    pub gpus: usize,
    /// From SIGTERM to SIGKILL of a job that is preempted.
    pub grace_seconds: u32,
    /// Until a node that does not answer is down, and its jobs are requeued.
    pub slurmd_timeout_seconds: u32,
    /// With a database, so that sacct and sacctmgr work.
    pub accounting: bool,
    /// At preemption jobs get the signal of their `--signal` instead of SIGTERM.
    pub user_signal_at_preemption: bool,
    /// Refuses at once what no partition will ever run, instead of queueing it.
    pub limits_are_enforced: bool,
    /// Commands that are not on the PATH of jobs.
    pub hidden: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            gpus: 2,
            grace_seconds: 20,
            slurmd_timeout_seconds: 30,
            accounting: false,
            user_signal_at_preemption: false,
            limits_are_enforced: false,
            hidden: &[],
        }
    }
}
