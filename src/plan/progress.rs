//! `progress.jsonl`: one JSON line an event, written by rank 0, read by `status`, `report` and the progress bar.
//!
//! Times, hosts and absolute paths go here (and into the logs) and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// Causes of a stop that are told apart by who reads them: the time of the batch job, and `max_hours`, is nearly over.
pub const END_OF_TIME: &str = "the end of the time that was given";
pub const END_OF_HOURS: &str = "max_hours";

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Seconds since 1970-01-01 UTC.
    pub unix_seconds: f64,
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The engine starts, afresh or from a checkpoint.
    Started(Started),
    /// Who works where, when there are several ranks.
    Ranks {
        ranks: Vec<RankPlace>,
    },
    IterationStarted {
        iteration: u32,
    },
    /// A phase of the present iteration is over.
    Phase {
        iteration: u32,
        name: String,
        seconds: f64,
    },
    /// Particles of the present iteration that are done.
    Batch {
        iteration: u32,
        particles_done: usize,
        particles_total: usize,
    },
    IterationFinished(Box<IterationFinished>),
    Warning {
        text: String,
    },
    /// Top of the memory arena over an iteration, at the opening and closing of its frames.
    ArenaTrace {
        points: Vec<ArenaPoint>,
        /// All that was asked of it, in order; only the beginning of very many.
        #[serde(default)]
        requests: Vec<ArenaRequest>,
        /// Batches of particles in the iteration; a batch may find the buffers of the one before.
        #[serde(default)]
        batches: usize,
        /// It is the arena of the first rank's GPU.
        #[serde(default)]
        device: bool,
    },
    /// A checkpoint is on disk.
    Checkpoint {
        iteration: u32,
        /// Relative to the run folder.
        file: PathBuf,
        bytes: u64,
        seconds: f64,
    },
    /// The finished blocks of an iteration are on disk.
    Part {
        iteration: u32,
        /// Their index, relative to the run folder.
        file: PathBuf,
        bytes: u64,
        seconds: f64,
        particles_done: usize,
    },
    /// The engine is asked to stop before its end.
    Stopping {
        cause: String,
        /// The unfinished iteration, and its particles in finished blocks.
        iteration: u32,
        particles_done: usize,
    },
    /// The engine ends: `checkpointed` when it wants to be run again.
    Finished {
        iteration: u32,
        checkpointed: bool,
        converged: bool,
        #[serde(deserialize_with = "nan_of_null")]
        resolution_angstrom: f64,
        wall_seconds: f64,
        cpu_seconds: f64,
        /// Most memory that the process held (0 where the system does not tell).
        #[serde(default)]
        resident_peak_bytes: u64,
    },
    /// The engine ends with an error.
    Failed {
        code: u8,
        message: String,
    },
    /// A job of Slurm begins to work on the run; written before the engine starts.
    JobStarted(JobStarted),
    /// That job ends, and what becomes of it; the last one of a job counts.
    JobEnded(JobEnded),
}

/// One start of a job of Slurm: a job that is queued again starts several times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobStarted {
    pub job: String,
    /// How often Slurm has started it before.
    pub restarts: u32,
    /// The job that it goes on after, when nobody but this program submitted it.
    pub continues: Option<String>,
    pub nodes: String,
    pub partition: String,
    /// When its time is over.
    pub end_unix_seconds: Option<f64>,
    /// What earlier starts have written into its log.
    pub log_bytes: u64,
}

/// What a job of Slurm decided about itself at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEnded {
    pub job: String,
    /// With which the ranks ended.
    pub code: u8,
    pub outcome: Outcome,
    /// Cause and decision, in a sentence.
    pub why: String,
}

/// What becomes of a run when one of its jobs ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is left to do.
    Done,
    /// The same job comes back.
    Requeued,
    /// Another job goes on after it.
    Continued,
    /// It stays alive until Slurm says what it wants.
    Waits,
    /// It goes on when a person says so.
    Paused,
    /// Somebody stopped or cancelled it.
    Stopped,
    /// The run itself failed.
    Failed,
}

