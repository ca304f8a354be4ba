//! What the user wrote: the keys of `job.toml`, each also a flag, and everything optional.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::Command;
use figment::value::Dict;
use figment::value::Value;
use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::cluster::CLUSTER_TABLE;
use super::cluster::Cluster;
use super::cluster::PARTITIONS_TABLE;
use super::kinds::Backend;
use super::kinds::CoarseForm;
use super::kinds::InstructionSet;
use super::kinds::JobKind;
use super::kinds::Precision;
use super::nearest::nearest;

/// The keys of a job. This list is the only one: the flags, the known names of `job.toml` and of the
/// environment, and the help texts come from it.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFile {
    /// What to compute: refine3d or class3d
    #[arg(skip)]
    pub kind: Option<JobKind>,
    /// STAR file of the particles
    #[arg(long, value_name = "STAR", help_heading = "Input and output")]
    pub particles: Option<PathBuf>,
    /// Starting map (MRC), or a STAR table of maps, one a class
    #[arg(long, value_name = "MAP", help_heading = "Input and output")]
    pub reference: Option<PathBuf>,
    /// Run folder: everything is written there
    #[arg(long, value_name = "DIR", help_heading = "Input and output")]
    pub out: Option<PathBuf>,
    /// Solvent mask (MRC, 0 to 1); empty: a sphere of the diameter
    #[arg(long, value_name = "MAP", help_heading = "Input and output")]
    pub mask: Option<PathBuf>,

    /// Point group: C1, C4, D2, T, O, I1 ...
    #[arg(long, value_name = "GROUP", help_heading = "The particle")]
    pub symmetry: Option<String>,
    /// Diameter of the particle's mask in Angstrom
    #[arg(long, value_name = "ANGSTROM", help_heading = "The particle")]
    pub diameter: Option<f64>,
    /// Low-pass filter of the starting map in Angstrom; 0: none
    #[arg(long, value_name = "ANGSTROM", help_heading = "The particle")]
    pub ini_high: Option<f64>,
    /// Soft edge of the particle's mask in pixels
    #[arg(long, value_name = "PIXELS", help_heading = "The particle")]
    pub mask_edge: Option<f64>,
    /// Fill the outside of the mask with zeros (else with the mean of the background)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The particle")]
    pub zero_mask: Option<bool>,
    /// Mask the maps between iterations
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The particle")]
    pub flatten_solvent: Option<bool>,
    /// The starting map's pixel and box size replace a disagreement with the particles
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The particle")]
    pub trust_reference_size: Option<bool>,

    /// Number of classes; 0: as many as starting maps (refine3d: 1)
    #[arg(long, value_name = "N", help_heading = "The method")]
    pub classes: Option<u32>,
    /// Number of iterations (refine3d: the most that are done without convergence)
    #[arg(long, value_name = "N", help_heading = "The method")]
    pub iterations: Option<u32>,
    /// Regularisation parameter T: larger trusts the data more
    #[arg(long, value_name = "T", help_heading = "The method")]
    pub tau2_fudge: Option<f64>,
    /// Compare by normalised cross-correlation in the first iteration
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The method")]
    pub first_iteration_cc: Option<bool>,
    /// Share the shells below this resolution (Angstrom) between the halves; 0: none (refine3d)
    #[arg(long, value_name = "ANGSTROM", help_heading = "The method")]
    pub low_resolution_join: Option<f64>,
    /// Correct the FSC for the mask by randomised phases in every iteration (refine3d)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The method")]
    pub solvent_correct_fsc: Option<bool>,
    /// Correct each image's norm
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The method")]
    pub norm: Option<bool>,
    /// Correct the intensity scale of each micrograph group
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The method")]
    pub scale: Option<bool>,
    /// Reconstruct with iterative gridding instead of the weighted division alone
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "The method")]
    pub gridding: Option<bool>,
    /// Oversampling of the maps' transforms: 1 or 2
    #[arg(long, value_name = "FACTOR", help_heading = "The method")]
    pub padding: Option<u32>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", help_heading = "The method")]
    pub seed: Option<u64>,

    /// Correct for the contrast transfer function
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Contrast transfer")]
    pub ctf: Option<bool>,
    /// The images' phases were flipped already
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Contrast transfer")]
    pub ctf_phase_flipped: Option<bool>,
    /// Take the CTF as 1 up to its first peak
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Contrast transfer")]
    pub ctf_intact_first_peak: Option<bool>,
    /// Take only the sign of the CTF
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Contrast transfer")]
    pub only_flip_phases: Option<bool>,

    /// HEALPix order of the first search (2: 15 degrees, 3: 7.5 degrees ...)
    #[arg(long, value_name = "ORDER", help_heading = "Sampling")]
    pub healpix_order: Option<u32>,
    /// HEALPix order from which searches are local (refine3d)
    #[arg(long, value_name = "ORDER", help_heading = "Sampling")]
    pub local_search_order: Option<u32>,
    /// Order of the adaptive oversampling
    #[arg(long, value_name = "ORDER", help_heading = "Sampling")]
    pub oversampling: Option<u32>,
    /// Largest offset searched, in pixels
    #[arg(long, value_name = "PIXELS", help_heading = "Sampling")]
    pub offset_range_pixels: Option<f64>,
    /// Step of the offsets, in pixels
    #[arg(long, value_name = "PIXELS", help_heading = "Sampling")]
    pub offset_step_pixels: Option<f64>,
    /// Standard deviation of the prior on offsets at the start, in Angstrom
    #[arg(long, value_name = "ANGSTROM", help_heading = "Sampling")]
    pub sigma_offset: Option<f64>,
    /// Local searches with this standard deviation in degrees; 0: global (class3d)
    #[arg(long, value_name = "DEGREES", help_heading = "Sampling")]
    pub sigma_angles: Option<f64>,
    /// Keep the particles' poses and look for their classes only; no other key of the sampling counts (class3d)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Sampling")]
    pub skip_align: Option<bool>,
    /// Random perturbation of the grids between iterations, in units of their steps
    #[arg(long, value_name = "FACTOR", help_heading = "Sampling")]
    pub perturb: Option<f64>,
    /// Most coarse samples kept for a particle; 0: no limit
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub max_significant: Option<u32>,

    /// Threads; 0: one a core that this process may use
    #[arg(long, value_name = "N", help_heading = "Computing")]
    pub threads: Option<u32>,
    /// Most memory that a run may take, as 4GiB; auto: what the plan needs
    #[arg(long, value_name = "SIZE", help_heading = "Computing")]
    pub memory: Option<String>,
    /// Precision of the expectation step
    #[arg(long, value_enum, help_heading = "Computing")]
    pub precision: Option<Precision>,
    /// Device of the expectation step; auto: a GPU where there is one to compute on, else CPUs
    #[arg(long, value_enum, help_heading = "Computing")]
    pub backend: Option<Backend>,
    /// Most memory that a rank may take on a GPU, as 24GiB; auto: what is free there less 512 MiB
    #[arg(long, value_name = "SIZE", help_heading = "Computing")]
    pub gpu_memory: Option<String>,
    /// Several ranks may compute on one GPU
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Computing")]
    pub share_gpu: Option<bool>,
    /// How a GPU compares images in the coarse search; part of what decides the bits of a result
    #[arg(long, value_enum, help_heading = "Computing")]
    pub coarse_form: Option<CoarseForm>,
    /// Vector instructions; part of what decides the bits of a result
    #[arg(long, value_enum, help_heading = "Computing")]
    pub isa: Option<InstructionSet>,
    /// Particles in a block, the unit of work; part of what decides the bits of a result
    #[arg(long, value_name = "N", help_heading = "Computing")]
    pub block_particles: Option<u32>,
    /// Blocks worked on together; 0: 4, or fewer where memory is short
    #[arg(long, value_name = "N", help_heading = "Computing")]
    pub blocks_per_batch: Option<u32>,
    /// Of several ranks the first one only leads: it hands out work and computes no particles
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Computing")]
    pub dedicated_leader: Option<bool>,
    /// Checkpoints kept: this many of the latest
    #[arg(long, value_name = "N", help_heading = "Computing")]
    pub keep_last: Option<u32>,
    /// Checkpoints kept besides: every so many iterations; 0: none
    #[arg(long, value_name = "N", help_heading = "Computing")]
    pub keep_every: Option<u32>,
    /// Longest time within an iteration without a checkpoint, in minutes; 0: only between iterations
    #[arg(long, value_name = "MINUTES", help_heading = "Computing")]
    pub checkpoint_minutes: Option<f64>,
    /// Stop with a checkpoint after so many hours; 0: no limit
    #[arg(long, value_name = "HOURS", help_heading = "Computing")]
    pub max_hours: Option<f64>,

    /// Reproduce RELION's shortcuts number by number (for tests)
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub parity: Option<bool>,
}

