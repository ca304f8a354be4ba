//! From what was asked to what is decided: every check that needs no look inside an input file.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::rotation::PointGroup;

use super::decided::Plan;
use super::decided::PlanFormat;
use super::kinds::Backend;
use super::kinds::CoarseForm;
use super::kinds::JobKind;
use super::kinds::Precision;
use super::kinds::parse_bytes;
use super::layers::Layers;

/// Finest HEALPix order after oversampling: 0.06 degrees; beyond it pixel numbers of a grid outgrow any use.
const LARGEST_HEALPIX_ORDER: u32 = 10;
/// A block of weights holds the 8 x 4 children of order 1.
const LARGEST_OVERSAMPLING: u32 = 1;
/// 31,000 offsets; RELION's defaults make 21.
const MOST_OFFSET_STEPS: f64 = 100.0;
const LARGEST_BLOCK: u32 = 65_536;
const MOST_CLASSES: u32 = 1_000;
const MOST_THREADS: u32 = 4_096;

/// A plan, and what a careful person would want to hear before it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    pub plan: Plan,
    pub warnings: Vec<String>,
}

/// Decides everything. `reference_maps` is the number of maps `reference` names: 1 for a map, the rows
/// of a STAR table. Relative paths start at `working_directory`.
///
/// # Errors
/// `Usage` or `Config` for a missing, impossible or contradictory setting, named by the place it was set;
/// `NoInput` for a missing file.
pub fn resolve(layers: &Layers, reference_maps: usize, working_directory: &Path) -> Result<Resolved> {
    let checked = Checked { layers };
    let job = &layers.values;
    let kind = checked.required(
        "kind",
        job.kind,
        "Say what to compute: `relion-rs run refine3d` or `class3d`, or kind = \"refine3d\".",
    )?;
    let is_refinement = kind == JobKind::Refine3d;

    let particles = checked.input("particles", job.particles.as_deref(), working_directory)?;
    let reference = checked.input("reference", job.reference.as_deref(), working_directory)?;
    let out = checked.required("out", job.out.clone(), "Name the run folder: --out DIR, or out = \"DIR\".")?;
    if out.as_os_str().is_empty() || working_directory.join(&out).is_file() {
        return Err(layers.error(
            "out",
            format!("{:?} is not a folder", out.display()),
            "Name a folder; it is created if need be.",
        ));
    }
    let mask = match job.mask.as_deref() {
        None => None,
        Some(path) if path.as_os_str().is_empty() => None,
        path => Some(checked.input("mask", path, working_directory)?),
    };

    let group = PointGroup::parse(&checked.value("symmetry", job.symmetry.clone())?)
        .map_err(|cause| layers.error("symmetry", cause.problem, cause.fix))?;

    let diameter =
        checked.required("diameter", job.diameter, "Give the particle's diameter in Angstrom: --diameter 200.")?;
    checked.real("diameter", Some(diameter), f64::MIN_POSITIVE..=1e6, "Angstrom, more than 0")?;
    let classes = checked.classes(kind, reference_maps)?;
    let ctf = checked.value("ctf", job.ctf)?;
    let solvent_correct_fsc = checked.value("solvent_correct_fsc", job.solvent_correct_fsc)?;
    if solvent_correct_fsc && (mask.is_none() || !is_refinement) {
        return Err(layers.error(
            "solvent_correct_fsc",
            if is_refinement { "needs a mask" } else { "belongs to refine3d: class3d has no half maps" },
            if is_refinement { "Give mask = \"mask.mrc\" (`relion-rs mask` makes one)." } else { "Remove it." },
        ));
    }
    let only_flip_phases = checked.value("only_flip_phases", job.only_flip_phases)?;
    let ctf_phase_flipped = checked.value("ctf_phase_flipped", job.ctf_phase_flipped)?;
    let ctf_intact_first_peak = checked.value("ctf_intact_first_peak", job.ctf_intact_first_peak)?;
    for (key, is_set) in [
        ("only_flip_phases", only_flip_phases),
        ("ctf_phase_flipped", ctf_phase_flipped),
        ("ctf_intact_first_peak", ctf_intact_first_peak),
    ] {
        if is_set && !ctf {
            return Err(layers.error(key, "has no meaning with ctf = false", "Remove one of the two."));
        }
    }

    let oversampling = checked.count("oversampling", job.oversampling, 0..=LARGEST_OVERSAMPLING)?;
    let finest = LARGEST_HEALPIX_ORDER - oversampling;
    let healpix_order = checked.count("healpix_order", job.healpix_order, 0..=finest)?;
    let local_search_order = checked.count("local_search_order", job.local_search_order, 0..=LARGEST_HEALPIX_ORDER)?;
    let sigma_angles = checked.real("sigma_angles", job.sigma_angles, 0.0..=180.0, "degrees, 0 for global searches")?;
    if sigma_angles > 0.0 && is_refinement {
        return Err(layers.error(
            "sigma_angles",
            "belongs to class3d: refine3d decides about local searches itself",
            "Use local_search_order, the HEALPix order from which searches are local.",
        ));
    }
    let perturb = checked.real("perturb", job.perturb, 0.0..=1.0, "0 (none) to 1 step")?;
    let skip_align = checked.value("skip_align", job.skip_align)?;
    if skip_align && (is_refinement || sigma_angles > 0.0) {
        return Err(layers.error(
            "skip_align",
            if is_refinement {
                "belongs to class3d: refine3d is a search for poses"
            } else {
                "contradicts sigma_angles"
            },
            "Remove one of the two.",
        ));
    }
    let offset_step_pixels =
        checked.real("offset_step_pixels", job.offset_step_pixels, 0.01..=1e4, "pixels, at least 0.01")?;
    let offset_range_pixels =
        checked.real("offset_range_pixels", job.offset_range_pixels, 0.0..=1e4, "pixels, 0 for no offsets")?;

    if offset_range_pixels > MOST_OFFSET_STEPS * offset_step_pixels {
        return Err(layers.error(
            "offset_range_pixels",
            format!("a range of {offset_range_pixels} in steps of {offset_step_pixels} pixels gives too many offsets"),
            format!("Give a range of at most {MOST_OFFSET_STEPS} steps."),
        ));
    }

    let precision = checked.value("precision", job.precision)?;
    let coarse_form = checked.value("coarse_form", job.coarse_form)?;
    if coarse_form.is_of_single_precision() && precision == Precision::Double {
        return Err(layers.error(
            "coarse_form",
            format!("{} has no meaning with precision = \"double\"", coarse_form.name()),
            "Use direct, tile or product, or single precision.",
        ));
    }

    let plan = Plan {
        format: PlanFormat::OneMachine,
        program_version: env!("CARGO_PKG_VERSION").to_string(),
        working_directory: working_directory.to_path_buf(),
        kind,
        particles,
        reference,
        out,
        mask,
        symmetry: group.name().to_string(),
        diameter_angstrom: diameter,
        ini_high_angstrom: non_zero(checked.real("ini_high", job.ini_high, 0.0..=1e4, "Angstrom, 0 for no filter")?),
        mask_edge_pixels: checked.real("mask_edge", job.mask_edge, 0.0..=1e4, "pixels")?,
        zero_mask: checked.value("zero_mask", job.zero_mask)?,
        flatten_solvent: checked.value("flatten_solvent", job.flatten_solvent)?,
        trust_reference_size: checked.value("trust_reference_size", job.trust_reference_size)?,
        classes,
        iterations: checked.count("iterations", job.iterations, 0..=9_999)?,
        tau2_fudge: checked.real("tau2_fudge", job.tau2_fudge, 1e-6..=1e6, "more than 0")?,
        first_iteration_cc: checked.value("first_iteration_cc", job.first_iteration_cc)?,
        low_resolution_join_angstrom: non_zero(checked.real(
            "low_resolution_join",
            job.low_resolution_join,
            0.0..=1e4,
            "Angstrom, 0 for none",
        )?)
        .filter(|_| is_refinement),
        solvent_correct_fsc,
        norm: checked.value("norm", job.norm)?,
        scale: checked.value("scale", job.scale)?,
        gridding: checked.value("gridding", job.gridding)?,
        padding: checked.count("padding", job.padding, 1..=2)? as usize,
        seed: checked.seed(job.seed)?,
        ctf,
        ctf_phase_flipped,
        ctf_intact_first_peak,
        only_flip_phases,
        healpix_order,
        local_search_order,
        oversampling: if skip_align { 0 } else { oversampling },
        offset_range_pixels,
        offset_step_pixels,
        sigma_offset_angstrom: checked.real("sigma_offset", job.sigma_offset, 0.1..=1e4, "Angstrom, at least 0.1")?,
        sigma_angles_degrees: non_zero(sigma_angles),
        skip_align,
        perturb: if skip_align { 0.0 } else { perturb },
        max_significant: nonzero_count(checked.count("max_significant", job.max_significant, 0..=u32::MAX)?),
        threads: checked.count("threads", job.threads, 0..=MOST_THREADS)? as usize,
        memory_bytes: checked.size("memory", job.memory.as_deref())?,
        precision,
        backend: checked.value("backend", job.backend)?,
        gpu_memory_bytes: checked.size("gpu_memory", job.gpu_memory.as_deref())?,
        share_gpu: checked.value("share_gpu", job.share_gpu)?,
        coarse_form,
        isa: checked.value("isa", job.isa)?,
        block_particles: checked.count("block_particles", job.block_particles, 1..=LARGEST_BLOCK)? as usize,
        blocks_per_batch: nonzero_count(checked.count("blocks_per_batch", job.blocks_per_batch, 0..=u32::MAX)?),
        dedicated_leader: checked.value("dedicated_leader", job.dedicated_leader)?,
        keep_last: checked.count("keep_last", job.keep_last, 1..=u32::MAX)? as usize,
        keep_every: Some(checked.count("keep_every", job.keep_every, 0..=u32::MAX)?).filter(|every| *every > 0),
        checkpoint_minutes: non_zero(checked.real(
            "checkpoint_minutes",
            job.checkpoint_minutes,
            0.0..=1e5,
            "minutes, 0 for none within an iteration",
        )?),
        max_hours: non_zero(checked.real("max_hours", job.max_hours, 0.0..=1e5, "hours, 0 for no limit")?),
        parity: job.parity.unwrap_or(false),
    };
    Ok(Resolved { warnings: warnings(&plan, &group), plan })
}

