//! The model of one half set, or of all particles, from a model file and its maps.

use std::path::Path;

use crate::dataset::Dataset;
use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc;
use crate::formats::star::StarFile;
use crate::model::ClassModel;
use crate::model::GroupModel;
use crate::model::HalfModel;
use crate::model::Volume;

use super::files;
use super::noise;
use super::rows::Rows;
use super::run::Run;

/// An accuracy that was not estimated.
const UNKNOWN: f64 = 999.0;

/// What the model files of both halves are read with.
pub struct Frame<'a> {
    pub run: &'a Run,
    pub dataset: &'a Dataset,
    /// RELION's micrograph group of each particle, 0-based.
    pub group_of: &'a [usize],
    /// Directions of the present grid.
    pub directions: usize,
}

/// The model of the particles `members`, and what was missing in its file.
pub fn half(frame: &Frame<'_>, star: &StarFile, members: &[usize]) -> Result<(HalfModel, Vec<String>)> {
    let run = frame.run;
    let general = Rows(star.require("model_general")?);
    let mut missing = Vec::new();
    let classes = classes(frame, star, &mut missing)?;
    let shells = run.box_pixels / 2 + 1;
    let sigma = if general.0.has("rlnSigmaOffsetsAngst") { "rlnSigmaOffsetsAngst" } else { "rlnSigmaOffsets" };
    let model = HalfModel {
        classes,
        noise: noise::spectra(star, frame.dataset, members, frame.group_of, shells)?,
        groups: groups(frame, star, members)?,
        average_norm: general.real("rlnNormCorrectionAverage")?,
        sigma_offset_angstrom: general.real(sigma)? * run.length_angstrom,
        log_likelihood: general.real("rlnLogLikelihood")?,
        average_max_probability: general.real("rlnAveragePmax")?,
    };
    Ok((model, missing))
}

fn classes(frame: &Frame<'_>, star: &StarFile, missing: &mut Vec<String>) -> Result<Vec<ClassModel>> {
    let run = frame.run;
    let table = Rows(star.require("model_classes")?);
    let count = run.general()?.count("rlnNrClasses")?;
    if table.0.rows() != count || count == 0 {
        return Err(Error::bad_data(
            table.0.place(),
            format!("{} rows for {count} classes", table.0.rows()),
            "Restore the file from RELION's job.",
        ));
    }
    let maps = table.column("rlnReferenceImage")?;
    let shares = table.reals("rlnClassDistribution")?;
    let degrees = table.reals_or("rlnAccuracyRotations", UNKNOWN)?;
    let in_angstrom = table.0.has("rlnAccuracyTranslationsAngst");
    let label = if in_angstrom { "rlnAccuracyTranslationsAngst" } else { "rlnAccuracyTranslations" };
    let offsets = table.reals_or(label, UNKNOWN)?;
    (0..count)
        .map(|k| {
            let file = files::existing(&run.project, &maps, k)?;
            let spectra = Rows(star.require(&format!("model_class_{}", k + 1))?);
            let shells = run.box_pixels / 2 + 1;
            if spectra.0.rows() != shells {
                return Err(Error::bad_data(
                    spectra.0.place(),
                    format!("{} shells in a box of {} pixels", spectra.0.rows(), run.box_pixels),
                    "Restore the file from RELION's job.",
                ));
            }
            let orientability = "rlnSpectralOrientabilityContribution";
            Ok(ClassModel {
                map: read_map(run, &file)?,
                share: shares[k],
                directions: directions(frame, star, k, shares[k], missing)?,
                tau2: spectra.reals("rlnReferenceTau2")?,
                sigma2: spectra.reals("rlnReferenceSigma2")?,
                ssnr: spectra.reals("rlnSsnrMap")?,
                fsc: spectra.reals("rlnGoldStandardFsc")?,
                coverage: spectra.reals_or("rlnFourierCompleteness", 0.0)?,
                orientability: if spectra.0.has(orientability) { spectra.reals(orientability)? } else { Vec::new() },
                accuracy_degrees: degrees[k],
                accuracy_angstrom: run.angstrom(offsets[k]),
            })
        })
        .collect()
}

/// Probabilities of the present grid's directions; spread evenly where the file has none.
fn directions(frame: &Frame<'_>, star: &StarFile, k: usize, share: f64, missing: &mut Vec<String>) -> Result<Vec<f64>> {
    let even = vec![share / frame.directions as f64; frame.directions];
    let name = format!("model_pdf_orient_class_{}", k + 1);
    let found = match star.block(&name) {
        Some(block) if block.has("rlnOrientationDistribution") => Rows(block).reals("rlnOrientationDistribution")?,
        _ => Vec::new(),
    };
    if found.len() == frame.directions {
        return Ok(found);
    }
    if frame.directions > 1 {
        missing.push(format!(
            "{}: data_{name} has {} directions, the grid {}: they count as equally probable",
            star.name(),
            found.len(),
            frame.directions
        ));
    }
    Ok(even)
}

/// Scale corrections by our groups: a group of ours is one of RELION's, whatever either calls it.
fn groups(frame: &Frame<'_>, star: &StarFile, members: &[usize]) -> Result<Vec<GroupModel>> {
    let table = Rows(star.require("model_groups")?);
    let scales = table.reals("rlnGroupScaleCorrection")?;
    let dataset = frame.dataset;
    let mut counts = vec![0; dataset.groups.len()];
    members.iter().for_each(|&at| counts[dataset.particles[at].group as usize] += 1);
    let mut theirs = vec![None; dataset.groups.len()];
    for (particle, &group) in dataset.particles.iter().zip(frame.group_of) {
        theirs[particle.group as usize].get_or_insert(group);
    }
    let scale = |group: usize| match theirs[group].map(|g: usize| scales.get(g)) {
        Some(None) => Err(Error::bad_data(
            table.0.place(),
            format!("{} groups, and particles of group {}", scales.len(), theirs[group].unwrap_or(0) + 1),
            "Restore the files of one iteration from RELION's job.",
        )),
        Some(Some(scale)) => Ok(*scale),
        None => Ok(1.0),
    };
    let names = dataset.groups.iter().enumerate();
    names.map(|(g, name)| Ok(GroupModel { name: name.clone(), particle_count: counts[g], scale: scale(g)? })).collect()
}

/// A map in the model's box. Headers hold single precision: the model file's pixel size counts.
fn read_map(run: &Run, file: &Path) -> Result<Volume> {
    let map = mrc::read_map(file)?;
    let (n, place) = (run.box_pixels, file.display().to_string());
    if [map.nx, map.ny, map.nz] != [n; 3] {
        return Err(Error::bad_data(
            place,
            format!("the map is {} x {} x {} voxels, the model's box {n}", map.nx, map.ny, map.nz),
            "Restore the map from RELION's job.",
        ));
    }
    if let Some(at) = map.data.iter().position(|v| !v.is_finite()) {
        return Err(Error::bad_data(
            place,
            format!("voxel ({}, {}, {}) is {}", at % n, at / n % n, at / n / n, map.data[at]),
            "Import an earlier iteration: the job went wrong in this one.",
        ));
    }
    Ok(Volume { box_pixels: n, pixel_size_angstrom: run.pixel_size_angstrom, data: map.data })
}

impl Run {
    /// A length of the optimiser, sampling or model file; one that is not known stays so.
    pub(super) fn angstrom(&self, length: f64) -> f64 {
        if length == UNKNOWN { length } else { length * self.length_angstrom }
    }
}
