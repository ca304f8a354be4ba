//! The settings of the cluster against what a partition has: each limit, with the words for what is beyond it.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::GpuRequest;
use crate::plan::Layers;
use crate::plan::format_bytes;
use crate::plan::parse_bytes;
use crate::slurm::partition::Nodes;
use crate::slurm::partition::Partition;
use crate::slurm::time;
use crate::slurm::time::Limit;

use super::super::screen::counted;

/// The guess of the time is asked for so many times, in steps of half an hour, and an hour at least.
const TIME_FACTOR: f64 = 2.0;
const TIME_STEP: u64 = 1800;
const LEAST_TIME: u64 = 3600;

/// What is asked for, and what is there.
pub struct Wanted<'a> {
    pub layers: &'a Layers,
    pub cluster: &'a Cluster,
    pub partition: Option<&'a Partition>,
}

impl Wanted<'_> {
    fn error(&self, key: &str, problem: String, fix: impl Into<String>) -> Error {
        self.layers.error(&format!("cluster.{key}"), problem, fix)
    }

    fn partition_name(&self) -> &str {
        self.partition.map_or("the default partition", |partition| &partition.name)
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
        let usual = if gpus > 0 { gpus } else { cluster.nodes.unwrap_or(1) };
        let ranks = cluster.ranks.unwrap_or(usual);
        if gpus > 0 && ranks != gpus {
            return Err(self.error(
                "ranks",
                format!("{ranks} ranks and {gpus} GPUs: a rank works with one GPU"),
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

    pub fn nodes_are_there(
        &self,
        nodes: u32,
        ranks: u32,
        gpus: u32,
        gpus_of_node: u32,
        kinds: &[&Nodes],
    ) -> Result<()> {
        if gpus > gpus_of_node.saturating_mul(nodes) {
            return Err(self.error(
                "gpus",
                format!("{gpus} GPUs on {}, with {gpus_of_node} each", counted(nodes as usize, "node")),
                format!("Ask for at least {} nodes, or for fewer GPUs.", gpus.div_ceil(gpus_of_node)),
            ));
        }
        if gpus > 0 && self.cluster.gpu_request == Some(GpuRequest::Gres) && !ranks.is_multiple_of(nodes) {
            return Err(self.error(
                "gpus",
                format!("{gpus} GPUs on {nodes} nodes: with gpu_request = \"gres\" every node gives the same number"),
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
        if asked * per_node <= cpus {
            return Ok(asked);
        }
        let most = cpus / per_node;
        notes.push(format!(
            "{most} cores a rank instead of {asked}: the largest node of {} has {cpus}",
            self.partition_name()
        ));
        Ok(most)
    }

    pub fn too_large(&self, needed: u64, per_node: u32, largest: u64) -> Error {
        Error::new(
            ExitCode::Memory,
            self.layers.place("cluster.mem"),
            format!(
                "a node needs {} for {}, and the largest one of {} has {}",
                mib(needed),
                counted(per_node as usize, "rank"),
                self.partition_name(),
                mib(largest)
            ),
            "Choose another --partition, more --nodes, fewer --cpus-per-rank, or cap the memory with --memory.",
        )
    }

    pub fn memory(&self, needed: u64, per_node: u32, kinds: &[&Nodes], notes: &mut Vec<String>) -> Result<Option<u64>> {
        // These exclude --mem.
        let by_other = |argument: &String| {
            ["--mem-per-cpu", "--mem-per-gpu", "--mem="].iter().any(|other| argument.starts_with(other))
        };
        if self.cluster.sbatch.iter().flatten().any(by_other) {
            notes.push(format!(
                "the plan needs {} a node; the memory is asked for by an argument of yours",
                mib(needed)
            ));
            return Ok(None);
        }
        let Some(text) = &self.cluster.mem else { return Ok(Some(needed)) };
        // As Slurm reads it: without a unit, MiB.
        let asked = match text.trim() {
            digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            text => parse_bytes(text).map(|bytes| bytes.div_ceil(1 << 20)),
        };
        let Some(asked) = asked.filter(|asked| *asked > 0) else {
            return Err(self.error(
                "mem",
                format!("{text:?} is not a size of memory"),
                "Write it like 64G, or leave it out.",
            ));
        };
        let largest = kinds.iter().map(|kind| kind.memory_mib).max();
        if asked < needed {
            return Err(Error::new(
                ExitCode::Memory,
                self.layers.place("cluster.mem"),
                format!(
                    "{} a node is asked for, and {} on it need {}",
                    mib(asked),
                    counted(per_node as usize, "rank"),
                    mib(needed)
                ),
                "Leave --mem out: it is taken from the plan. --memory caps what a rank takes.",
            ));
        }
        match largest {
            Some(largest) if asked > largest => {
                notes.push(format!(
                    "{} a node instead of {}: the largest node of {} has no more",
                    mib(largest),
                    mib(asked),
                    self.partition_name()
                ));
                Ok(Some(largest))
            }
            _ => Ok(Some(asked)),
        }
    }

    pub fn time(&self, guess: f64, notes: &mut Vec<String>) -> Result<Option<u64>> {
        let limit = match self.partition.map(|partition| partition.limit) {
            Some(Limit::Seconds(limit)) => Some(limit),
            _ => None,
        };
        let asked = match &self.cluster.time {
            None => {
                let asked = ((guess * TIME_FACTOR) as u64).max(LEAST_TIME).div_ceil(TIME_STEP) * TIME_STEP;
                if let Some(limit) = limit.filter(|limit| asked > *limit) {
                    notes.push(format!(
                        "{} of time instead of {}: the limit of {}; what is not finished then goes on in a further job",
                        time::text(limit),
                        time::text(asked),
                        self.partition_name()
                    ));
                }
                limit.map_or(asked, |limit| asked.min(limit))
            }
            Some(text) => match time::parse(text) {
                None => {
                    return Err(self.error(
                        "time",
                        format!("{text:?} is no time limit"),
                        "Write it as Slurm does: 90 (minutes), 12:00:00 or 2-00:00:00.",
                    ));
                }
                Some(Limit::None) => match limit {
                    Some(limit) => limit,
                    None => return Ok(Some(365 * 86400)),
                },
                Some(Limit::Seconds(asked)) => match limit.filter(|limit| asked > *limit) {
                    Some(limit) => {
                        notes.push(format!(
                            "{} of time instead of {}: the limit of {}",
                            time::text(limit),
                            time::text(asked),
                            self.partition_name()
                        ));
                        limit
                    }
                    None => asked,
                },
            },
        };
        let margin = u64::from(self.cluster.signal_margin_seconds.unwrap_or(0));
        if asked <= margin {
            return Err(self.error(
                "time",
                format!("{} is no more than signal_margin_seconds = {margin}, the time to stop in", time::text(asked)),
                "Give more time, or a smaller --signal-margin-seconds.",
            ));
        }
        Ok(Some(asked))
    }
}

/// Nodes of these kinds, where something is known of them.
pub fn available(kinds: &[&Nodes]) -> Option<u32> {
    (!kinds.is_empty()).then(|| kinds.iter().map(|kind| kind.count).sum())
}

fn mib(mib: u64) -> String {
    format_bytes(mib << 20)
}
