//! Which rank died first and on which node, as the starter of the ranks wrote it into the log of the job.

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;

/// More than the last words of a job are not looked at.
const MOST_BYTES: u64 = 4 << 20;

/// The first end of a rank that was not wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// By a signal; its word as `srun` writes it (`Killed`).
    Signal {
        /// `rank 1`, or `ranks 1-2`.
        ranks: String,
        node: String,
        word: String,
    },
    Node {
        node: String,
    },
    /// It gave no sign of life, or nothing was done, as the other ranks saw it.
    Silent {
        node: String,
        what: String,
    },
    /// Slurm ended it because it wanted more memory than the job has.
    Memory,
    /// By itself, with an error.
    Code,
}

impl Death {
    /// The node that had better be left out next time. A program that crashes or is told to end does so on every node.
    pub fn broken_node(&self) -> Option<&str> {
        match self {
            Self::Node { node } | Self::Silent { node, .. } => Some(node),
            Self::Signal { node, word, .. } if word.starts_with("Killed") || word.starts_with("Bus error") => {
                Some(node)
            }
            _ => None,
        }
    }
}

/// What the engine's last error says of another rank: `rank 2 on n3: gives no sign of life for 21 s`.
pub fn in_words(message: &str) -> Option<Death> {
    let rest = message.strip_prefix("rank ")?;
    let (rank, rest) = rest.split_once(" on ")?;
    let (node, how) = rest.split_once(": ")?;
    let is_silent = ["gives no sign of life", "is stuck"].iter().any(|words| how.starts_with(words));
    let how = how.lines().next().unwrap_or_default();
    is_silent.then(|| Death::Silent { node: node.to_owned(), what: format!("rank {rank} on {node} {how}") })
}

/// What a log says from some byte on; nothing when it cannot be read.
pub fn first_in(log: &Path, from: u64) -> Option<Death> {
    let mut file = File::open(log).ok()?;
    let end = file.metadata().ok()?.len();
    // A log that is shorter than it was has been replaced.
    let from = if from > end { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(MOST_BYTES)))).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    first(&String::from_utf8_lossy(&bytes))
}

fn first(text: &str) -> Option<Death> {
    // Slurm tells of memory after the end that it caused.
    if text.lines().any(is_about_memory) {
        return Some(Death::Memory);
    }
    text.lines().find_map(death)
}

fn is_about_memory(line: &str) -> bool {
    let is_slurm = line.starts_with("srun: ") || line.starts_with("slurmstepd");
    is_slurm
        && (line.ends_with(": Out Of Memory") || line.contains("oom_kill event") || line.contains("oom-kill event"))
}

fn death(line: &str) -> Option<Death> {
    if let Some(text) = line.strip_prefix("srun: error: ") {
        if let Some(node) = text.strip_prefix("Node failure on ") {
            return Some(Death::Node { node: node.trim().to_owned() });
        }
        let (node, rest) = text.split_once(": task")?;
        let (tasks, how) = rest.split_once(": ")?;
        return Some(match how.starts_with("Exited with exit code") {
            true => Death::Code,
            // `task 1` and `tasks 1-2` are ranks.
            false => {
                let ranks = format!("rank{tasks}");
                Death::Signal { ranks, node: node.to_owned(), word: how.trim().to_owned() }
            }
        });
    }
    // Open MPI's.
    let (_, text) = line.split_once("noticed that process rank ")?;
    let (rank, text) = text.split_once(" on node ")?;
    let rank = rank.split_whitespace().next()?;
    let (node, text) = text.split_once(" exited on signal ")?;
    let word = text.split_once('(').and_then(|(_, word)| word.split_once(')')).map_or(text, |(word, _)| word);
    Some(Death::Signal { ranks: format!("rank {rank}"), node: node.to_owned(), word: word.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_death_is_found_and_names_its_node() {
        // As 22.05 wrote it when a rank was killed with -9.
        let killed = "start\nsrun: error: n2: task 1: Killed\nsrun: launch/slurm: _step_signal: Terminating StepId=5.0\n\
                      slurmstepd-n1: error: *** STEP 5.0 ON n1 CANCELLED AT 2026-11-26T03:16:30 ***\n\
                      srun: error: n1: task 0: Terminated\n";
        let death = first(killed).unwrap();
        let ranks = "rank 1".to_owned();
        assert_eq!(death, Death::Signal { ranks, node: "n2".to_owned(), word: "Killed".to_owned() });
        assert_eq!(death.broken_node(), Some("n2"));
        let failed = "srun: error: n1: task 0: Exited with exit code 74\nsrun: error: n2: tasks 1-2: Killed\n";
        assert_eq!(first(failed), Some(Death::Code));
        let node = "srun: error: Node failure on n2\nsrun: Job step aborted: Waiting up to 7 seconds\n";
        assert_eq!(first(node).unwrap().broken_node(), Some("n2"));
        let crash = "srun: error: n3: task 2: Segmentation fault (core dumped)\n";
        assert_eq!(first(crash).unwrap().broken_node(), None);
        let memory = "srun: error: n2: task 1: Killed\n\
                      slurmstepd: error: Detected 1 oom_kill event in StepId=5.0. Some of your processes may have been \
                      killed by the cgroup out-of-memory handler.\n";
        assert_eq!(first(memory), Some(Death::Memory));
        assert_eq!(first("srun: error: n2: task 1: Out Of Memory\n"), Some(Death::Memory));
        let mpirun = "mpirun noticed that process rank 1 with PID 0 on node n2 exited on signal 9 (Killed).\n";
        assert_eq!(first(mpirun).unwrap().broken_node(), Some("n2"));
        assert_eq!(first("iteration 1: 12 A\nsrun: got SIGCONT\n"), None);
    }

    #[test]
    fn a_silent_rank_is_known_from_the_words_of_the_others() {
        let death = in_words("rank 2 on n3: gives no sign of life for 21 s\n  fix: Look at that node").unwrap();
        assert_eq!(death.broken_node(), Some("n3"));
        let what = "rank 2 on n3 gives no sign of life for 21 s".to_owned();
        assert_eq!(death, Death::Silent { node: "n3".to_owned(), what });
        assert!(in_words("rank 1 on n2: is stuck: nothing was done for 61 s, 50 s are enough").is_some());
        for other in ["rank 1 on n2: a.mrcs, image 3: all pixels are the same", "disk full", "rank 1: is stuck"] {
            assert_eq!(in_words(other), None, "{other}");
        }
    }

    #[test]
    fn what_earlier_starts_wrote_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("slurm-5.out");
        let earlier = "srun: error: n2: task 1: Killed\n";
        std::fs::write(&log, format!("{earlier}srun: error: n1: task 0: Exited with exit code 74\n")).unwrap();
        assert_eq!(first_in(&log, earlier.len() as u64), Some(Death::Code));
        assert!(matches!(first_in(&log, 0), Some(Death::Signal { .. })));
        assert!(matches!(first_in(&log, 1 << 40), Some(Death::Signal { .. })), "replaced by a shorter one");
        assert_eq!(first_in(&folder.path().join("absent"), 0), None);
    }
}
