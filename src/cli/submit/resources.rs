//! What a job asks of the cluster: from the settings, the plan, and what `sinfo` says of the partition.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Cluster;
use crate::plan::Continuation;
use crate::plan::GpuRequest;
use crate::plan::Layers;
use crate::plan::format_bytes;
use crate::plan::parse_bytes;
use crate::slurm::partition::Nodes;
use crate::slurm::partition::Partition;
use crate::slurm::script::Request;
use crate::slurm::time;
use crate::slurm::time::Limit;

use super::super::screen::counted;

/// Memory beside what the plan counts: the shell, srun, pages of files that are being written.
const BESIDE: f64 = 1.1;
const BESIDE_BYTES: u64 = 256 << 20;
/// Asked memory is a multiple of this.
const STEP_MIB: u64 = 128;
/// The guess of the time is asked for so many times, in steps of half an hour, and an hour at least.
const TIME_FACTOR: f64 = 2.0;
const TIME_STEP: u64 = 1800;
const LEAST_TIME: u64 = 3600;

/// What a rank with some number of threads needs: bytes, and the seconds of the whole run on one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    pub bytes: u64,
    pub seconds: f64,
}

/// What was decided, and what a person should know of it.
#[derive(Debug)]
pub struct Decided {
    pub request: Request,
    pub notes: Vec<String>,
}

/// Decides everything that is asked for.
///
/// # Errors
/// `Usage` for what contradicts itself or the partition, `Memory` for what fits on no node, each with the numbers.
pub fn decide(
    layers: &Layers,
    partition: Option<&Partition>,
    threads: usize,
    count: &dyn Fn(u32) -> Result<Need>,
) -> Result<Decided> {
    let cluster = &layers.cluster;
    let wanted = Wanted { layers, cluster, partition };
    let mut notes = Vec::new();
    let (gpus, ranks) = wanted.gpus_and_ranks()?;
    let kinds = wanted.kinds(gpus)?;
    let gpus_of_node = wanted.gpus_of_node(gpus, &kinds);
    let threads = cluster.cpus_per_rank.or(u32::try_from(threads).ok().filter(|count| *count > 0));

    let nodes = match cluster.nodes {
        Some(nodes) => nodes,
        None if gpus > 0 => ranks.div_ceil(gpus_of_node),
        None => {
            let cpus = kinds.iter().map(|kind| kind.cpus).max().unwrap_or(1);
            ranks.div_ceil(threads.map_or(1, |threads| (cpus / threads.max(1)).max(1)))
        }
    };
    wanted.nodes_are_there(nodes, ranks, gpus, gpus_of_node, &kinds)?;
    // Ranks move to more nodes while a node is too small for them, unless the number of nodes was asked for.
    let most = if cluster.nodes.is_some() { nodes } else { ranks.min(available(&kinds).unwrap_or(ranks)).max(nodes) };
    let mut tried = nodes;
    let (nodes, cpus_per_rank, need) = loop {
        let per_node = ranks.div_ceil(tried);
        let cpus = wanted.cpus_per_rank(threads, per_node, gpus, gpus_of_node, &kinds, &mut notes)?;
        let need = count(cpus)?;
        let largest = kinds.iter().filter(|kind| kind.cpus >= cpus * per_node).map(|kind| kind.memory_mib).max();
        if largest.is_none_or(|largest| mib_of_node(need.bytes, per_node) <= largest) {
            break (tried, cpus, need);
        }
        if tried >= most {
            return Err(wanted.too_large(mib_of_node(need.bytes, per_node), per_node, largest.unwrap_or(0)));
        }
        notes.clear();
        tried += 1;
    };
    let per_node = ranks.div_ceil(nodes);
    let mem_mib = wanted.memory(mib_of_node(need.bytes, per_node), per_node, &kinds, &mut notes)?;
    let seconds = wanted.time(need.seconds / f64::from(ranks), &mut notes)?;
    let request = Request {
        partition: cluster.partition.clone(),
        nodes,
        ranks,
        cpus_per_rank,
        mem_mib,
        seconds,
        gpus_per_node: if gpus > 0 { per_node } else { 0 },
        continuation: Continuation::Requeue,
    };
    Ok(Decided { request, notes })
}