impl JobFile {
    /// The names of all keys, in the order of the documentation.
    pub fn keys() -> Vec<String> {
        let flags = Self::augment_args(Command::new("keys"));
        let names = flags.get_arguments().map(|flag| flag.get_id().to_string());
        std::iter::once("kind".to_string()).chain(names).collect()
    }

    /// Keys that are for tests and stay out of the documentation.
    pub fn is_hidden(key: &str) -> bool {
        key == "parity"
    }

    /// The values that were set, by key.
    pub fn set_values(&self) -> Result<Dict> {
        let all = Value::serialize(self).map_err(|cause| Error::internal(format!("job file: {cause}")))?;
        let all = all.into_dict().unwrap_or_default();
        Ok(all.into_iter().filter(|(_, value)| !matches!(value, Value::Empty(..))).collect())
    }

    /// The same with what `over` sets.
    pub fn with(&self, over: &Self) -> Result<Self> {
        let mut values = self.set_values()?;
        values.extend(over.set_values()?);
        Value::from(values).deserialize().map_err(|cause| Error::internal(format!("job file: {cause}")))
    }

    /// The text of a `job.toml` that sets what is set here.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|cause| Error::internal(format!("cannot write a job file: {cause}")))
    }
}

/// Reads a job, user or site file as a table whose keys are all known.
///
/// # Errors
/// `NoInput` or `Io` for an unreadable file; `Config` for a syntax error or an unknown key, with its line.
pub fn read_table(path: &Path) -> Result<toml::Table> {
    let text = fs::read_to_string(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::InvalidData => Error::new(
            ExitCode::Config,
            path.display().to_string(),
            "is not UTF-8 text",
            "Name a TOML file; `relion-rs new` writes one with every key.",
        ),
        _ => Error::reading(path, &cause),
    })?;
    let table: toml::Table = text.parse().map_err(|cause: toml::de::Error| {
        let line = cause.span().map(|span| text[..span.start].lines().count().max(1)).unwrap_or(1);
        Error::new(
            ExitCode::Config,
            format!("{}, line {line}", path.display()),
            cause.message().to_string(),
            "Write `key = value`, with text in double quotes; `relion-rs new` writes an example.",
        )
    })?;
    let place = |key: &str, header: &str| match line_of(&text, key, header) {
        Some(line) => format!("{}, line {line}", path.display()),
        None => path.display().to_string(),
    };
    let known = JobFile::keys();
    for key in table.keys().filter(|key| *key != CLUSTER_TABLE) {
        if !known.contains(key) {
            return Err(unknown_key(ExitCode::Config, place(key, ""), key));
        }
    }
    if let Some((header, key, problem)) = cluster_faults(&table).into_iter().next() {
        return Err(match problem {
            Some((problem, fix)) => Error::new(ExitCode::Config, place(&key, &header), problem, fix),
            None => unknown_cluster_key(place(&key, &header), &header, &key),
        });
    }
    Ok(table)
}