fn warnings(plan: &Plan, group: &PointGroup) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.ini_high_angstrom.is_none() && plan.kind == JobKind::Refine3d {
        warnings.push(
            "ini_high = 0: both halves start from unfiltered details of the same map, which can inflate the FSC"
                .to_string(),
        );
    }
    if !group.is_pure_rotation() {
        warnings.push(format!("symmetry {} has mirrors: proteins are chiral and cannot have it", plan.symmetry));
    }
    if plan.offset_step_pixels > plan.offset_range_pixels && plan.offset_range_pixels > 0.0 {
        warnings.push("offset_step_pixels is larger than offset_range_pixels: only the offset 0 is tried".to_string());
    }
    if plan.backend == Backend::Cpu && plan.coarse_form != CoarseForm::Auto {
        let form = plan.coarse_form.name();
        warnings.push(format!("coarse_form = \"{form}\" is for GPUs, and backend is \"cpu\": it changes nothing"));
    }
    if plan.kind == JobKind::Class3d && plan.classes == 1 && plan.iterations > 0 {
        warnings.push("class3d with one class: particles are refined together, not sorted".to_string());
    }
    warnings
}

/// A value of 0 that means "none".
fn non_zero(value: f64) -> Option<f64> {
    Some(value).filter(|value| *value > 0.0)
}