/// The arena's top at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArenaPoint {
    /// Since the arena was reserved.
    pub seconds: f64,
    /// Kind of the frame that opened or closed.
    pub frame: String,
    pub top_bytes: u64,
}

/// One request to the arena.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArenaRequest {
    /// Kind of the frame.
    pub frame: String,
    #[serde(flatten)]
    pub change: ArenaChange,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ArenaChange {
    Opened,
    Took {
        name: String,
        offset: u64,
        bytes: u64,
    },
    /// Whatever lay from `base` up to `end` was given back.
    Closed {
        base: u64,
        end: u64,
    },
}

/// One rank's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankPlace {
    pub rank: usize,
    pub host: String,
    pub process: u32,
    pub threads: usize,
    /// Cores that it stays on, and their NUMA nodes: `0-3,8`.
    pub cores: String,
    pub numa: String,
    /// Name and UUID of the GPU that it computes on; on CPUs what Slurm gave it, as CUDA counts it.
    pub device: Option<String>,
}

/// Who works, on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub program_version: String,
    pub kind: String,
    pub host: String,
    pub process: u32,
    pub threads: usize,
    pub instruction_set: String,
    pub precision: String,
    /// `cpu` or `cuda`, and why.
    #[serde(default)]
    pub backend: String,
    #[serde(default)]
    pub backend_why: String,
    /// Of the first rank.
    #[serde(default)]
    pub device: Option<Device>,
    pub particles: usize,
    pub classes: usize,
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    /// The iteration of the checkpoint the run goes on from.
    pub resumed_from: Option<u32>,
    /// Particles of the next iteration that are done already.
    #[serde(default)]
    pub resumed_particles: usize,
    /// Particles that an earlier process did, as far as it told, and that are done again.
    #[serde(default)]
    pub repeated_particles: usize,
    pub last_iteration: u32,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub name: String,
    /// `GPU-...` or `MIG-...`.
    pub uuid: String,
    /// `8.0`
    pub compute_capability: String,
    pub memory_bytes: u64,
}

/// The GPU of the first rank over an iteration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceFigures {
    /// As counted before it, as reserved, and the most that was used.
    pub planned_bytes: u64,
    pub reserved_bytes: u64,
    pub peak_bytes: u64,
    /// Particles whose images stay there.
    pub resident_images: usize,
    /// Share of the expectation step's time in which it computed, by what it computed, 0 to 1.
    pub busy: BTreeMap<String, f64>,
}

/// The sum of one iteration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IterationFinished {
    pub iteration: u32,
    #[serde(deserialize_with = "nan_of_null")]
    pub resolution_angstrom: f64,
    #[serde(deserialize_with = "nans_of_nulls")]
    pub class_resolutions_angstrom: Vec<f64>,
    #[serde(deserialize_with = "nans_of_nulls")]
    pub class_shares: Vec<f64>,
    pub current_size: usize,
    pub coarse_size: usize,
    pub healpix_order: u32,
    pub is_local_search: bool,
    #[serde(deserialize_with = "nan_of_null")]
    pub offset_step_angstrom: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub offset_range_angstrom: f64,
    /// Expected accuracies.
    #[serde(deserialize_with = "nan_of_null")]
    pub accuracy_degrees: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub accuracy_angstrom: f64,
    /// Mean change of the best poses.
    #[serde(deserialize_with = "nan_of_null")]
    pub change_degrees: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub change_angstrom: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub change_classes: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub average_max_probability: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub log_likelihood: f64,
    /// Largest of any particle: what the fine weights took, and what other forms would have taken.
    pub weights: WeightMemory,
    pub arena_peak_bytes: u64,
    pub arena_reserved_bytes: u64,
    /// Digest of where everything lay in the arena: the same after an interruption as without one.
    pub arena_layout: String,
    /// What the whole process may hold in this iteration, as counted before it, and the most that it held so far
    /// (0 where the system does not tell).
    pub planned_bytes: u64,
    pub resident_peak_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceFigures>,
    /// Wall-clock time; the phases follow each other.
    pub phase_seconds: BTreeMap<String, f64>,
    /// Floating-point operations of the coarse search.
    pub coarse_operations: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub wall_seconds: f64,
    #[serde(deserialize_with = "nan_of_null")]
    pub cpu_seconds: f64,
}