/// The line of a key, at the top of a file or below a table's header.
fn line_of(text: &str, key: &str, header: &str) -> Option<usize> {
    let mut within = header.is_empty();
    for (n, line) in text.lines().enumerate() {
        let plain = line.trim_start();
        let is_key = plain
            .trim_start_matches(['[', '"'])
            .strip_prefix(key)
            .is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c == '-' || c.is_alphanumeric()));
        if within && is_key {
            return Some(n + 1);
        }
        if plain.starts_with('[') && !header.is_empty() {
            within = plain.trim_start_matches('[').starts_with(&format!("{header}]"));
        }
    }
    None
}

/// A table's header, the key in it, and what is wrong with it; without words, it is unknown.
type Fault = (String, String, Option<(String, String)>);

/// What is wrong with the names in the table of the cluster, the first first.
fn cluster_faults(table: &toml::Table) -> Vec<Fault> {
    let known = Cluster::keys();
    let wanted = |header: &str| {
        Some((format!("`{header}` is no table"), format!("Write [{header}] on a line of its own, and its keys below.")))
    };
    let Some(cluster) = table.get(CLUSTER_TABLE) else { return Vec::new() };
    let Some(cluster) = cluster.as_table() else {
        return vec![(String::new(), CLUSTER_TABLE.to_string(), wanted(CLUSTER_TABLE))];
    };
    let mut faults: Vec<Fault> = Vec::new();
    for key in cluster.keys().filter(|key| *key != PARTITIONS_TABLE && !known.contains(key)) {
        faults.push((CLUSTER_TABLE.to_string(), key.clone(), None));
    }
    let header = format!("{CLUSTER_TABLE}.{PARTITIONS_TABLE}");
    let Some(partitions) = cluster.get(PARTITIONS_TABLE) else { return faults };
    let Some(partitions) = partitions.as_table() else {
        faults.push((CLUSTER_TABLE.to_string(), PARTITIONS_TABLE.to_string(), wanted(&format!("{header}.NAME"))));
        return faults;
    };
    for (name, keys) in partitions {
        let own = format!("{header}.{name}");
        match keys.as_table() {
            None => faults.push((header.clone(), name.clone(), wanted(&own))),
            // The table's name is the partition's.
            Some(keys) => faults.extend(
                keys.keys()
                    .filter(|key| *key == "partition" || !known.contains(key))
                    .map(|key| (own.clone(), key.clone(), None)),
            ),
        }
    }
    faults
}

