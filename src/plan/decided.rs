//! The plan: everything decided, as the engine reads it from `plan.json`.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::kinds::Backend;
use super::kinds::CoarseForm;
use super::kinds::InstructionSet;
use super::kinds::JobKind;
use super::kinds::Precision;

/// Version of `plan.json`. Versions have names; add one above the last line of the list when the file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanFormat {
    /// One machine, CPU.
    OneMachine,
}

/// Keys that may differ when a run folder is continued: none of them changes a result, but for the backend, which is told
/// by the numerical identity as the machine is.
const MAY_CHANGE: [&str; 13] = [
    "program_version",
    "threads",
    "memory",
    "backend",
    "gpu_memory",
    "share_gpu",
    "blocks_per_batch",
    "dedicated_leader",
    "keep_last",
    "keep_every",
    "checkpoint_minutes",
    "max_hours",
    "iterations",
];
/// Set by Slurm: the cores of one task.
const CORES_OF_TASK: &str = "SLURM_CPUS_PER_TASK";
/// Paths: compared as files, not as text.
const PATHS: [&str; 4] = ["particles", "reference", "out", "mask"];

/// Everything decided. The names in `plan.json` are the keys of `job.toml`; the names here carry units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub format: PlanFormat,
    pub program_version: String,
    /// Where relative paths start: the folder the command was typed in. Absolute.
    pub working_directory: PathBuf,

    pub kind: JobKind,
    /// As typed; the same holds for the other paths.
    pub particles: PathBuf,
    /// A map, or a STAR table of maps.
    pub reference: PathBuf,
    pub out: PathBuf,
    /// Solvent mask; without one, a sphere.
    pub mask: Option<PathBuf>,

    /// Point group, upper case.
    pub symmetry: String,
    #[serde(rename = "diameter")]
    pub diameter_angstrom: f64,
    /// `None`: the starting map is used as it is.
    #[serde(rename = "ini_high")]
    pub ini_high_angstrom: Option<f64>,
    #[serde(rename = "mask_edge")]
    pub mask_edge_pixels: f64,
    pub zero_mask: bool,
    pub flatten_solvent: bool,
    pub trust_reference_size: bool,

    pub classes: usize,
    /// The last iteration, or for refine3d the most that are done.
    pub iterations: u32,
    pub tau2_fudge: f64,
    pub first_iteration_cc: bool,
    /// `None`: the halves share nothing.
    #[serde(rename = "low_resolution_join")]
    pub low_resolution_join_angstrom: Option<f64>,
    pub solvent_correct_fsc: bool,
    pub norm: bool,
    pub scale: bool,
    pub gridding: bool,
    pub padding: usize,
    pub seed: u64,

    pub ctf: bool,
    pub ctf_phase_flipped: bool,
    pub ctf_intact_first_peak: bool,
    pub only_flip_phases: bool,

    pub healpix_order: u32,
    pub local_search_order: u32,
    pub oversampling: u32,
    pub offset_range_pixels: f64,
    pub offset_step_pixels: f64,
    #[serde(rename = "sigma_offset")]
    pub sigma_offset_angstrom: f64,
    /// `None`: global searches.
    #[serde(rename = "sigma_angles")]
    pub sigma_angles_degrees: Option<f64>,
    /// Poses are kept; `oversampling` and `perturb` are 0.
    #[serde(default)]
    pub skip_align: bool,
    pub perturb: f64,
    pub max_significant: Option<usize>,

    /// 0: one a core; see [`Plan::thread_count`].
    pub threads: usize,
    /// Cap on the memory of the engine; `None`: what the layout needs.
    #[serde(rename = "memory")]
    pub memory_bytes: Option<u64>,
    pub precision: Precision,
    /// `Auto` until the engine has started.
    pub backend: Backend,
    /// Cap on the memory that a rank takes on a GPU; `None`: what is free there.
    #[serde(rename = "gpu_memory", default)]
    pub gpu_memory_bytes: Option<u64>,
    #[serde(default)]
    pub share_gpu: bool,
    #[serde(default)]
    pub coarse_form: CoarseForm,
    pub isa: InstructionSet,
    pub block_particles: usize,
    /// `None`: 4, or fewer where memory is short.
    pub blocks_per_batch: Option<usize>,
    /// Of several ranks the first one only leads.
    #[serde(default)]
    pub dedicated_leader: bool,
    pub keep_last: usize,
    /// `None`: only the latest checkpoints are kept.
    pub keep_every: Option<u32>,
    /// Longest time within an iteration without a checkpoint; `None`: only between iterations.
    #[serde(default)]
    pub checkpoint_minutes: Option<f64>,
    pub max_hours: Option<f64>,

    pub parity: bool,
}

