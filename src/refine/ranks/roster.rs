//! Who is where: nodes, cores, devices. Settled once, before anything is computed.

use std::collections::BTreeMap;

use nix::sched::CpuSet;
use nix::sched::sched_setaffinity;
use nix::unistd::Pid;
use serde::Deserialize;
use serde::Serialize;

use crate::comm::Tag;
use crate::comm::Team;
use crate::device::Found;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::InstructionSet;
use crate::plan::Plan;
use crate::plan::progress::RankPlace;

use super::choose::Choice;
use super::choose::choose;
use super::choose::exactly;
use super::choose::identity;
use super::choose::users;
use super::choose::warnings;
use super::choose::words;
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
    on: Chosen,
    /// Where rank 0 is.
    leader: String,
    refusal: Option<(u8, String, String)>,
}

/// What a rank computes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// `Cpu` or `Cuda`.
    pub backend: Backend,
    pub why: String,
    /// With `Cuda` always there, but for a leader that computes nothing.
    pub device: Option<OnDevice>,
    /// What of all ranks' devices decides the bits of a result; empty on CPUs.
    pub identity: String,
    pub warnings: Vec<String>,
}

impl Chosen {
    /// For people: `cpu (no GPU is visible to this process)`, `cuda (asked for), NVIDIA A100, GPU-...`.
    pub fn words(&self) -> String {
        let device = self.device.as_ref().map(|device| format!(", {}", words(&device.found)));
        format!("{} ({}){}", self.backend.name(), self.why, device.unwrap_or_default())
    }
}

/// The device that a rank computes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDevice {
    pub found: Found,
    /// Ranks that compute on it, this one included: each has an equal part of its memory.
    pub users: usize,
}

/// What the plan says about all ranks.
#[derive(Clone, Copy, Debug)]
struct Wish {
    threads: usize,
    backend: Backend,
    share_gpu: bool,
    has_leader: bool,
    /// The same bits are demanded.
    exact: bool,
}

impl Wish {
    /// The first rank that computes. One that is alone leads and computes.
    fn first(&self, places: &[Place]) -> usize {
        usize::from(self.has_leader && places.len() > 1)
    }
}