/// The error for a key that does not exist, with the nearest one that does.
pub(super) fn unknown_key(code: ExitCode, place: String, key: &str) -> Error {
    let known: Vec<String> = JobFile::keys().into_iter().filter(|key| !JobFile::is_hidden(key)).collect();
    let of_cluster = Cluster::keys();
    let fix = match nearest(key, known.iter().map(String::as_str)) {
        _ if of_cluster.iter().any(|known| known == key) => {
            format!("It is a key of the cluster: write it below a line [{CLUSTER_TABLE}], at the end of the file.")
        }
        Some(other) => format!("Did you mean `{other}`? `relion-rs new` writes a file with every key."),
        None => match nearest(key, of_cluster.iter().map(String::as_str)) {
            Some(other) => format!("Did you mean `{other}`, below a line [{CLUSTER_TABLE}]?"),
            None => "Remove it; `relion-rs new` writes a file with every key.".to_string(),
        },
    };
    Error::new(code, place, format!("unknown key `{key}`"), fix)
}

/// The same for a key within the table of the cluster or of a partition.
fn unknown_cluster_key(place: String, header: &str, key: &str) -> Error {
    let known = Cluster::keys();
    let fix = match nearest(key, known.iter().map(String::as_str)) {
        Some("partition") if header != CLUSTER_TABLE => {
            format!("The name of the table is the partition's; `partition` itself belongs into [{CLUSTER_TABLE}].")
        }
        Some(other) => format!("Did you mean `{other}`? `relion-rs new` writes a file with every key."),
        None if JobFile::keys().iter().any(|known| known == key) => {
            format!("It is a key of the job: write it above the line [{CLUSTER_TABLE}].")
        }
        None => "Remove it; `relion-rs new` writes a file with every key.".to_string(),
    };
    Error::new(ExitCode::Config, place, format!("unknown key `{key}` in [{header}]"), fix)
}
