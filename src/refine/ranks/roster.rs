//! Who is where: nodes, cores, devices. Settled once, before anything is computed.

use std::collections::BTreeMap;

use nix::sched::CpuSet;
use nix::sched::sched_setaffinity;
use nix::unistd::Pid;
use serde::Deserialize;
use serde::Serialize;

use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::InstructionSet;
use crate::plan::Plan;
use crate::plan::progress::RankPlace;

use super::place::Place;
use super::place::ranges;

/// What was settled for one rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lot {
    /// The vector instructions that every rank has.
    instruction_set: String,
    /// Cores to stay on; empty: as the system likes.
    cores: Vec<usize>,
    threads: usize,
    /// The device to compute on, where there are any.
    device: Option<String>,
    /// Where rank 0 is.
    leader: String,
    refusal: Option<(u8, String, String)>,
}

/// What was settled, for this rank.
pub struct Settled {
    /// With the number of this rank's threads.
    pub plan: Plan,
    /// That all ranks have.
    pub isa: InstructionSet,
    /// Node of rank 0; empty when it is alone.
    pub leader: String,
    /// On rank 0: all ranks, and the table to be shown.
    pub places: Vec<Place>,
    pub table: Vec<RankPlace>,
}

/// Settles who works where. Every rank calls this; this thread (and those it starts) stays on its cores then.
///
/// # Errors
/// Ranks of different programs; two on one device.
pub fn settle(team: &Team, plan: &Plan) -> Result<Settled> {
    let here = Place::here(plan.isa)?;
    if team.is_alone() {
        let table = shown(std::slice::from_ref(&here), &[Lot::alone(&here)]);
        let (plan, isa) = (plan.clone(), plan.isa);
        return Ok(Settled { plan, isa, leader: String::new(), places: vec![here], table });
    }
    let (places, lots, lot) = if team.rank() == 0 {
        let mut places = vec![here];
        for rank in 1..team.size() {
            places.push(team.receive(Some(rank), Tag::Presence)?.1);
        }
        let lots = deal(&places, plan.threads, plan.backend, plan.dedicated_leader);
        team.broadcast(&lots)?;
        let lot = lots[0].clone();
        (places, lots, lot)
    } else {
        team.send(0, Tag::Presence, &here)?;
        let lots: Vec<Lot> = team.broadcast_from(0)?;
        (Vec::new(), Vec::new(), lots[team.rank()].clone())
    };
    if let Some((code, problem, fix)) = lot.refusal {
        return Err(Error::new(ExitCode::from_code(code).unwrap_or(ExitCode::Internal), "ranks", problem, fix));
    }
    bind(&lot.cores)?;
    let mut plan = plan.clone();
    let isa = InstructionSet::from_name(&lot.instruction_set)
        .ok_or_else(|| Error::internal(format!("instruction set {}", lot.instruction_set)))?;
    plan.threads = lot.threads;
    let table = shown(&places, &lots);
    Ok(Settled { plan, isa, leader: lot.leader, places, table })
}

impl Lot {
    fn alone(place: &Place) -> Self {
        let instruction_set = place.instruction_set.clone();
        let device = place.device(0);
        Self { instruction_set, cores: Vec::new(), threads: 0, device, leader: String::new(), refusal: None }
    }
}

fn bind(cores: &[usize]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let failed = |cause: nix::Error| Error::internal(format!("cores {}: {cause}", ranges(cores)));
    let mut set = CpuSet::new();
    cores.iter().try_for_each(|core| set.set(*core)).map_err(failed)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(failed)
}

/// Everybody's share of their node. A leader that computes nothing has no cores of its own and no device.
fn deal(places: &[Place], threads: usize, backend: Backend, has_leader: bool) -> Vec<Lot> {
    let first = usize::from(has_leader);
    let refusal = refusal(places, backend, first);
    let weakest = places.iter().map(|place| place.instruction_set.as_str()).max_by_key(|name| weakness(name));
    let weakest = weakest.unwrap_or_default();
    let mut lots = Vec::new();
    for (rank, place) in places.iter().enumerate() {
        // Ranks that may use the same cores share them; a launcher that bound them has done so already.
        let is_alike = |other: &Place| other.host == place.host && other.cores == place.cores;
        let (nth, count) = neighbours(places, first, rank, is_alike);
        let cores: Vec<usize> = match place.cores.len() {
            available if rank >= first && count > 1 && available >= count => {
                let (from, to) = (nth * available / count, (nth + 1) * available / count);
                place.cores[from..to].iter().map(|(core, _)| *core).collect()
            }
            _ => Vec::new(),
        };
        let usable = if cores.is_empty() { (place.cores.len() / count.max(1)).max(1) } else { cores.len() };
        let (nth_of_device, _) = neighbours(places, first, rank, |other| sees_the_same(place, other));
        lots.push(Lot {
            instruction_set: weakest.to_owned(),
            device: if rank >= first { place.device(nth_of_device) } else { None },
            threads: if threads == 0 { usable } else { threads },
            cores,
            leader: places[0].host.clone(),
            refusal: refusal.clone(),
        });
    }
    lots
}