/// What was settled, for this rank.
pub struct Settled {
    /// With the number of this rank's threads, and with the backend that was chosen.
    pub plan: Plan,
    pub on: Chosen,
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
/// Ranks of different programs; two on one device; CUDA without a device; with `exact`, devices of different kinds.
pub fn settle(team: &Team, plan: &Plan, exact: bool) -> Result<Settled> {
    let here = Place::here(plan.isa, plan.backend)?;
    let wish = Wish {
        threads: plan.threads,
        backend: plan.backend,
        share_gpu: plan.share_gpu,
        has_leader: plan.dedicated_leader,
        exact,
    };
    let (places, lots, lot) = if team.rank() == 0 {
        let mut places = vec![here];
        for rank in 1..team.size() {
            places.push(team.receive(Some(rank), Tag::Presence)?.1);
        }
        let lots = deal(&places, &wish);
        if !team.is_alone() {
            team.broadcast(&lots)?;
        }
        let lot = lots[0].clone();
        (places, lots, lot)
    } else {
        team.send(0, Tag::Presence, &here)?;
        let lots: Vec<Lot> = team.broadcast_from(0)?;
        (Vec::new(), Vec::new(), lots[team.rank()].clone())
    };
    if let Some((code, problem, fix)) = lot.refusal {
        let place = if code == ExitCode::Unavailable as u8 { "backend" } else { "ranks" };
        return Err(Error::new(ExitCode::from_code(code).unwrap_or(ExitCode::Internal), place, problem, fix));
    }
    let table = shown(&places, &lots, wish.first(&places));
    let mut plan = Plan { backend: lot.on.backend, ..plan.clone() };
    let mut isa = plan.isa;
    if !team.is_alone() {
        bind(&lot.cores)?;
        plan.threads = lot.threads;
        isa = InstructionSet::from_name(&lot.instruction_set)
            .ok_or_else(|| Error::internal(format!("instruction set {}", lot.instruction_set)))?;
    }
    let leader = if team.is_alone() { String::new() } else { lot.leader };
    Ok(Settled { plan, isa, leader, on: lot.on, places, table })
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
fn deal(places: &[Place], wish: &Wish) -> Vec<Lot> {
    let (first, threads) = (wish.first(places), wish.threads);
    let mut refusal = refusal(places);
    let choice = choose(wish.backend, wish.share_gpu, places, first).unwrap_or_else(|(problem, fix)| {
        refusal.get_or_insert((ExitCode::Unavailable as u8, problem, fix));
        Choice { backend: wish.backend, why: String::new(), devices: vec![None; places.len()] }
    });
    if wish.exact
        && let Err((problem, fix)) = exactly(places, &choice.devices)
    {
        refusal.get_or_insert((ExitCode::Usage as u8, problem, fix));
    }
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
        lots.push(Lot {
            instruction_set: weakest.to_owned(),
            on: Chosen {
                backend: choice.backend,
                why: choice.why.clone(),
                device: choice.devices[rank]
                    .clone()
                    .map(|found| OnDevice { found, users: users(places, &choice.devices, rank).count() }),
                identity: identity(places, &choice.devices),
                warnings: warnings(places, &choice.devices),
            },
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

fn refusal(places: &[Place]) -> Option<(u8, String, String)> {
    let leader = places.first()?;
    let (rank, other) = places.iter().enumerate().find(|(_, p)| p.program_version != leader.program_version)?;
    let problem = format!(
        "rank 0 is relion-rs {}, rank {rank} on {} is {}",
        leader.program_version, other.host, other.program_version
    );
    let fix = "Load the same module on all nodes, or call the program by its full path.".to_owned();
    Some((ExitCode::Config as u8, problem, fix))
}

/// The table of ranks. Where no device is used, what the environment names is told: a job holds it.
fn shown(places: &[Place], lots: &[Lot], first: usize) -> Vec<RankPlace> {
    let named = |rank: usize, place: &Place| {
        let (nth, _) = neighbours(places, first, rank, |other| sees_the_same(place, other));
        if rank >= first { place.device(nth) } else { None }
    };
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
            device: lot.on.device.as_ref().map(|device| words(&device.found)).or_else(|| named(rank, place)),
        }
    };
    places.iter().zip(lots).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::place::sorted;
    use super::super::sight::Sight;
    use super::*;

    fn place(host: &str, cores: std::ops::Range<usize>) -> Place {
        Place {
            host: host.to_owned(),
            process: 1,
            program_version: "1".to_owned(),
            cores: cores.map(|core| (core, core / 4)).collect(),
            instruction_set: "avx2".to_owned(),
            ..Place::default()
        }
    }

    fn on_cpus(threads: usize, has_leader: bool) -> Wish {
        Wish { threads, backend: Backend::Cpu, share_gpu: false, has_leader, exact: false }
    }

    #[test]
    fn ranks_of_a_node_divide_its_cores() {
        let deal = |places: &[Place]| deal(places, &on_cpus(0, false));
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
        let lots = deal(&places, &on_cpus(0, false));
        assert_eq!((&lots[0].cores[..], &lots[1].cores[..]), (&[0, 2, 4, 6][..], &[1, 3, 5, 7][..]));
        let table = shown(&places, &lots, 0);
        assert_eq!((&*table[0].numa, &*table[1].numa, &*table[1].cores), ("0", "1", "1,3,5,7"));
    }

    fn on_gpus(has_leader: bool) -> Wish {
        Wish { backend: Backend::Cuda, ..on_cpus(0, has_leader) }
    }

    fn with_gpus(place: Place, uuids: &[&str]) -> Place {
        let found = |(ordinal, uuid): (usize, &&str)| Found {
            ordinal: ordinal as u32,
            uuid: (*uuid).to_owned(),
            name: "NVIDIA A100".to_owned(),
            capability: (8, 0),
            processors: 108,
            memory_bytes: 40 << 30,
        };
        let devices = uuids.iter().enumerate().map(found).collect();
        Place { sight: Sight { devices, ..Sight::default() }, ..place }
    }

    #[test]
    fn a_leader_takes_neither_cores_nor_a_device() {
        let places = vec![with_gpus(place("a", 0..8), &["GPU-1", "GPU-2"]); 3];
        let lots = deal(&places, &on_gpus(true));
        assert!(lots[0].refusal.is_none() && lots[0].cores.is_empty());
        assert_eq!(lots[1].cores, [0, 1, 2, 3]);
        let ordinals: Vec<_> =
            lots.iter().map(|lot| lot.on.device.as_ref().map(|d| (d.found.ordinal, d.users))).collect();
        assert_eq!(ordinals, [None, Some((0, 1)), Some((1, 1))]);
        let table = shown(&places, &lots, 1);
        assert_eq!(table[0].device, None);
        assert_eq!(table[2].device.as_deref(), Some("NVIDIA A100, GPU-2"));
        let lots = deal(&places, &on_gpus(false));
        let (code, problem, _) = lots[0].refusal.clone().unwrap();
        assert!(code == ExitCode::Unavailable as u8 && problem.contains("would share"), "{problem}");
        let lots = deal(&places, &Wish { share_gpu: true, ..on_gpus(false) });
        assert_eq!(lots[0].on.device.as_ref().map(|device| device.users), Some(2));
        // Alone: it leads and computes.
        let lots = deal(&places[..1], &on_gpus(true));
        assert_eq!(lots[0].on.device.as_ref().map(|device| device.found.ordinal), Some(0));
        // Alone on its node.
        let lots = deal(&[place("a", 0..8), place("b", 0..8)], &on_cpus(0, true));
        assert_eq!(lots.iter().map(|lot| lot.threads).collect::<Vec<_>>(), [8, 8]);
    }

    #[test]
    fn exact_ranks_are_refused_on_gpus_of_different_kinds() {
        let mut places = [with_gpus(place("a", 0..8), &["GPU-1"]), with_gpus(place("b", 0..8), &["GPU-2"])];
        let exact = Wish { exact: true, ..on_gpus(false) };
        assert_eq!(deal(&places, &exact)[0].refusal, None);
        places[1].sight.devices[0].capability = (9, 0);
        assert_eq!(deal(&places, &on_gpus(false))[0].refusal, None);
        // All ranks hear it.
        for lot in deal(&places, &exact) {
            let (code, problem, _) = lot.refusal.unwrap();
            assert!(code == ExitCode::Usage as u8 && problem.starts_with("--exact: "), "{problem}");
        }
    }

    #[test]
    fn the_weakest_instruction_set_counts() {
        let mut other = place("b", 0..2);
        other.instruction_set = "portable".to_owned();
        assert_eq!(deal(&[place("a", 0..2), other], &on_cpus(3, false))[0].instruction_set, "portable");
    }

    #[test]
    fn programs_are_checked() {
        let mut other = place("b", 0..2);
        assert_eq!(refusal(&[place("a", 0..2), other.clone()]), None);
        other.program_version = "2".to_owned();
        let (code, problem, _) = refusal(&[place("a", 0..2), other]).unwrap();
        assert!(code == ExitCode::Config as u8 && problem.contains("rank 1 on b is 2"), "{problem}");
    }

    #[test]
    fn on_cpus_the_devices_that_a_job_holds_are_told() {
        let gpu = Place { visible: vec!["0".to_owned()], ..place("a", 0..2) };
        // One each, renumbered from 0 by the cgroup.
        let places = ["0", "1"].map(|number| Place { slurm: vec![number.to_owned()], ..gpu.clone() });
        let told = |places: &[Place]| -> Vec<Option<String>> {
            shown(places, &deal(places, &on_cpus(0, false)), 0).into_iter().map(|place| place.device).collect()
        };
        assert_eq!(told(&places), [Some("0".to_owned()), Some("0 (Slurm's 1)".to_owned())]);
        // Both see both: each is named one.
        let both = vec!["0".to_owned(), "1".to_owned()];
        let places = vec![Place { visible: both.clone(), slurm: both, ..gpu }; 2];
        assert_eq!(told(&places), [Some("0".to_owned()), Some("1".to_owned())]);
    }
}
