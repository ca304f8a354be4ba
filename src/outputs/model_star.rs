//! `_model.star`: spectra, priors and statistics of one model.

use std::path::PathBuf;

use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::model::ClassModel;
use crate::model::HalfModel;
use crate::model::PriorMode;
use crate::units::angstrom_of_shell;

use super::header::Header;
use super::header::Snapshot;
use super::names::Names;

/// RELION's number for linear interpolation of transforms.
const LINEAR_INTERPOLATION: i64 = 1;
/// A setting of RELION's nearest-neighbour interpolation, which is not used; its reader wants it.
const UNUSED_NEAREST_NEIGHBOUR_RADIUS: i64 = 10;

/// Writes the model of one half set (`half` 0 or 1), or of all particles (`half` 0).
///
/// # Errors
/// The file cannot be written.
pub fn write_model_star(names: &Names, header: &Header, snapshot: &Snapshot, half: usize) -> Result<PathBuf> {
    let model = &snapshot.state.halves[half];
    let mut blocks = vec![general(header, snapshot, model), classes(names, header, snapshot, half)];
    for (k, class) in model.classes.iter().enumerate() {
        blocks.push(spectra(header, &format!("model_class_{}", k + 1), class));
    }
    blocks.push(groups(model));
    for (g, noise) in model.noise.iter().enumerate() {
        blocks.push(noise_table(header, &format!("model_optics_group_{}", g + 1), noise));
    }
    for (g, &optics) in header.group_optics.iter().flatten().enumerate() {
        blocks.push(noise_table(header, &format!("model_group_{}", g + 1), &model.noise[optics]));
    }
    for (k, class) in model.classes.iter().enumerate() {
        let mut table = Block::table(&format!("model_pdf_orient_class_{}", k + 1));
        table.set_f64("rlnOrientationDistribution", &class.directions);
        blocks.push(table);
    }
    let path = names.path(&snapshot.moment.model(snapshot.half_name(half)));
    StarFile::new(blocks).write(&path)?;
    Ok(path)
}

fn general(header: &Header, snapshot: &Snapshot, model: &HalfModel) -> Block {
    let (prior_mode, sigma) = match snapshot.state.sampling.prior {
        PriorMode::Global => (0, [0.0; 3]),
        PriorMode::Local { sigma_degrees } => (1, sigma_degrees),
    };
    let mut list = Block::list("model_general");
    list.push_i64("rlnReferenceDimensionality", 3);
    list.push_i64("rlnDataDimensionality", 2);
    list.push_i64("rlnOriginalImageSize", header.box_pixels as i64);
    list.push_f64("rlnCurrentResolution", 1.0 / snapshot.state.sizes.current_resolution_per_angstrom);
    list.push_i64("rlnCurrentImageSize", snapshot.used_size as i64);
    list.push_f64("rlnPaddingFactor", header.padding);
    list.push_bool("rlnIsHelix", false);
    list.push_i64("rlnFourierSpaceInterpolator", LINEAR_INTERPOLATION);
    list.push_i64("rlnMinRadiusNnInterpolation", UNUSED_NEAREST_NEIGHBOUR_RADIUS);
    list.push_f64("rlnPixelSize", header.pixel_size_angstrom);
    list.push_i64("rlnNrClasses", model.classes.len() as i64);
    list.push_i64("rlnNrBodies", 1);
    list.push_i64("rlnNrGroups", model.groups.len() as i64);
    list.push_i64("rlnNrOpticsGroups", model.noise.len() as i64);
    list.push_f64("rlnTau2FudgeFactor", header.tau2_fudge);
    list.push_f64("rlnNormCorrectionAverage", model.average_norm);
    list.push_f64("rlnSigmaOffsetsAngst", model.sigma_offset_angstrom);
    list.push_i64("rlnOrientationalPriorMode", prior_mode);
    list.push_f64("rlnSigmaPriorRotAngle", sigma[0]);
    list.push_f64("rlnSigmaPriorTiltAngle", sigma[1]);
    list.push_f64("rlnSigmaPriorPsiAngle", sigma[2]);
    list.push_f64("rlnLogLikelihood", model.log_likelihood);
    list.push_f64("rlnAveragePmax", model.average_max_probability);
    list
}