/// Bytes of the weight array of the particle with the largest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightMemory {
    pub blocks_bytes: u64,
    pub dense_bytes: u64,
    pub csr_bytes: u64,
}

// JSON has no NaN: it is written as null, and read back here.
fn nan_of_null<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn nans_of_nulls<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<f64>, D::Error> {
    let values: Vec<Option<f64>> = Vec::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// Appends events to a file; each is on disk (handed to the system) when [`ProgressWriter::write`] returns.
#[derive(Debug)]
pub struct ProgressWriter {
    path: PathBuf,
    file: File,
    /// The end of the file may be half a line.
    is_torn: bool,
}

impl ProgressWriter {
    /// Opens the file for appending. A torn last line of a killed run is closed first.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |cause| Error::writing(path, &cause);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed)?;
            }
        }
        Ok(Self { path: path.to_path_buf(), file, is_torn: false })
    }

    /// Writes one event with the present time, as one line in one call. A full disk loses the event and nothing else:
    /// computing goes on, and somebody may make room before the next result is to be written. Warnings go to standard
    /// error then.
    pub fn write(&mut self, event: Event) -> Result<()> {
        let record = Record { unix_seconds: unix_seconds(), event };
        let text =
            serde_json::to_string(&record).map_err(|cause| Error::internal(format!("progress event: {cause}")))?;
        let line = format!("{}{text}\n", if self.is_torn { "\n" } else { "" });
        match self.file.write_all(line.as_bytes()).and_then(|()| self.file.flush()) {
            Ok(()) => {
                self.is_torn = false;
                Ok(())
            }
            Err(cause) if matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                self.is_torn = true;
                if let Event::Warning { text } = &record.event {
                    // With standard error closed there is nobody left to tell.
                    let _ = writeln!(std::io::stderr(), "warning: {text}");
                }
                Ok(())
            }
            Err(cause) => Err(Error::writing(&self.path, &cause)),
        }
    }
}

/// All events of a file, in order. Lines that are no event (torn by a kill, or of a newer version) are skipped.
///
/// # Errors
/// `NoInput` when the file is missing, `Io` when reading fails.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let bytes = fs::read(path).map_err(|cause| Error::reading(path, &cause))?;
    Ok(parse(&bytes))
}

/// The same, and none of a run that has not begun.
///
/// # Errors
/// `Io` when reading fails.
pub fn read_or_none(path: &Path) -> Result<Vec<Record>> {
    match read(path) {
        Err(cause) if cause.code == ExitCode::NoInput => Ok(Vec::new()),
        other => other,
    }
}

fn parse(bytes: &[u8]) -> Vec<Record> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Reads the events that were added since the last call.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
    torn: Vec<u8>,
}

impl Follower {
    /// Starts at the present end of the file (or its beginning, when there is none yet).
    pub fn from_end(path: &Path) -> Self {
        let offset = fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { path: path.to_path_buf(), offset, torn: Vec::new() }
    }

    /// New events; none when the file does not exist yet.
    pub fn poll(&mut self) -> Result<Vec<Record>> {
        let failed = |cause| Error::reading(&self.path, &cause);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(failed(cause)),
        };
        file.seek(SeekFrom::Start(self.offset)).map_err(failed)?;
        let mut new = std::mem::take(&mut self.torn);
        self.offset += file.read_to_end(&mut new).map_err(failed)? as u64;
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.torn = new.split_off(whole);
        Ok(parse(&new))
    }
}

/// The present time.
pub fn unix_seconds() -> f64 {
    // A clock before 1970 reads as 1970: only displayed durations would suffer.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| (elapsed.as_secs_f64() * 1e3).round() / 1e3)
}
