//! What `sinfo` and `scontrol` say of the partitions: their nodes, limits, and what happens to a preempted job.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::nearest;

use super::call::Failure;
use super::call::call;
use super::time;
use super::time::Limit;

/// Partition, up or down, nodes, processors, memory, GRES, time limit, default time, state.
const FORMAT: &str = "%P|%a|%D|%c|%m|%G|%l|%L|%T";
/// States of nodes that no job can get now.
const GONE: [&str; 6] = ["down", "drain", "fail", "unknown", "inval", "maint"];

/// Nodes of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    pub count: u32,
    pub cpus: u32,
    pub memory_mib: u64,
    /// Types of GPUs and how many of each a node has; a type may be without a name.
    pub gpus: Vec<(String, u32)>,
    /// Whether they are not down or drained.
    pub usable: bool,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub name: String,
    pub is_default: bool,
    pub is_up: bool,
    pub limit: Limit,
    pub default_time: Option<Limit>,
    pub nodes: Vec<Nodes>,
}

impl Nodes {
    /// GPUs of a type, or of any.
    pub fn gpus_of(&self, kind: Option<&str>) -> u32 {
        self.gpus.iter().filter(|(name, _)| kind.is_none_or(|kind| name == kind)).map(|(_, count)| count).sum()
    }
}

impl Partition {
    pub fn node_count(&self) -> u32 {
        self.nodes.iter().map(|nodes| nodes.count).sum()
    }

    /// Whether a node can be used at all now.
    pub fn has_usable_node(&self) -> bool {
        self.nodes.iter().any(|nodes| nodes.usable)
    }

    /// Types of its GPUs.
    pub fn gpu_types(&self) -> Vec<&str> {
        let mut all: Vec<&str> =
            self.nodes.iter().flat_map(|nodes| &nodes.gpus).map(|(name, _)| name.as_str()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// All partitions that this user may see.
///
/// # Errors
/// `sinfo` is absent or does not answer.
pub fn partitions() -> std::result::Result<Vec<Partition>, Failure> {
    Ok(parse(&call("sinfo", &["-h", "-e", "-o", FORMAT])?))
}

/// Reads lines of [`FORMAT`]; lines that are none are skipped.
pub fn parse(text: &str) -> Vec<Partition> {
    let mut all: Vec<Partition> = Vec::new();
    for line in text.lines() {
        let Some((partition, nodes)) = row(line) else { continue };
        match all.iter_mut().find(|known| known.name == partition.name) {
            Some(known) => known.nodes.extend(nodes),
            None => all.push(Partition { nodes: nodes.into_iter().collect(), ..partition }),
        }
    }
    all
}

fn row(line: &str) -> Option<(Partition, Option<Nodes>)> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, up, count, cpus, memory, gres, limit, default, state] = fields[..] else { return None };
    // `16+` where nodes differ.
    let number = |text: &str| text.trim_end_matches('+').parse::<u64>().ok();
    let partition = Partition {
        name: name.trim_end_matches('*').to_owned(),
        is_default: name.ends_with('*'),
        is_up: up.eq_ignore_ascii_case("up"),
        limit: time::parse(limit).unwrap_or(Limit::None),
        default_time: time::parse(default),
        nodes: Vec::new(),
    };
    let nodes = Nodes {
        count: number(count)? as u32,
        cpus: number(cpus)? as u32,
        memory_mib: number(memory)?,
        gpus: gpus(gres),
        usable: !GONE.iter().any(|gone| state.to_lowercase().starts_with(gone)) && !state.ends_with('*'),
    };
    Some((partition, Some(nodes).filter(|nodes| nodes.count > 0)))
}

/// Of `gpu:a100:4(S:0-1),nvme:1` the GPUs. Slices of a GPU (MIG) are types of their own.
fn gpus(text: &str) -> Vec<(String, u32)> {
    let mut found: Vec<(String, u32)> = Vec::new();
    // Commas stand in the brackets too.
    let mut depth = 0;
    let plain: String = text
        .chars()
        .filter(|letter| {
            depth += i32::from(*letter == '(');
            let outside = depth == 0;
            depth -= i32::from(*letter == ')');
            outside
        })
        .collect();
    for entry in plain.split(',') {
        let words: Vec<&str> = entry.trim().split(':').collect();
        let (name, count) = match words[..] {
            ["gpu", count] => ("", count.parse().ok()),
            ["gpu", name, count] => (name, count.parse().ok()),
            _ => continue,
        };
        match (count, found.iter_mut().find(|(known, _)| known == name)) {
            (Some(count), Some(known)) => known.1 += count,
            (Some(count), None) => found.push((name.to_owned(), count)),
            (None, _) => {}
        }
    }
    found
}

/// The partition that is wanted, or the default one.
///
/// # Errors
/// `Usage` when there is none of this name: with those that there are, and the nearest.
pub fn choose<'a>(all: &'a [Partition], wanted: Option<&str>) -> Result<Option<&'a Partition>> {
    let Some(wanted) = wanted else { return Ok(all.iter().find(|partition| partition.is_default)) };
    // Slurm takes the first of a list that has room.
    let first = wanted.split(',').next().unwrap_or_default();
    for name in wanted.split(',') {
        if all.iter().any(|partition| partition.name == name) {
            continue;
        }
        let names: Vec<&str> = all.iter().map(|partition| partition.name.as_str()).collect();
        let meant =
            nearest(name, names.iter().copied()).map(|name| format!("Did you mean `{name}`? ")).unwrap_or_default();
        return Err(Error::new(
            ExitCode::Usage,
            "partition",
            format!("there is no partition {name:?}"),
            format!("{meant}This cluster has: {}.", names.join(", ")),
        ));
    }
    Ok(all.iter().find(|partition| partition.name == first))
}