impl Plan {
    /// A path of the plan as a file of this machine.
    pub fn file(&self, path: &Path) -> PathBuf {
        self.working_directory.join(path)
    }

    /// Threads to start on this machine. A cluster that does not bind processes to cores still says how many they have
    /// been given, and memory was counted for so many.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => given_cores(
                std::thread::available_parallelism().map_or(1, usize::from),
                std::env::var(CORES_OF_TASK).ok().as_deref(),
            ),
            count => count,
        }
    }

    /// Text of `plan.json`.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|cause| Error::internal(format!("plan: {cause}")))?;
        Ok(text + "\n")
    }

    /// BLAKE3, hexadecimal, of the settings that decide a result: neither what may change on the way, nor where files
    /// lie (their content has fingerprints of its own).
    pub fn digest(&self) -> Result<String> {
        let mut map = self.comparable();
        map.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()) && !PATHS.contains(&key.as_str()) && key != "format");
        // Runs that began before there was another backend keep their digest.
        map.insert("backend".to_owned(), Backend::Cpu.name().into());
        if self.coarse_form == CoarseForm::Auto {
            map.remove("coarse_form");
        }
        let text = serde_json::to_string(&map).map_err(|cause| Error::internal(format!("plan: {cause}")))?;
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }

    /// Reads `plan.json`.
    ///
    /// # Errors
    /// `NoInput` when it is missing, `Config` when it is no plan or one of a newer version.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|cause| Error::reading(path, &cause))?;
        let place = path.display().to_string();
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|cause| {
            Error::new(
                ExitCode::Config,
                format!("{place}, line {}, column {}", cause.line(), cause.column()),
                format!("is not JSON: {cause}"),
                "Do not edit this file; delete it and run the job again to have it written anew.",
            )
        })?;
        let format = value.get("format").cloned().unwrap_or_default();
        if serde_json::from_value::<PlanFormat>(format.clone()).is_err() {
            let version = value.get("program_version").and_then(|v| v.as_str()).unwrap_or("an unknown version");
            return Err(Error::new(
                ExitCode::Config,
                place,
                format!(
                    "has the format {format}, written by relion-rs {version}; this is {}",
                    env!("CARGO_PKG_VERSION")
                ),
                "Continue the run with the version that wrote it, or start a new run folder.",
            ));
        }
        serde_json::from_value(value).map_err(|cause| {
            Error::new(
                ExitCode::Config,
                place,
                format!("is not a plan: {cause}"),
                "Do not edit this file; delete it and run the job again to have it written anew.",
            )
        })
    }

    /// The keys whose change would make a continued run another run, each with (there, here).
    pub fn differences(&self, new: &Self) -> Vec<(String, String, String)> {
        let old_values = self.comparable();
        let new_values = new.comparable();
        old_values
            .iter()
            .filter(|(key, _)| !MAY_CHANGE.contains(&key.as_str()))
            .filter_map(|(key, old)| {
                let new = new_values.get(key)?;
                (old != new).then(|| (key.clone(), old.to_string(), new.to_string()))
            })
            .collect()
    }

    /// Values by key, with paths as files and without the folder they start from.
    fn comparable(&self) -> serde_json::Map<String, serde_json::Value> {
        let Ok(serde_json::Value::Object(mut map)) = serde_json::to_value(self) else {
            unreachable!("a struct with named fields serialises to a JSON object")
        };
        map.remove("working_directory");
        for key in PATHS {
            if let Some(serde_json::Value::String(path)) = map.get_mut(key) {
                let file = self.file(Path::new(path.as_str()));
                *path = file.canonicalize().unwrap_or(file).display().to_string();
            }
        }
        map
    }
}

/// The cores that this process sees, or fewer that it was given.
fn given_cores(seen: usize, given: Option<&str>) -> usize {
    let given = given.and_then(|text| text.trim().parse::<usize>().ok()).filter(|count| *count > 0);
    given.map_or(seen, |given| given.min(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_takes_the_cores_it_was_given() {
        for (given, wanted) in [(None, 8), (Some("2"), 2), (Some("16"), 8), (Some("0"), 8), (Some("many"), 8)] {
            assert_eq!(given_cores(8, given), wanted, "{given:?}");
        }
    }
}