fn nonzero_count(value: u32) -> Option<usize> {
    Some(value as usize).filter(|value| *value > 0)
}

/// Reads values with their checks.
struct Checked<'a> {
    layers: &'a Layers,
}

impl Checked<'_> {
    /// A value every job must give.
    fn required<T>(&self, key: &str, value: Option<T>, fix: &str) -> Result<T> {
        value.ok_or_else(|| Error::usage(format!("{key} is not set"), fix))
    }

    /// A value that has a default.
    fn value<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::internal(format!("{key} has no default")))
    }

    fn real(&self, key: &str, value: Option<f64>, range: std::ops::RangeInclusive<f64>, meaning: &str) -> Result<f64> {
        let value = self.value(key, value)?;
        // A NaN is in no range.
        if range.contains(&value) {
            return Ok(value);
        }
        Err(self.layers.error(
            key,
            format!("{value} is out of range"),
            format!("Give {meaning}, at most {}.", range.end()),
        ))
    }

    fn count(&self, key: &str, value: Option<u32>, range: std::ops::RangeInclusive<u32>) -> Result<u32> {
        let value = self.value(key, value)?;
        if range.contains(&value) {
            return Ok(value);
        }
        let fix = format!("Give a number from {} to {}.", range.start(), range.end());
        Err(self.layers.error(key, format!("{value} is out of range"), fix))
    }

    /// A size of memory, or `auto`.
    fn size(&self, key: &str, value: Option<&str>) -> Result<Option<u64>> {
        let text = self.value(key, value)?;
        if text == "auto" {
            return Ok(None);
        }
        let bytes = parse_bytes(text).filter(|bytes| *bytes > 0);
        let wrong = || {
            let problem = format!("{text:?} is not a size of memory");
            self.layers.error(key, problem, "Write it like 4GiB or 512MiB, or auto.")
        };
        bytes.map(Some).ok_or_else(wrong)
    }

    fn seed(&self, value: Option<u64>) -> Result<u64> {
        let seed = self.value("seed", value)?;
        // TOML integers are signed: a larger seed could not be written into the run folder's job.toml.
        if seed <= i64::MAX as u64 {
            return Ok(seed);
        }
        Err(self.layers.error("seed", format!("{seed} is out of range"), format!("Give a number up to {}.", i64::MAX)))
    }

    /// A file that must exist.
    fn input(&self, key: &str, path: Option<&Path>, working_directory: &Path) -> Result<PathBuf> {
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let path = self.required(key, path, &format!("Name the file: --{key} FILE, or {key} = \"FILE\"."))?;
        let file = working_directory.join(path);
        let place = format!("{}: {}", self.layers.place(key), path.display());
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_dir() => {
                Err(Error::new(ExitCode::NoInput, place, "is a folder", "Name a file, not a folder."))
            }
            // A pipe can be read only once, and would be waited for.
            Ok(metadata) if !metadata.is_file() => {
                Err(Error::new(ExitCode::NoInput, place, "is no regular file", "Name a file on disk."))
            }
            Ok(_) => Ok(path.to_path_buf()),
            Err(cause) => Err(Error::new(
                ExitCode::NoInput,
                place,
                format!("cannot be opened: {cause}"),
                format!("Check the path; relative paths start at {}.", working_directory.display()),
            )),
        }
    }

    fn classes(&self, kind: JobKind, reference_maps: usize) -> Result<usize> {
        let asked = self.count("classes", self.layers.values.classes, 0..=MOST_CLASSES)? as usize;
        let classes = if asked == 0 { reference_maps.max(1) } else { asked };
        if kind == JobKind::Refine3d && classes != 1 {
            return Err(self.layers.error(
                "classes",
                format!(
                    "refine3d makes one map, but {classes} classes were asked for (or named in the reference table)"
                ),
                "Use class3d for several maps, or give refine3d one starting map.",
            ));
        }
        if reference_maps > 1 && reference_maps != classes {
            return Err(self.layers.error(
                "classes",
                format!("{classes} classes, but the reference table names {reference_maps} maps"),
                "Give one starting map for all classes, or one a class.",
            ));
        }
        Ok(classes)
    }
}
