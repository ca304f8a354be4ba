//! The machine: its name, memory and limits.

use std::fs;
use std::thread;

use nix::sys::resource::RLIM_INFINITY;
use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::unistd::gethostname;

use crate::error::Error;
use crate::error::Result;
use crate::plan::format_bytes;

use super::answer::Finding;

/// 64 open stacks, two checkpoints, pipes and what MPI opens.
const ENOUGH_FILES: u64 = 1024;

pub fn host() -> Result<String> {
    let name = gethostname().map_err(|cause| Error::internal(format!("host name: {cause}")))?;
    Ok(name.to_string_lossy().into_owned())
}

/// Cores and bytes of memory that this process may use.
pub fn look(findings: &mut Vec<Finding>) -> (usize, u64) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let memory = memory();
    findings.push(match memory {
        Some((bytes, whose)) => Finding::ok("memory", format!("{} {whose}", format_bytes(bytes))),
        None => Finding::warning("memory", "/proc/meminfo cannot be read", "Say how much a job may take: `memory`."),
    });
    limits(findings);
    (cores, memory.map_or(0, |(bytes, _)| bytes))
}

/// The machine's memory, or the smaller limit of this process's control group.
fn memory() -> Option<(u64, &'static str)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    match group_limit() {
        Some(limit) if limit < total => Some((limit, "by the limit of the control group")),
        _ => Some((total, "in this machine")),
    }
}

/// The smallest limit on the way up from this process's control group (version 2, or the memory group of version 1).
fn group_limit() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let mut path = path.trim_matches('/').to_owned();
        loop {
            let limit = fs::read_to_string(format!("{root}/{path}/{file}")).ok();
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
            least = [least, limit].into_iter().flatten().min();
            match path.rsplit_once('/') {
                Some((above, _)) => path = above.to_owned(),
                None if !path.is_empty() => path.clear(),
                None => break,
            }
        }
    }
    least
}

fn limits(findings: &mut Vec<Finding>) {
    let topic = "limits";
    let before = findings.len();
    let of = |resource| getrlimit(resource).unwrap_or((RLIM_INFINITY, RLIM_INFINITY));
    let (files, most_files) = of(Resource::RLIMIT_NOFILE);
    if files < ENOUGH_FILES {
        findings.push(Finding::warning(
            topic,
            format!("{files} open files (ulimit -n; up to {most_files})"),
            format!("`ulimit -n {ENOUGH_FILES}` in `setup` of the site file; more stacks can be open then."),
        ));
    }
    let (size, _) = of(Resource::RLIMIT_FSIZE);
    if size != RLIM_INFINITY {
        findings.push(Finding::warning(
            topic,
            format!("files of at most {} (ulimit -f)", format_bytes(size)),
            "Checkpoints and maps may be larger: `ulimit -f unlimited`, or ask who set it.",
        ));
    }
    let (seconds, _) = of(Resource::RLIMIT_CPU);
    if seconds != RLIM_INFINITY {
        findings.push(Finding::warning(
            topic,
            format!("{seconds} s of processor time (ulimit -t)"),
            "Usual on login nodes: run on a compute node.",
        ));
    }
    let (space, _) = of(Resource::RLIMIT_AS);
    if space != RLIM_INFINITY {
        findings.push(Finding::warning(
            topic,
            format!("{} of address space (ulimit -v)", format_bytes(space)),
            "`ulimit -v unlimited`: GPUs and MPI reserve more than they use.",
        ));
    }
    let (locked, _) = of(Resource::RLIMIT_MEMLOCK);
    if findings.len() == before {
        let locked = if locked == RLIM_INFINITY { "any amount".to_owned() } else { format_bytes(locked) };
        findings.push(Finding::ok(topic, format!("{files} open files; {locked} of locked memory; no other limit")));
    }
}
