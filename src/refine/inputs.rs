//! Everything a refinement reads before its first iteration.

use std::collections::BTreeSet;
use std::path::Path;

use crate::checkpoint::Identity;
use crate::checkpoint::InputFile;
use crate::checkpoint::Origin;
use crate::dataset::Dataset;
use crate::dataset::OpticsGroup;
use crate::dataset::ReadOptions;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::Options;
use crate::formats::mrc;
use crate::formats::star::StarFile;
use crate::fourier;
use crate::imaging::CtfOptions;
use crate::imaging::FirstPeak;
use crate::imaging::mask::has_inside;
use crate::imaging::mtf::Mtf;
use crate::maximisation::flatten;
use crate::model::Volume;
use crate::plan::InstructionSet;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::product::Isa;
use crate::rotation::Euler;
use crate::rotation::PointGroup;
use crate::units;

/// The smallest map that has a few shells to compare.
const SMALLEST_BOX: usize = 8;
/// Relative difference of pixel sizes of a mask and the model that counts as none: people type three digits.
const SAME_MASK_PIXEL: f64 = 1e-3;
/// Pixel sizes that differ by less, in Angstrom, are the same.
const SAME_PIXEL_ANGSTROM: f64 = 0.001;

/// Role of the fingerprint of the particles' names: a state has a row for each of them.
pub const ORDER: &str = "the particles' names";

/// The inputs of a job, read and checked.
pub struct Inputs {
    pub dataset: Dataset,
    /// One a stack.
    pub headers: Vec<mrc::Header>,
    /// One map a class, or one for all classes.
    pub references: Vec<Volume>,
    /// The user's solvent mask, in the model's box.
    pub mask: Option<Vec<f32>>,
    pub group: PointGroup,
    pub isa: Isa,
    pub options: Options,
    pub origin: Origin,
}

impl Inputs {
    pub fn load(plan: &Plan) -> Result<Self> {
        Self::load_for(plan, plan.isa, "")
    }

    /// As [`Self::load`], for vector instructions that all ranks have, and what tells their devices in the numerical
    /// identity.
    pub fn load_for(plan: &Plan, isa: InstructionSet, device: &str) -> Result<Self> {
        let particles_file = plan.file(&plan.particles);
        let mut dataset = Dataset::read(&particles_file, &ReadOptions { ctf: plan.ctf, ..ReadOptions::default() })?;
        dataset.suits(plan)?;
        if plan.skip_align && dataset.assignments.iter().all(|a| a.euler == Euler::default()) {
            return Err(Error::bad_data(
                particles_file.display().to_string(),
                "skip_align keeps the poses, but all angles are 0 or missing",
                "Give the `_data.star` of a refinement (rlnAngleRot, rlnAngleTilt, rlnAnglePsi).",
            ));
        }
        let header = |file: &std::path::PathBuf| Ok(*mrc::Stack::open(file)?.header());
        let headers = dataset.stack_files.iter().map(header).collect::<Result<_>>()?;
        let optics = &dataset.optics[0];
        let (box_pixels, pixel) = (optics.box_pixels, optics.pixel_size_angstrom);
        let reference_files = reference_files(plan)?;
        let references = reference_files
            .iter()
            .map(|(_, file)| read_reference(file, plan, box_pixels, pixel))
            .collect::<Result<Vec<_>>>()?;
        let (box_pixels, pixel) = (references[0].box_pixels, references[0].pixel_size_angstrom);
        let particles = InputFile::of_table("particles", &text(&plan.particles), &particles_file)?;
        let mut inputs = vec![particles, InputFile::of_bytes(ORDER, &order(&dataset))];
        for (name, file) in dataset.stacks.iter().zip(&dataset.stack_files) {
            inputs.push(InputFile::of_images("stack", name, file)?);
        }
        for (name, file) in &reference_files {
            inputs.push(InputFile::of_table("reference", name, file)?);
        }
        for file in dataset.optics.iter().filter_map(|group| group.mtf_file.as_ref()).collect::<BTreeSet<_>>() {
            inputs.push(InputFile::of_table("MTF", &text(file), &plan.file(file))?);
        }
        let mask = match &plan.mask {
            None => None,
            Some(path) => {
                let file = plan.file(path);
                inputs.push(InputFile::of_table("mask", &text(path), &file)?);
                let map = read_mask(&file, plan, box_pixels, pixel)?;
                Some(flatten::prepare_mask(&file.display().to_string(), &map, box_pixels, pixel)?)
            }
        };
        if plan.kind == JobKind::Refine3d {
            dataset.assign_halves(plan.seed);
            dataset.check_halves()?;
        }
        let isa = isa.on_this_machine()?;
        let identity = Identity {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            precision: match plan.precision {
                Precision::Single => "single".to_owned(),
                Precision::Double => "double".to_owned(),
            },
            block_particles: plan.block_particles as u32,
            instruction_set: isa.name().to_owned(),
            backend: plan.backend.name().to_owned(),
            device: device.to_owned(),
        };
        let plan_digest = plan.digest()?;
        Ok(Self {
            options: Options { mtfs: mtfs(plan, &dataset.optics)?, ..options(plan, dataset.groups.len()) },
            group: PointGroup::parse(&plan.symmetry)?,
            dataset,
            headers,
            references,
            mask,
            isa,
            origin: Origin { identity, plan_digest, inputs },
        })
    }