fn classes(names: &Names, header: &Header, snapshot: &Snapshot, half: usize) -> Block {
    let classes = &snapshot.state.halves[half].classes;
    let column = |value: &dyn Fn(&ClassModel) -> f64| classes.iter().map(value).collect::<Vec<f64>>();
    let maps: Vec<String> =
        (1..=classes.len()).map(|class| names.mention(&snapshot.moment.map(snapshot.half_name(half), class))).collect();
    let mut table = Block::table("model_classes");
    table.set_str("rlnReferenceImage", &maps);
    table.set_f64("rlnClassDistribution", &column(&|class| class.share));
    table.set_f64("rlnAccuracyRotations", &column(&|class| class.accuracy_degrees));
    table.set_f64("rlnAccuracyTranslationsAngst", &column(&|class| class.accuracy_angstrom));
    table.set_f64(
        "rlnEstimatedResolution",
        &column(&|class| angstrom_of_shell(last_resolved_shell(class), header.box_pixels, header.pixel_size_angstrom)),
    );
    table.set_f64("rlnOverallFourierCompleteness", &column(&|class| overall_completeness(class)));
    table
}

/// The last shell before the data-versus-prior ratio falls below 1 for the first time; at least 1.
fn last_resolved_shell(class: &ClassModel) -> usize {
    let below = class.ssnr.iter().skip(1).position(|&ratio| ratio < 1.0).unwrap_or(class.ssnr.len().saturating_sub(1));
    below.max(1)
}

/// Mean coverage of the voxels with |x|, |y|, |z| < `last` and a truncated radius up to `last`, the last resolved
/// shell.
fn overall_completeness(class: &ClassModel) -> f64 {
    let last = last_resolved_shell(class) as i64;
    let (mut sum, mut count) = (0.0, 0.0);
    for z in 1 - last..last {
        for y in 1 - last..last {
            for x in 1 - last..last {
                let shell = ((z * z + y * y + x * x) as f64).sqrt() as usize;
                if shell <= last as usize {
                    sum += class.coverage.get(shell).copied().unwrap_or(0.0);
                    count += 1.0;
                }
            }
        }
    }
    sum / count
}

fn shell_columns(table: &mut Block, header: &Header, shells: &[usize]) {
    let extent_angstrom = header.box_pixels as f64 * header.pixel_size_angstrom;
    table.set_i64("rlnSpectralIndex", &shells.iter().map(|&s| s as i64).collect::<Vec<_>>());
    table.set_f64("rlnResolution", &shells.iter().map(|&s| s as f64 / extent_angstrom).collect::<Vec<_>>());
}

fn spectra(header: &Header, name: &str, class: &ClassModel) -> Block {
    let shells: Vec<usize> = (0..class.tau2.len()).collect();
    let resolution = |&s: &usize| angstrom_of_shell(s, header.box_pixels, header.pixel_size_angstrom);
    let mut table = Block::table(name);
    shell_columns(&mut table, header, &shells);
    table.set_f64("rlnAngstromResolution", &shells.iter().map(resolution).collect::<Vec<_>>());
    table.set_f64("rlnSsnrMap", &class.ssnr);
    table.set_f64("rlnGoldStandardFsc", &class.fsc);
    table.set_f64("rlnFourierCompleteness", &class.coverage);
    table.set_f64("rlnReferenceSigma2", &class.sigma2);
    table.set_f64("rlnReferenceTau2", &class.tau2);
    if !class.orientability.is_empty() {
        table.set_f64("rlnSpectralOrientabilityContribution", &class.orientability);
    }
    table
}

fn groups(model: &HalfModel) -> Block {
    let groups = &model.groups;
    let mut table = Block::table("model_groups");
    table.set_i64("rlnGroupNumber", &(1..=groups.len() as i64).collect::<Vec<_>>());
    table.set_str("rlnGroupName", &groups.iter().map(|group| &group.name).collect::<Vec<_>>());
    table.set_i64("rlnGroupNrParticles", &groups.iter().map(|g| g.particle_count as i64).collect::<Vec<_>>());
    table.set_f64("rlnGroupScaleCorrection", &groups.iter().map(|group| group.scale).collect::<Vec<_>>());
    table
}

/// Shells without an estimate are left out, as RELION does.
fn noise_table(header: &Header, name: &str, noise: &[f64]) -> Block {
    let shells: Vec<usize> = (0..noise.len()).filter(|&s| noise[s] > 0.0).collect();
    let mut table = Block::table(name);
    shell_columns(&mut table, header, &shells);
    table.set_f64("rlnSigma2Noise", &shells.iter().map(|&s| noise[s]).collect::<Vec<_>>());
    table
}
