//! A job of Slurm, as far as Slurm tells.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

use super::span::Span;

/// State of a job. The words of a Slurm that is newer than this program are kept as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    Configuring,
    Running,
    Suspended,
    /// Its processes are being ended; what it ends as is not told yet.
    Completing,
    Completed,
    Cancelled,
    Failed,
    Timeout,
    Preempted,
    NodeFail,
    OutOfMemory,
    /// Ended, and queued again under the same number.
    Requeued,
    Other(String),
}

impl State {
    const KNOWN: [(&'static str, Self); 13] = [
        ("PENDING", Self::Pending),
        ("CONFIGURING", Self::Configuring),
        ("RUNNING", Self::Running),
        ("SUSPENDED", Self::Suspended),
        ("COMPLETING", Self::Completing),
        ("COMPLETED", Self::Completed),
        ("CANCELLED", Self::Cancelled),
        ("FAILED", Self::Failed),
        ("TIMEOUT", Self::Timeout),
        ("PREEMPTED", Self::Preempted),
        ("NODE_FAIL", Self::NodeFail),
        ("OUT_OF_MEMORY", Self::OutOfMemory),
        ("REQUEUED", Self::Requeued),
    ];
    /// Also ends of a job, and treated like failures of it.
    const OTHER_ENDS: [&'static str; 5] = ["BOOT_FAIL", "DEADLINE", "LAUNCH_FAILED", "REVOKED", "RECONFIG_FAIL"];

    /// Reads `RUNNING`; of `CANCELLED by 1000`, `RUNNING+` and `CANCELLED,COMPLETING` the first word.
    pub fn parse(text: &str) -> Self {
        let word: String =
            text.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
        let known = Self::KNOWN.into_iter().find(|(name, _)| *name == word);
        known.map_or_else(|| Self::Other(text.trim().to_owned()), |(_, state)| state)
    }

    /// Whether the job waits, works or is about to come back. A state that is not known counts: nobody says that it
    /// has ended.
    pub fn is_active(&self) -> bool {
        match self {
            Self::Other(word) => !Self::OTHER_ENDS.contains(&word.as_str()),
            _ => !matches!(
                self,
                Self::Completed
                    | Self::Cancelled
                    | Self::Failed
                    | Self::Timeout
                    | Self::Preempted
                    | Self::NodeFail
                    | Self::OutOfMemory
            ),
        }
    }

    /// Whether its processes have been started and have not been told to end.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Suspended)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::KNOWN.iter().find(|(_, state)| state == self);
        match (known, self) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Self::Other(word)) => f.write_str(word),
            (None, _) => f.write_str("?"),
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known of a job; each source knows a part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    pub id: String,
    pub state: State,
    /// Why it waits, or how it ended.
    pub reason: Option<String>,
    pub partition: Option<String>,
    pub nodes: Option<String>,
    pub time_limit: Option<Span>,
    pub time_left: Option<Span>,
    /// Start and end by the clock of the cluster, `2026-11-26T03:20:24`; estimates while it waits.
    pub start: Option<String>,
    pub end: Option<String>,
    pub restarts: Option<u32>,
    /// Slurm has begun to preempt it.
    pub is_preempted: Option<bool>,
    /// It is this preemption, and nobody's cancel, that ends it now.
    pub is_ended_by_preemption: bool,
    /// Whether Slurm may queue it again.
    pub may_requeue: Option<bool>,
    pub excluded_nodes: Option<String>,
    pub exit_code: Option<String>,
    /// Its standard output.
    pub log: Option<String>,
    /// Who says so.
    pub source: &'static str,
}

impl Job {
    pub(super) fn new(id: &str, state: State, source: &'static str) -> Self {
        Self {
            id: id.to_owned(),
            state,
            reason: None,
            partition: None,
            nodes: None,
            time_limit: None,
            time_left: None,
            start: None,
            end: None,
            restarts: None,
            is_preempted: None,
            is_ended_by_preemption: false,
            may_requeue: None,
            excluded_nodes: None,
            exit_code: None,
            log: None,
            source,
        }
    }
}

/// A value, unless it is one of the words for none.
pub(super) fn known(text: &str) -> Option<String> {
    let none = ["", "(null)", "N/A", "None", "Unknown", "NONE", "n/a", "None assigned"];
    let text = text.trim();
    (!none.contains(&text)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_with_what_stands_behind_them() {
        for (text, state) in [
            ("RUNNING", State::Running),
            ("CANCELLED by 1000", State::Cancelled),
            ("CANCELLED+", State::Cancelled),
            ("CANCELLED,COMPLETING", State::Cancelled),
            ("OUT_OF_MEMORY ", State::OutOfMemory),
        ] {
            assert_eq!(State::parse(text), state, "{text}");
        }
        let newer = State::parse("HIBERNATING");
        assert_eq!((newer.to_string().as_str(), newer.is_active()), ("HIBERNATING", true));
        assert!(!State::parse("BOOT_FAIL").is_active() && State::parse("REQUEUE_HOLD").is_active());
    }
}
