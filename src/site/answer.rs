//! What the doctor found, line by line, and the answers of nodes that are kept for `submit`.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Ok,
    /// Works, and could work better.
    Warning,
    /// Is not here; what needs it is said.
    Missing,
    /// `relion-rs run` will not work on this machine.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Missing => "missing",
            Self::Failed => "FAILED",
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub topic: String,
    pub state: State,
    pub found: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl Finding {
    pub fn ok(topic: &str, found: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), state: State::Ok, found: found.into(), remedy: String::new() }
    }

    pub fn warning(topic: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), state: State::Warning, found: found.into(), remedy: remedy.into() }
    }

    pub fn missing(topic: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), state: State::Missing, found: found.into(), remedy: remedy.into() }
    }

    pub fn failed(topic: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { topic: topic.to_owned(), state: State::Failed, found: found.into(), remedy: remedy.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    pub name: String,
    pub uuid: String,
    pub memory_bytes: u64,
    pub driver: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub compute_capability: String,
}

/// Everything about one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the program that looked.
    pub version: String,
    pub host: String,
    /// The partition that it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    pub unix_seconds: f64,
    pub cores: usize,
    pub memory_bytes: u64,
    pub instruction_set: String,
    pub gpus: Vec<Gpu>,
    pub findings: Vec<Finding>,
}

impl Answer {
    /// Whether `relion-rs run` can work there.
    pub fn is_fit(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != State::Failed)
    }

    /// Memory in bytes of the smallest GPU.
    pub fn least_gpu_memory(&self) -> Option<u64> {
        self.gpus.iter().map(|gpu| gpu.memory_bytes).filter(|bytes| *bytes > 0).min()
    }

    /// Keeps the answer of a partition's node, and says where.
    ///
    /// # Errors
    /// The user's folder of settings cannot be written.
    pub fn save(&self, partition: &str) -> Result<PathBuf> {
        let path = place(partition).ok_or_else(|| {
            Error::usage(
                "neither HOME nor XDG_CONFIG_HOME is set",
                "Set HOME: answers are kept in ~/.config/relion-rs/nodes.",
            )
        })?;
        let text = serde_json::to_string_pretty(self).map_err(|cause| Error::internal(format!("answer: {cause}")))?;
        let failed = |path: &Path, cause: &std::io::Error| Error::writing(path, cause);
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|cause| failed(folder, &cause))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|cause| failed(folder, &cause))?;
        file.write_all(text.as_bytes()).map_err(|cause| failed(&path, &cause))?;
        file.persist(&path).map_err(|cause| failed(&path, &cause.error))?;
        Ok(path)
    }
}

/// The answer that `relion-rs doctor --on-node PARTITION` kept; `None` when there is none that can be read.
pub fn saved_answer(partition: &str) -> Option<Answer> {
    serde_json::from_str(&fs::read_to_string(place(partition)?).ok()?).ok()
}

/// Memory in bytes of the smallest GPU that a node of the partition showed.
pub fn saved_gpu_memory(partition: &str) -> Option<u64> {
    saved_answer(partition)?.least_gpu_memory()
}

/// The file of a partition. Slurm allows nearly everything in its name, a file's name does not.
fn place(partition: &str) -> Option<PathBuf> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let name: String = partition.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(folder.join("relion-rs/nodes").join(format!("{name}.json")))
}