/// Ranks that divide devices among themselves.
fn sees_the_same(place: &Place, other: &Place) -> bool {
    other.host == place.host && other.visible == place.visible && other.slurm == place.slurm
}

/// Which of the ranks like it this one is, and how many there are, from the `first` on.
fn neighbours(places: &[Place], first: usize, rank: usize, is_alike: impl Fn(&Place) -> bool) -> (usize, usize) {
    let before = places[first.min(rank)..rank].iter().filter(|place| is_alike(place)).count();
    (before, places[first..].iter().filter(|place| is_alike(place)).count())
}

fn weakness(instruction_set: &str) -> usize {
    ["avx512", "avx2", "portable"].iter().position(|name| *name == instruction_set).unwrap_or(usize::MAX)
}

fn refusal(places: &[Place], backend: Backend, first: usize) -> Option<(u8, String, String)> {
    let leader = places.first()?;
    if let Some((rank, other)) = places.iter().enumerate().find(|(_, p)| p.program_version != leader.program_version) {
        let problem = format!(
            "rank 0 is relion-rs {}, rank {rank} on {} is {}",
            leader.program_version, other.host, other.program_version
        );
        let fix = "Load the same module on all nodes, or call the program by its full path.".to_owned();
        return Some((ExitCode::Config as u8, problem, fix));
    }
    if backend == Backend::Cpu {
        return None;
    }
    let is_shared = |rank: &usize| {
        let place = &places[*rank];
        let (_, count) = neighbours(places, first, *rank, |other| sees_the_same(place, other));
        count > place.visible.len().max(1)
    };
    let rank = (first..places.len()).find(is_shared)?;
    let host = &places[rank].host;
    Some((
        ExitCode::Usage as u8,
        format!("rank {rank} on {host} would share its GPU with another rank"),
        "Ask for one GPU a rank: --gpus-per-task=1 --gpu-bind=single:1.".to_owned(),
    ))
}

