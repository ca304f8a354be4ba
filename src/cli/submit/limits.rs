//! The settings of the cluster against what a partition has: memory and time.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::format_bytes;
use crate::plan::parse_bytes;
use crate::slurm::partition::Nodes;
use crate::slurm::time;
use crate::slurm::time::Limit;

use super::super::screen::counted;
use super::wanted::Wanted;

/// The guess of the time is asked for so many times, in steps of half an hour, and an hour at least.
const TIME_FACTOR: f64 = 2.0;
const TIME_STEP: u64 = 1800;
const LEAST_TIME: u64 = 3600;

impl Wanted<'_> {
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

fn mib(mib: u64) -> String {
    format_bytes(mib << 20)
}
