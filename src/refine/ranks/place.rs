//! Where a rank is: its node, cores and devices, as the system and Slurm tell them.

use std::collections::BTreeMap;
use std::fs;

use nix::sched::CpuSet;
use nix::sched::sched_getaffinity;
use nix::unistd::Pid;
use serde::Deserialize;
use serde::Serialize;

use crate::error::Result;
use crate::plan::Backend;
use crate::plan::InstructionSet;

use super::sight::Sight;

/// Slurm's word for the devices of a job that has none.
const NO_DEVICES: &str = "NoDevFiles";

/// Where a rank is, and what it has there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub host: String,
    pub process: u32,
    pub program_version: String,
    /// Cores that this rank may use, with the NUMA node of each.
    pub cores: Vec<(usize, usize)>,
    pub instruction_set: String,
    /// Devices that the environment names, as CUDA counts them.
    pub visible: Vec<String>,
    /// Slurm's numbers of them, which count the node's.
    pub slurm: Vec<String>,
    /// Part of a job of Slurm.
    pub is_job: bool,
    /// The devices themselves.
    pub sight: Sight,
}

impl Place {
    /// `backend`: as asked for.
    pub fn here(isa: InstructionSet, backend: Backend) -> Result<Self> {
        let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_default();
        let list = |name: &str| -> Vec<String> {
            let text = std::env::var(name).unwrap_or_default();
            text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let slurm = ["SLURM_STEP_GPUS", "SLURM_JOB_GPUS"].map(list).into_iter().find(|l| !l.is_empty());
        Ok(Self {
            // Several nodes of one machine, as in a test cluster, are told apart by Slurm's name.
            host: std::env::var("SLURMD_NODENAME").ok().filter(|name| !name.is_empty()).unwrap_or(host),
            process: std::process::id(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            cores: own_cores(),
            instruction_set: isa.on_this_machine()?.name().to_owned(),
            visible: list("CUDA_VISIBLE_DEVICES"),
            slurm: slurm.unwrap_or_default(),
            is_job: std::env::var_os("SLURM_JOB_ID").is_some(),
            sight: Sight::look(backend),
        })
    }

    /// Whether Slurm gave devices to this rank's job.
    pub fn is_given_gpus(&self) -> bool {
        let is_device = |word: &String| *word != NO_DEVICES && *word != "-1";
        self.is_job && (!self.slurm.is_empty() || self.visible.iter().any(is_device))
    }

    /// The device that the environment names for this rank, the `nth` of those of its node that see the same ones.
    pub fn device(&self, nth: usize) -> Option<String> {
        let visible = match self.visible.len() {
            0 => return None,
            1 => &self.visible[0],
            count => &self.visible[nth % count],
        };
        let physical = match self.slurm.len() {
            1 => self.slurm.first(),
            count if count == self.visible.len() => self.slurm.get(nth % count),
            _ => None,
        };
        Some(match physical {
            Some(number) if number != visible => format!("{visible} (Slurm's {number})"),
            _ => visible.clone(),
        })
    }
}

/// Cores that this process may use; none where the system does not tell.
fn own_cores() -> Vec<(usize, usize)> {
    let nodes = numa_nodes();
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let cores = (0..CpuSet::count())
        .filter(|core| set.is_set(*core).unwrap_or(false))
        .map(|core| (core, nodes.get(&core).copied().unwrap_or(0)));
    sorted(cores.collect())
}

/// Node by node, so that neighbours in the list share one.
pub fn sorted(mut cores: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    cores.sort_unstable_by_key(|(core, node)| (*node, *core));
    cores
}

/// Core -> NUMA node, from /sys; empty where there is none.
fn numa_nodes() -> BTreeMap<usize, usize> {
    let mut nodes = BTreeMap::new();
    for node in 0..64 {
        let Ok(text) = fs::read_to_string(format!("/sys/devices/system/node/node{node}/cpulist")) else { continue };
        nodes.extend(numbers(text.trim()).into_iter().map(|core| (core, node)));
    }
    nodes
}

/// `0-3,8` -> 0, 1, 2, 3, 8.
fn numbers(list: &str) -> Vec<usize> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// 0, 1, 2, 3, 8 -> `0-3,8`.
pub fn ranges(numbers: &[usize]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(numbers("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(ranges(&[8, 0, 1, 3, 2]), "0-3,8");
        assert_eq!(ranges(&[]), "");
        assert!(numbers("").is_empty());
    }
}
