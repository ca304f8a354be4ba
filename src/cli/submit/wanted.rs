//! The settings of the cluster against what a partition has: nodes, GPUs and cores. Each limit comes with the words for
//! what is beyond it.

use crate::error::Error;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::GpuRequest;
use crate::plan::Layers;
use crate::slurm::partition::Nodes;
use crate::slurm::partition::Partition;

use super::super::screen::counted;

/// What is asked for, and what is there.
pub struct Wanted<'a> {
    pub layers: &'a Layers,
    pub cluster: &'a Cluster,
    pub partition: Option<&'a Partition>,
}

impl Wanted<'_> {
    pub(super) fn error(&self, key: &str, problem: String, fix: impl Into<String>) -> Error {
        self.layers.error(&format!("cluster.{key}"), problem, fix)
    }

    pub(super) fn partition_name(&self) -> &str {
        self.partition.map_or("the default partition", |partition| &partition.name)
    }

    /// The first of several ranks computes nothing.
    pub fn has_leader(&self) -> bool {
        self.layers.values.dedicated_leader == Some(true)
    }

    pub fn gpus_and_ranks(&self) -> Result<(u32, u32)> {
        let cluster = self.cluster;
        for (key, value) in [
            ("nodes", cluster.nodes),
            ("ranks", cluster.ranks),
            ("cpus_per_rank", cluster.cpus_per_rank),
            ("gpus_per_node", cluster.gpus_per_node),
        ] {
            if value == Some(0) {
                return Err(self.error(key, format!("{key} is 0"), "Give 1 or more, or leave it out."));
            }
        }
        let gpus = cluster.gpus.unwrap_or(0);
        let leaders = u32::from(self.has_leader());
        let usual = if gpus > 0 { gpus.saturating_add(leaders) } else { cluster.nodes.unwrap_or(1) };
        let ranks = cluster.ranks.unwrap_or(usual);
        if gpus > 0 && ranks != usual {
            let and = if leaders > 0 { ", and the leader with none" } else { "" };
            return Err(self.error(
                "ranks",
                format!("{ranks} ranks and {gpus} GPUs: a rank works with one GPU{and}"),
                "Leave out one of the two numbers.",
            ));
        }
        if cluster.nodes.is_some_and(|nodes| nodes > ranks) {
            let nodes = cluster.nodes.unwrap_or(0);
            let what = if gpus > 0 { "GPUs, a rank each" } else { "ranks" };
            return Err(self.error(
                "nodes",
                format!("{} for {ranks} {what}: some would have nothing to do", counted(nodes as usize, "node")),
                "Ask for fewer --nodes, or for more --gpus or --ranks.",
            ));
        }
        Ok((gpus, ranks))
    }

    /// The kinds of nodes that can be meant; none when nothing is known.
    pub fn kinds(&self, gpus: u32) -> Result<Vec<&Nodes>> {
        let Some(partition) = self.partition else { return Ok(Vec::new()) };
        let kind = self.cluster.gpu_type.as_deref();
        let fits = |nodes: &&Nodes| gpus == 0 || nodes.gpus_of(kind) > 0;
        let kinds: Vec<&Nodes> = partition.nodes.iter().filter(fits).collect();
        if !kinds.is_empty() {
            return Ok(kinds);
        }
        let name = &partition.name;
        let types = partition.gpu_types().join(", ");
        Err(match kind {
            _ if partition.nodes.is_empty() => self.error(
                "partition",
                format!("the partition {name} has no nodes"),
                "Choose another one: `sinfo -s` lists them.",
            ),
            Some(kind) if !types.is_empty() => self.error(
                "gpu_type",
                format!("the partition {name} has no GPUs of the type {kind:?}"),
                format!("It has: {types}."),
            ),
            _ => self.error(
                "gpus",
                format!("{gpus} GPUs are asked for, and the partition {name} has none"),
                "Choose another --partition (`sinfo -o '%P %G'`), or leave --gpus out.",
            ),
        })
    }

    /// At least 1.
    pub fn gpus_of_node(&self, gpus: u32, kinds: &[&Nodes]) -> u32 {
        let kind = self.cluster.gpu_type.as_deref();
        let seen = kinds.iter().map(|nodes| nodes.gpus_of(kind)).max();
        self.cluster.gpus_per_node.or(seen).unwrap_or(gpus).max(1)
    }

    pub fn nodes_are_there(&self, nodes: u32, gpus: u32, gpus_of_node: u32, kinds: &[&Nodes]) -> Result<()> {
        if gpus > gpus_of_node.saturating_mul(nodes) {
            return Err(self.error(
                "gpus",
                format!("{gpus} GPUs on {}, with {gpus_of_node} each", counted(nodes as usize, "node")),
                format!("Ask for at least {} nodes, or for fewer GPUs.", gpus.div_ceil(gpus_of_node)),
            ));
        }
        let is_gres = self.has_leader() || self.cluster.gpu_request == Some(GpuRequest::Gres);
        if gpus > 0 && is_gres && !gpus.is_multiple_of(nodes) {
            return Err(self.error(
                "gpus",
                format!(
                    "{gpus} GPUs on {nodes} nodes: with gpu_request = \"gres\" or dedicated_leader every node gives the \
                     same number"
                ),
                format!("Ask for a multiple of {nodes} GPUs, or for another number of --nodes."),
            ));
        }
        match available(kinds) {
            Some(there) if nodes > there => Err(self.error(
                "nodes",
                format!(
                    "{} needed; the partition {} has {there} that fit",
                    counted(nodes as usize, "node"),
                    self.partition_name()
                ),
                "Ask for fewer --nodes, --gpus or --ranks, or choose another --partition.",
            )),
            _ => Ok(()),
        }
    }

    pub fn cpus_per_rank(
        &self,
        threads: Option<u32>,
        per_node: u32,
        gpus: u32,
        gpus_of_node: u32,
        kinds: &[&Nodes],
        notes: &mut Vec<String>,
    ) -> Result<u32> {
        let Some(cpus) = kinds.iter().map(|kind| kind.cpus).max() else {
            if threads.is_none() {
                notes.push("what the nodes have is not known: 1 core a rank; --cpus-per-rank asks for more".to_owned());
            }
            return Ok(threads.unwrap_or(1));
        };
        if per_node > cpus {
            return Err(self.error(
                "ranks",
                format!(
                    "{per_node} ranks on a node, and the largest one of {} has {cpus} cores",
                    self.partition_name()
                ),
                "Ask for more --nodes, or fewer --ranks.",
            ));
        }
        let share = if gpus > 0 { cpus / gpus_of_node.max(per_node) } else { cpus / per_node };
        let asked = threads.unwrap_or(share.max(1));
        if asked.saturating_mul(per_node) <= cpus {
            return Ok(asked);
        }
        let most = cpus / per_node;
        notes.push(format!(
            "{most} cores a rank instead of {asked}: the largest node of {} has {cpus}",
            self.partition_name()
        ));
        Ok(most)
    }
}

/// Nodes of these kinds, where something is known of them.
pub fn available(kinds: &[&Nodes]) -> Option<u32> {
    (!kinds.is_empty()).then(|| kinds.iter().map(|kind| kind.count).sum())
}
