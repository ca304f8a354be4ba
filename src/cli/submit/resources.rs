//! What a job asks of the cluster: from the settings, the plan, and what `sinfo` says of the partition.

use crate::error::Result;
use crate::plan::Continuation;
use crate::plan::Layers;
use crate::slurm::partition::Partition;
use crate::slurm::script::Request;

use super::wanted::Wanted;
use super::wanted::available;

/// Memory beside what the plan counts: the shell, srun, pages of files that are being written.
const BESIDE: f64 = 1.1;
const BESIDE_BYTES: u64 = 256 << 20;
/// Asked memory is a multiple of this.
const STEP_MIB: u64 = 128;

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
        None if gpus > 0 => gpus.div_ceil(gpus_of_node),
        None => {
            let cpus = kinds.iter().map(|kind| kind.cpus).max().unwrap_or(1);
            ranks.div_ceil(threads.map_or(1, |threads| (cpus / threads.max(1)).max(1)))
        }
    };
    wanted.nodes_are_there(nodes, gpus, gpus_of_node, &kinds)?;
    // Ranks move to more nodes while a node is too small for them, unless the number of nodes was asked for.
    let most = if cluster.nodes.is_some() { nodes } else { ranks.min(available(&kinds).unwrap_or(ranks)).max(nodes) };
    let mut tried = nodes;
    let (nodes, cpus_per_rank, need) = loop {
        let per_node = ranks.div_ceil(tried);
        let cpus = wanted.cpus_per_rank(threads, per_node, gpus, gpus_of_node, &kinds, &mut notes)?;
        let need = count(cpus)?;
        let largest =
            kinds.iter().filter(|kind| kind.cpus >= cpus.saturating_mul(per_node)).map(|kind| kind.memory_mib).max();
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
        gpus_per_node: gpus.div_ceil(nodes),
        has_leader: gpus > 0 && wanted.has_leader(),
        continuation: Continuation::Requeue,
    };
    Ok(Decided { request, notes })
}

/// Memory of a node for its ranks, in MiB.
fn mib_of_node(bytes: u64, ranks: u32) -> u64 {
    let all = (bytes as f64 * f64::from(ranks) * BESIDE) as u64 + BESIDE_BYTES;
    all.div_ceil(STEP_MIB << 20) * STEP_MIB
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitCode;
    use crate::plan::Cluster;
    use crate::plan::GpuRequest;
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
    fn a_leader_comes_on_top_of_the_gpus() {
        let sources =
            |gpus| Sources { cluster_flags: Cluster { gpus: Some(gpus), ..Cluster::default() }, ..Sources::default() };
        let all = parse(GPU);
        let decided = |gpus, nodes: Option<u32>| {
            let mut layers = Layers::load(&sources(gpus)).unwrap();
            layers.values.dedicated_leader = Some(true);
            layers.cluster.nodes = nodes;
            decide(&layers, all.first(), 0, &|_| Ok(Need { bytes: 1 << 30, seconds: 60.0 }))
        };
        let request = decided(8, None).unwrap().request;
        assert_eq!((request.nodes, request.ranks, request.gpus_per_node, request.gpus()), (2, 9, 4, 8));
        // 16 cores for the leader and 4 others.
        assert_eq!((request.cpus_per_rank, request.has_leader), (3, true));
        assert!(decided(3, Some(2)).unwrap_err().problem.contains("dedicated_leader every node gives"));
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