    /// What the particle file leaves open, or asks for and this version does not do, a sentence each.
    pub fn not_applied(&self, plan: &Plan) -> Vec<String> {
        let optics = &self.dataset.optics;
        let mut told = self.dataset.remarks(plan);
        let cores = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
        if plan.threads > cores {
            told.push(format!("{} threads on {cores} cores: more threads than cores are slower", plan.threads));
        }
        for group in optics.iter().filter(|o| o.mtf_file.is_none()) {
            if optics.iter().any(|o| o.mtf_file.is_some()) {
                told.push(format!(
                    "optics group {} names no MTF file (rlnMtfFileName): its MTF is taken as 1",
                    group.name
                ));
            }
        }
        told
    }

    /// Bytes of a pixel in the files, at most.
    pub fn pixel_bytes(&self) -> usize {
        self.headers.iter().map(|header| header.mode.bytes()).max().unwrap_or(1)
    }

    /// Whether particles have another image for the final reconstruction.
    pub fn has_reconstruct_images(&self) -> bool {
        self.dataset.particles.iter().any(|particle| particle.reconstruct_image.is_some())
    }

    pub fn box_pixels(&self) -> usize {
        self.references[0].box_pixels
    }

    pub fn pixel_size_angstrom(&self) -> f64 {
        self.references[0].pixel_size_angstrom
    }
}

/// The particles by name, in canonical order.
fn order(dataset: &Dataset) -> Vec<u8> {
    let names = dataset.stacks.iter().flat_map(|name| [name.as_bytes(), b"\n"].concat());
    let images = dataset.particles.iter().flat_map(|particle| {
        let [stack, index] = [particle.image.stack, particle.image.index].map(u32::to_le_bytes);
        stack.into_iter().chain(index)
    });
    names.chain(images).collect()
}