/// What Slurm does to a job of the partition that has to make room, in upper case: OFF, REQUEUE, CANCEL, SUSPEND ...;
/// `None` where `scontrol` does not say.
pub fn preempt_mode(partition: Option<&str>) -> Option<String> {
    let own = partition.and_then(|name| call("scontrol", &["-o", "show", "partition", name]).ok());
    own.as_deref().and_then(preempt_mode_of).or_else(|| preempt_mode_of(&call("scontrol", &["show", "config"]).ok()?))
}

/// Of `PreemptMode=REQUEUE`, or of `PreemptMode             = GANG,SUSPEND`, the mode.
fn preempt_mode_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("PreemptMode")?;
    let mode = rest.trim_start_matches([' ', '=']).split_whitespace().next()?;
    Some(mode.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slurm 22.05, three nodes with fake GPUs, one of them drained.
    const SANDBOX: &str = "\
high*|up|2|4|2000|gpu:fake:2(S:0)|infinite|n/a|idle
high*|up|1|4|2000|gpu:fake:2(S:0)|infinite|n/a|drained
low|up|2|4|2000|gpu:fake:2(S:0)|1-00:00:00|30:00|mixed
";
    /// A site with several kinds of nodes, newer.
    const SITE: &str = "\
gpu|up|12|64|515000|gpu:a100:4(S:0-1),nvme:1|2-00:00:00|1:00:00|allocated
gpu|up|1|64|515000|gpu:a100:4(S:0-1),nvme:1|2-00:00:00|1:00:00|down*
gpu|up|4|48|257000+|gpu:rtx:2,gpu:a100_1g.5gb:7(S:0,1)|2-00:00:00|1:00:00|idle
cpu*|down|100|128|257000|(null)|7-00:00:00|n/a|idle~
empty|up|0|0|0|(null)|infinite|n/a|n/a
slurm_load_partitions: some warning
";

    #[test]
    fn partitions_are_read() {
        let all = parse(SANDBOX);
        assert_eq!(all.len(), 2);
        assert!(all[0].is_default && all[0].limit == Limit::None && all[0].default_time.is_none());
        assert_eq!((all[0].node_count(), all[0].nodes[1].usable, all[0].has_usable_node()), (3, false, true));
        assert_eq!((all[1].limit, all[1].default_time), (Limit::Seconds(86400), Some(Limit::Seconds(1800))));
        assert_eq!(all[1].nodes[0].gpus, [("fake".to_owned(), 2)]);

        let all = parse(SITE);
        assert_eq!(all.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["gpu", "cpu", "empty"]);
        assert_eq!(all[0].gpu_types(), ["a100", "a100_1g.5gb", "rtx"]);
        let nodes = &all[0].nodes;
        assert_eq!((nodes[0].gpus_of(None), nodes[2].gpus_of(None), nodes[2].gpus_of(Some("rtx"))), (4, 9, 2));
        assert_eq!((nodes[1].usable, nodes[2].memory_mib, all[1].is_up), (false, 257_000, false));
        assert!(all[1].nodes[0].gpus.is_empty() && all[1].has_usable_node() && !all[2].has_usable_node());
    }

    #[test]
    fn an_unknown_partition_is_told_with_those_there_are() {
        let all = parse(SITE);
        assert_eq!(choose(&all, None).unwrap().unwrap().name, "cpu");
        assert_eq!(choose(&all, Some("gpu,cpu")).unwrap().unwrap().name, "gpu");
        let error = choose(&all, Some("gpus")).unwrap_err();
        assert!(error.fix.contains("Did you mean `gpu`?") && error.fix.contains("gpu, cpu, empty"), "{error}");
        assert!(choose(&parse(SITE)[..1], None).unwrap().is_none());
    }

    #[test]
    fn preemption_is_read_in_both_forms() {
        let line = "PartitionName=low AllowGroups=ALL PreemptMode=REQUEUE State=UP TotalCPUs=12";
        assert_eq!(preempt_mode_of(line).as_deref(), Some("REQUEUE"));
        let lines = "PreemptExemptTime       = 00:00:00\nPreemptMode             = CANCEL\nPreemptType = x\n";
        assert_eq!(preempt_mode_of(lines).as_deref(), Some("CANCEL"));
        assert_eq!(preempt_mode_of("PartitionName=low"), None);
    }
}
