//! What is known of the cluster, and what follows from it for all jobs.

use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::Continuation;
use crate::plan::Plan;
use crate::refine::plan::plan as count;
use crate::slurm::partition;
use crate::slurm::partition::Partition;

use super::resources::Need;

/// A partition with this mode ends what it preempts, for good.
const CANCEL: &str = "CANCEL";

/// What is known of the cluster.
pub struct Site {
    pub partition: Option<Partition>,
    pub notes: Vec<String>,
}

/// What `sinfo` says. Without it, the settings alone decide.
///
/// # Errors
/// `Usage` for a partition that is not there.
pub fn site(cluster: &Cluster) -> Result<Site> {
    let all = match partition::partitions() {
        Ok(all) if !all.is_empty() => all,
        Ok(_) => {
            let notes = vec!["sinfo shows no partition: nothing is checked against the nodes".to_owned()];
            return Ok(Site { partition: None, notes });
        }
        Err(failure) => {
            let notes = vec![format!("{failure}: nothing is checked against the nodes")];
            return Ok(Site { partition: None, notes });
        }
    };
    let partition = partition::choose(&all, cluster.partition.as_deref())?.cloned();
    let mut notes = Vec::new();
    if let Some(partition) = &partition {
        if !partition.is_up {
            notes.push(format!("the partition {} is down: the job will wait", partition.name));
        } else if !partition.has_usable_node() {
            notes.push(format!("all nodes of {} are down or drained: the job will wait", partition.name));
        }
    }
    Ok(Site { partition, notes })
}

/// `auto` is decided by what happens to a preempted job.
pub fn continuation(cluster: &Cluster, partition: Option<&Partition>) -> Continuation {
    match cluster.continuation.unwrap_or(Continuation::Auto) {
        // The off switch: neither comes back.
        _ if cluster.requeue == Some(false) && cluster.continuation != Some(Continuation::Dependency) => {
            Continuation::Requeue
        }
        Continuation::Auto => {
            let name = cluster.partition.as_deref().or(partition.map(|partition| partition.name.as_str()));
            let mode = partition::preempt_mode(name).unwrap_or_default();
            if mode.split(',').any(|word| word == CANCEL) { Continuation::Dependency } else { Continuation::Requeue }
        }
        decided => decided,
    }
}

/// What a rank with so many threads needs, for the largest of the runs.
pub fn need(plans: &[Plan], threads: u32) -> Result<Need> {
    let mut most = Need { bytes: 0, seconds: 0.0 };
    for plan in plans {
        let estimate = count(&Plan { threads: threads as usize, ..plan.clone() })?;
        most.bytes = most.bytes.max(estimate.peak as u64);
        most.seconds = most.seconds.max(estimate.seconds);
    }
    Ok(most)
}