/// The detectors' tables, one an optics group; none if no group names one.
fn mtfs(plan: &Plan, optics: &[OpticsGroup]) -> Result<Vec<Mtf>> {
    if optics.iter().all(|group| group.mtf_file.is_none()) {
        return Ok(Vec::new());
    }
    let read = |group: &OpticsGroup| match (&group.mtf_file, group.original_pixel_size_angstrom) {
        (None, _) => Ok(Mtf::perfect()),
        (Some(file), Some(pixel)) => Mtf::read(&plan.file(file), pixel, plan.parity),
        (Some(file), None) => Err(Error::bad_data(
            text(&plan.particles),
            format!("optics group {} names the MTF file {} without its pixel size", group.name, file.display()),
            "Add rlnMicrographOriginalPixelSize, the pixel size of the movies in Angstrom.",
        )),
    };
    optics.iter().map(read).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn options(plan: &Plan, groups: usize) -> Options {
    let ctf = CtfOptions {
        first_peak: if plan.ctf_intact_first_peak { FirstPeak::IntactUntil } else { FirstPeak::Oscillating },
        phase_flipped: plan.ctf_phase_flipped,
        only_flip_phases: plan.only_flip_phases,
        parity_floor: plan.parity,
    };
    Options {
        diameter_angstrom: plan.diameter_angstrom,
        mask_edge_pixels: plan.mask_edge_pixels,
        zero_mask: plan.zero_mask,
        mtfs: Vec::new(),
        ctf: plan.ctf.then_some(ctf),
        norm_correction: plan.norm,
        // One group has nothing to be scaled against.
        scale_correction: plan.scale && groups > 1,
        adaptive_fraction: super::ADAPTIVE_FRACTION,
        max_significant: plan.max_significant.map(|m| m as u64),
        padding: plan.padding as f64,
        seed: plan.seed,
        parity: plan.parity,
    }
}

/// A map, or the maps of a STAR table: one a class. Each as written, and as a file.
fn reference_files(plan: &Plan) -> Result<Vec<(String, std::path::PathBuf)>> {
    let file = plan.file(&plan.reference);
    if file.extension().is_none_or(|e| !e.eq_ignore_ascii_case("star")) {
        return Ok(vec![(text(&plan.reference), file)]);
    }
    let star = StarFile::read(&file)?;
    let Some(block) = star.blocks.iter().find(|b| b.has("rlnReferenceImage")) else {
        return Err(Error::bad_data(
            file.display().to_string(),
            "no table has the column rlnReferenceImage",
            "List one map a row under that column, or name a single map.",
        ));
    };
    let column = block.require("rlnReferenceImage")?;
    if column.len() != plan.classes {
        return Err(Error::bad_data(
            block.place(),
            format!("{} maps for {} classes", column.len(), plan.classes),
            "List one map a class, or set --classes to the number of maps.",
        ));
    }
    let beside = file.parent().unwrap_or(Path::new("")).to_path_buf();
    Ok(column
        .strs()
        .map(|name| {
            let here = beside.join(name);
            (name.to_owned(), if here.exists() { here } else { plan.file(Path::new(name)) })
        })
        .collect())
}

/// A cubic map with finite values.
fn read_cube(file: &Path) -> Result<Volume> {
    let map = mrc::read_map(file)?;
    let place = file.display().to_string();
    if map.nx != map.ny || map.nx != map.nz {
        return Err(Error::bad_data(
            place,
            format!("the map is {} x {} x {} voxels", map.nx, map.ny, map.nz),
            "Give a cubic map.",
        ));
    }
    if map.nx % 2 == 1 || map.nx < SMALLEST_BOX {
        return Err(Error::bad_data(
            place,
            format!("the box has {} voxels", map.nx),
            format!(
                "Re-box the map to an even size of at least {SMALLEST_BOX}: an odd box has no voxel at its centre."
            ),
        ));
    }
    if map.pixel_size_angstrom <= 0.0 {
        return Err(Error::bad_data(
            place,
            "the header has no pixel size",
            "Set the cell dimensions in the header to box times pixel size.",
        ));
    }
    if let Some(at) = map.data.iter().position(|v| !v.is_finite()) {
        let n = map.nx;
        return Err(Error::bad_data(
            place,
            format!("voxel ({}, {}, {}) is {}", at % n, at / n % n, at / n / n, map.data[at]),
            "Repair the map: every value must be a finite number.",
        ));
    }
    Ok(Volume { box_pixels: map.nx, pixel_size_angstrom: map.pixel_size_angstrom, data: map.data })
}

/// A mask with something in it, of the model's box and pixel size unless other sizes are allowed.
fn read_mask(file: &Path, plan: &Plan, box_pixels: usize, pixel: f64) -> Result<Volume> {
    let map = read_cube(file)?;
    let place = || file.display().to_string();
    if map.data.iter().all(|v| *v <= 0.0) {
        return Err(Error::bad_data(place(), "the mask is empty: no voxel is above 0", "Give a mask of the particle."));
    }
    has_inside(&place(), &map.data)?;
    let same_pixel = (map.pixel_size_angstrom / pixel - 1.0).abs() <= SAME_MASK_PIXEL;
    if (map.box_pixels != box_pixels || !same_pixel) && !plan.trust_reference_size {
        return Err(Error::bad_data(
            place(),
            format!(
                "the mask has {} voxels of {} A, the model {box_pixels} of {pixel} A",
                map.box_pixels, map.pixel_size_angstrom
            ),
            "Give a mask of the model's box and pixel size, or use --trust-reference-size to have it resampled.",
        ));
    }
    Ok(map)
}

/// A reference in the box and pixel size of the images.
fn read_reference(file: &Path, plan: &Plan, box_pixels: usize, pixel: f64) -> Result<Volume> {
    let mut map = read_cube(file)?;
    let place = file.display().to_string();
    if map.data.iter().all(|v| *v == map.data[0]) {
        return Err(Error::bad_data(place, "the map is constant", "Give a map with density."));
    }
    let same_pixel = (map.pixel_size_angstrom - pixel).abs() <= SAME_PIXEL_ANGSTROM;
    if map.box_pixels == box_pixels && same_pixel {
        // Headers hold single precision; the STAR file's number is the one that was meant.
        map.pixel_size_angstrom = pixel;
        return Ok(map);
    }
    if !plan.trust_reference_size {
        return Err(Error::bad_data(
            place,
            format!(
                "the map has {} voxels of {} A, the images {box_pixels} pixels of {pixel} A",
                map.box_pixels, map.pixel_size_angstrom
            ),
            "Use --trust-reference-size to have the map resampled, or give one of the images' box and pixel size.",
        ));
    }
    let scaled = units::round_half_away(map.box_pixels as f64 * map.pixel_size_angstrom / pixel) as usize;
    let scaled = scaled - scaled % 2;
    let resized = fourier::resize_volume(&map.data, map.box_pixels, scaled);
    let model_pixel = map.box_pixels as f64 * map.pixel_size_angstrom / scaled as f64;
    let mut out = Volume::zeros(box_pixels, model_pixel);
    let from = |i: usize| (i + scaled / 2).checked_sub(box_pixels / 2).filter(|i| *i < scaled);
    for (i, v) in out.data.iter_mut().enumerate() {
        let n = box_pixels;
        if let (Some(x), Some(y), Some(z)) = (from(i % n), from(i / n % n), from(i / n / n)) {
            *v = resized[(z * scaled + y) * scaled + x];
        }
    }
    Ok(out)
}