/// The table of ranks.
fn shown(places: &[Place], lots: &[Lot]) -> Vec<RankPlace> {
    let row = |(rank, (place, lot)): (usize, (&Place, &Lot))| {
        let all: Vec<usize> = place.cores.iter().map(|(core, _)| *core).collect();
        let cores = if lot.cores.is_empty() { &all } else { &lot.cores };
        let of_core: BTreeMap<usize, usize> = place.cores.iter().copied().collect();
        let mut numa: Vec<usize> = cores.iter().filter_map(|core| of_core.get(core).copied()).collect();
        numa.sort_unstable();
        numa.dedup();
        RankPlace {
            rank,
            host: place.host.clone(),
            process: place.process,
            threads: lot.threads,
            cores: ranges(cores),
            numa: ranges(&numa),
            device: lot.device.clone(),
        }
    };
    places.iter().zip(lots).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::place::sorted;
    use super::*;

    fn place(host: &str, cores: std::ops::Range<usize>) -> Place {
        Place {
            host: host.to_owned(),
            process: 1,
            program_version: "1".to_owned(),
            cores: cores.map(|core| (core, core / 4)).collect(),
            instruction_set: "avx2".to_owned(),
            visible: Vec::new(),
            slurm: Vec::new(),
        }
    }

    #[test]
    fn ranks_of_a_node_divide_its_cores() {
        let deal = |places: &[Place]| deal(places, 0, Backend::Cpu, false);
        let lots = deal(&[place("a", 0..8), place("a", 0..8), place("b", 0..8)]);
        assert_eq!(lots[0].cores, [0, 1, 2, 3]);
        assert_eq!(lots[1].cores, [4, 5, 6, 7]);
        assert!(lots[2].cores.is_empty(), "alone there");
        assert_eq!(lots.iter().map(|lot| lot.threads).collect::<Vec<_>>(), [4, 4, 8]);
        // Bound already.
        let lots = deal(&[place("a", 0..4), place("a", 4..8)]);
        assert!(lots.iter().all(|lot| lot.cores.is_empty() && lot.threads == 4));
        // More ranks than cores.
        let lots = deal(&vec![place("a", 0..2); 3]);
        assert!(lots.iter().all(|lot| lot.cores.is_empty() && lot.threads == 1));
    }

    #[test]
    fn ranks_stay_within_a_numa_node_where_cores_are_numbered_across() {
        // As the system tells them: even cores on node 0, odd ones on node 1.
        let mut across = place("a", 0..8);
        across.cores = sorted((0..8).map(|core| (core, core % 2)).collect());
        let places = [across.clone(), across];
        let lots = deal(&places, 0, Backend::Cpu, false);
        assert_eq!((&lots[0].cores[..], &lots[1].cores[..]), (&[0, 2, 4, 6][..], &[1, 3, 5, 7][..]));
        let table = shown(&places, &lots);
        assert_eq!((&*table[0].numa, &*table[1].numa, &*table[1].cores), ("0", "1", "1,3,5,7"));
    }

    #[test]
    fn a_leader_takes_neither_cores_nor_a_device() {
        let gpus = || vec!["0".to_owned(), "1".to_owned()];
        let node = Place { visible: gpus(), slurm: gpus(), ..place("a", 0..8) };
        let places = vec![node; 3];
        let lots = deal(&places, 0, Backend::Cuda, true);
        assert!(lots[0].refusal.is_none() && lots[0].cores.is_empty());
        assert_eq!(lots[1].cores, [0, 1, 2, 3]);
        let devices: Vec<Option<&str>> = lots.iter().map(|lot| lot.device.as_deref()).collect();
        assert_eq!(devices, [None, Some("0"), Some("1")]);
        assert!(deal(&places, 0, Backend::Cuda, false)[0].refusal.is_some(), "three for two devices");
        // Alone on its node.
        let lots = deal(&[place("a", 0..8), place("b", 0..8)], 0, Backend::Cpu, true);
        assert_eq!(lots.iter().map(|lot| lot.threads).collect::<Vec<_>>(), [8, 8]);
    }

    #[test]
    fn the_weakest_instruction_set_counts() {
        let mut other = place("b", 0..2);
        other.instruction_set = "portable".to_owned();
        assert_eq!(deal(&[place("a", 0..2), other], 3, Backend::Cpu, false)[0].instruction_set, "portable");
    }

    #[test]
    fn programs_and_devices_are_checked() {
        let mut other = place("b", 0..2);
        assert_eq!(refusal(&[place("a", 0..2), other.clone()], Backend::Cuda, 0), None);
        other.program_version = "2".to_owned();
        let (code, problem, _) = refusal(&[place("a", 0..2), other], Backend::Cpu, 0).unwrap();
        assert!(code == ExitCode::Config as u8 && problem.contains("rank 1 on b is 2"), "{problem}");
        let mut gpu = place("a", 0..2);
        gpu.visible = vec!["0".to_owned()];
        let pair = [gpu.clone(), gpu.clone()];
        assert!(refusal(&pair, Backend::Cuda, 0).unwrap().1.contains("share its GPU"));
        assert_eq!(refusal(&pair, Backend::Cpu, 0), None);
        // One each, renumbered from 0 by the cgroup.
        let [mut a, mut b] = pair;
        (a.slurm, b.slurm) = (vec!["0".to_owned()], vec!["1".to_owned()]);
        assert_eq!(refusal(&[a.clone(), b.clone()], Backend::Cuda, 0), None);
        assert_eq!(a.device(0).unwrap(), "0");
        assert_eq!(b.device(0).unwrap(), "0 (Slurm's 1)");
        // Slices of one device.
        let slice = |uuid: &str| Place { visible: vec![uuid.to_owned()], ..place("a", 0..2) };
        let pair = [slice("MIG-4b3c"), slice("MIG-77aa")];
        assert_eq!(refusal(&pair, Backend::Cuda, 0), None);
        assert_eq!(pair[1].device(0).unwrap(), "MIG-77aa");
        // Both see both: each takes one.
        gpu.visible = vec!["0".to_owned(), "1".to_owned()];
        gpu.slurm = gpu.visible.clone();
        assert_eq!([gpu.device(0).unwrap(), gpu.device(1).unwrap()], ["0", "1"]);
    }
}