/// Memory of a node for its ranks, in MiB.
fn mib_of_node(bytes: u64, ranks: u32) -> u64 {
    let all = (bytes as f64 * f64::from(ranks) * BESIDE) as u64 + BESIDE_BYTES;
    all.div_ceil(STEP_MIB << 20) * STEP_MIB
}

/// Nodes of these kinds, where something is known of them.
fn available(kinds: &[&Nodes]) -> Option<u32> {
    (!kinds.is_empty()).then(|| kinds.iter().map(|kind| kind.count).sum())
}

fn mib(mib: u64) -> String {
    format_bytes(mib << 20)
}

struct Wanted<'a> {
    layers: &'a Layers,
    cluster: &'a Cluster,
    partition: Option<&'a Partition>,
}

impl Wanted<'_> {
    fn error(&self, key: &str, problem: String, fix: impl Into<String>) -> Error {
        self.layers.error(&format!("cluster.{key}"), problem, fix)
    }

    fn partition_name(&self) -> &str {
        self.partition.map_or("the default partition", |partition| &partition.name)
    }

    fn gpus_and_ranks(&self) -> Result<(u32, u32)> {
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
    fn kinds(&self, gpus: u32) -> Result<Vec<&Nodes>> {
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
    fn gpus_of_node(&self, gpus: u32, kinds: &[&Nodes]) -> u32 {
        let kind = self.cluster.gpu_type.as_deref();
        let seen = kinds.iter().map(|nodes| nodes.gpus_of(kind)).max();
        self.cluster.gpus_per_node.or(seen).unwrap_or(gpus).max(1)
    }

    fn nodes_are_there(&self, nodes: u32, ranks: u32, gpus: u32, gpus_of_node: u32, kinds: &[&Nodes]) -> Result<()> {
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

    fn cpus_per_rank(
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

    fn too_large(&self, needed: u64, per_node: u32, largest: u64) -> Error {
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

    fn memory(&self, needed: u64, per_node: u32, kinds: &[&Nodes], notes: &mut Vec<String>) -> Result<Option<u64>> {
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

    fn time(&self, guess: f64, notes: &mut Vec<String>) -> Result<Option<u64>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Sources;
    use crate::slurm::partition::parse;

    const GPU: &str =
        "gpu|up|3|16|64000|gpu:a100:4|1-00:00:00|n/a|idle\ngpu|up|1|32|16000|(null)|1-00:00:00|n/a|idle\n";

    fn decided(flags: Cluster, sinfo: &str, gib: u64, hours: f64) -> Result<Decided> {
        let layers = Layers::load(&Sources { cluster_flags: flags, ..Sources::default() }).unwrap();
        let all = parse(sinfo);
        let need = |cpus: u32| Ok(Need { bytes: gib << 30, seconds: hours * 3600.0 * 16.0 / f64::from(cpus) });
        decide(&layers, all.first(), 0, &need)
    }

    #[test]
    fn a_job_gets_its_share_of_a_node() {
        let flags = Cluster { gpus: Some(2), ..Cluster::default() };
        let Decided { request, notes } = decided(flags, GPU, 4, 1.0).unwrap();
        assert_eq!((request.nodes, request.ranks, request.cpus_per_rank, request.gpus_per_node), (1, 2, 4, 2));
        // 2 x 4 GiB and a tenth, 256 MiB, in steps of 128 MiB; 1 h on 16 cores, 2 ranks of 4, doubled.
        assert_eq!((request.mem_mib, request.seconds), (Some(9344), Some(14400)));
        assert!(notes.is_empty(), "{notes:?}");
        let request = decided(Cluster::default(), GPU, 4, 1.0).unwrap().request;
        assert_eq!((request.nodes, request.ranks, request.cpus_per_rank, request.gpus_per_node), (1, 1, 32, 0));
        // Nothing is known.
        let Decided { request, notes } = decided(Cluster { ranks: Some(3), ..Cluster::default() }, "", 4, 1.0).unwrap();
        assert_eq!((request.nodes, request.cpus_per_rank), (3, 1));
        assert!(notes[0].contains("--cpus-per-rank"), "{notes:?}");
    }

    #[test]
    fn what_is_too_much_is_clamped_and_said() {
        let flags = Cluster {
            gpus: Some(4),
            cpus_per_rank: Some(10),
            mem: Some("100G".to_owned()),
            time: Some("3-0".to_owned()),
            ..Cluster::default()
        };
        let Decided { request, notes } = decided(flags, GPU, 1, 1.0).unwrap();
        assert_eq!((request.mem_mib, request.seconds, request.cpus_per_rank), (Some(64000), Some(86400), 4));
        let notes = notes.join("\n");
        for said in ["4 cores a rank instead of 10", "62.5 GiB a node instead of 100.0 GiB", "1-00:00:00 of time"] {
            assert!(notes.contains(said), "{notes}");
        }
        // A node is too small for all ranks: they move to more nodes.
        let request = decided(Cluster { gpus: Some(4), ..Cluster::default() }, GPU, 20, 1.0).unwrap().request;
        assert_eq!((request.nodes, request.gpus_per_node), (2, 2));
        let notes = decided(Cluster::default(), GPU, 1, 100.0).unwrap().notes;
        assert!(notes[0].contains("goes on in a further job"), "{notes:?}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_numbers() {
        let gpus = |gpus| Cluster { gpus: Some(gpus), ..Cluster::default() };
        for (flags, gib, code, said) in [
            (gpus(1), 100, ExitCode::Memory, "needs 110.2 GiB for 1 rank, and the largest one of gpu has 62.5 GiB"),
            (gpus(13), 1, ExitCode::Usage, "4 nodes needed; the partition gpu has 3 that fit"),
            (Cluster { nodes: Some(1), ..gpus(5) }, 1, ExitCode::Usage, "5 GPUs on 1 node, with 4 each"),
            (Cluster { nodes: Some(2), ..gpus(1) }, 1, ExitCode::Usage, "2 nodes for 1 GPUs"),
            (Cluster { ranks: Some(3), ..gpus(2) }, 1, ExitCode::Usage, "3 ranks and 2 GPUs"),
            (Cluster { gpu_type: Some("h100".to_owned()), ..gpus(2) }, 1, ExitCode::Usage, "type \"h100\""),
            (
                Cluster { nodes: Some(2), gpu_request: Some(GpuRequest::Gres), ..gpus(3) },
                1,
                ExitCode::Usage,
                "the same number",
            ),
            (Cluster { mem: Some("1G".to_owned()), ..gpus(1) }, 4, ExitCode::Memory, "1.0 GiB a node is asked for"),
            (Cluster { mem: Some("lots".to_owned()), ..gpus(1) }, 4, ExitCode::Usage, "is not a size"),
            (Cluster { time: Some("soon".to_owned()), ..gpus(1) }, 4, ExitCode::Usage, "is no time limit"),
            (Cluster { time: Some("2".to_owned()), ..gpus(1) }, 4, ExitCode::Usage, "signal_margin_seconds = 120"),
            (Cluster { ranks: Some(0), ..Cluster::default() }, 4, ExitCode::Usage, "ranks is 0"),
            (Cluster { nodes: Some(1), ranks: Some(40), ..Cluster::default() }, 1, ExitCode::Usage, "has 32 cores"),
        ] {
            let error = decided(flags, GPU, gib, 1.0).unwrap_err();
            assert!(error.code == code && error.problem.contains(said) && !error.fix.is_empty(), "{said}: {error}");
        }
        let error = decided(gpus(1), "cpu*|up|3|16|64000|(null)|infinite|n/a|idle\n", 1, 1.0).unwrap_err();
        assert!(error.problem.contains("the partition cpu has none"), "{error}");
    }
}
