//! What RELION's jobs may ask for and this program does not do. Each is refused by its row.

use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::formats::star::TABLE_VERSION;

/// What to do about most of it.
const FINISH: &str = "Finish this job with RELION.";

/// When a value is refused. A label that is not there asks for nothing.
#[derive(Clone, Copy)]
enum When {
    /// A switch that is on.
    On,
    Off,
    /// A file name.
    Named,
    Positive,
    Not(f64),
    /// An angle of less than 90 degrees either way.
    Limited,
}

const OPTIMISER: &[(&str, When, &str)] = &[
    ("rlnDoHelicalRefine", When::On, "the job refines a helix"),
    ("rlnDoGradientRefine", When::On, "the job refines by gradients (VDAM)"),
    ("rlnDoStochasticGradientDescent", When::On, "the job refines by gradients (SGD)"),
    ("rlnDoStochasticEM", When::On, "the job refines by stochastic EM"),
    ("rlnDoFastSubsetOptimisation", When::On, "the job uses fast subsets of the particles"),
    ("rlnDoBlush", When::On, "the job uses Blush regularisation"),
    ("rlnDoExternalReconstruct", When::On, "the job reconstructs by an external program"),
    ("rlnBodyStarFile", When::Named, "the job refines several bodies"),
    ("rlnTomoTomogramsFile", When::Named, "the job refines subtomograms"),
    ("rlnTomoTrajectoriesFile", When::Named, "the job refines subtomograms"),
    ("rlnTauSpectrumName", When::Named, "the job takes its prior from a file"),
    ("rlnFourierMask", When::Named, "the job masks the maps' transforms"),
    ("rlnLocalSymmetryFile", When::Named, "the job has local symmetry"),
    ("rlnSolventMask2Name", When::Named, "the job has a second solvent mask"),
    ("rlnHighresLimitExpectation", When::Positive, "the job limits the resolution of its images"),
    ("rlnLowresLimitExpectation", When::Positive, "the job leaves out the low resolution of its images"),
    ("rlnDoMapEstimation", When::Off, "the job does not regularise its maps"),
    ("rlnDoSkipRotate", When::On, "the job searches no rotations"),
    ("rlnDoRealignMovies", When::On, "the job realigns movies"),
    ("rlnFixSigmaNoiseEstimates", When::On, "the job keeps its noise spectra"),
    ("rlnFixSigmaOffsetEstimates", When::On, "the job keeps its prior on offsets"),
    ("rlnOffsetRangeX", When::Positive, "the job has its own range of offsets along x"),
    ("rlnOffsetRangeY", When::Positive, "the job has its own range of offsets along y"),
    ("rlnOffsetRangeZ", When::Positive, "the job has its own range of offsets along z"),
];
const MODEL: &[(&str, When, &str)] = &[
    ("rlnReferenceDimensionality", When::Not(3.0), "the references are no 3D maps (2D classification)"),
    ("rlnDataDimensionality", When::Not(2.0), "the particles are no 2D images (subtomograms)"),
    ("rlnIsHelix", When::On, "the job refines a helix"),
    ("rlnNrBodies", When::Not(1.0), "the job refines several bodies"),
    ("rlnFourierSpaceInterpolator", When::Not(1.0), "the job does not interpolate linearly"),
];
const SAMPLING: &[(&str, When, &str)] = &[
    ("rlnIs3DSampling", When::Off, "the job searches no 3D orientations (2D classification)"),
    ("rlnIs3DTranslationalSampling", When::On, "the particles are no 2D images (subtomograms)"),
    ("rlnTiltAngleLimit", When::Limited, "the job limits the tilt angles"),
];

/// Refuses the settings of an optimiser file that this program does not have.
pub fn optimiser(list: &Block) -> Result<()> {
    look(list, OPTIMISER)
}

/// As [`optimiser`], for the general list of a model file.
pub fn model(list: &Block) -> Result<()> {
    look(list, MODEL)
}

/// As [`optimiser`], for the general list of a sampling file.
pub fn sampling(list: &Block) -> Result<()> {
    look(list, SAMPLING)
}

/// Refuses tables of a version that came after this program.
pub fn newer(star: &StarFile) -> Result<()> {
    let Some(block) = star.blocks.iter().find(|b| b.version.is_some_and(|v| v > TABLE_VERSION)) else { return Ok(()) };
    Err(crate::error::Error::bad_data(
        block.place(),
        format!(
            "the table has version {}, newer than {TABLE_VERSION} of RELION 5, the newest this program knows",
            block.version.unwrap_or_default()
        ),
        "Use a newer relion-rs, or finish this job with RELION.",
    ))
}

fn look(list: &Block, table: &[(&str, When, &str)]) -> Result<()> {
    for (label, when, what) in table {
        let Some(column) = list.column(label).filter(|column| !column.is_empty()) else { continue };
        let text = column.str(0);
        let number = || column.f64(0);
        let is_refused = match when {
            When::On => number()? != 0.0,
            When::Off => number()? == 0.0,
            When::Named => !text.is_empty() && text != "None",
            When::Positive => number()? > 0.0,
            When::Not(only) => number()? != *only,
            When::Limited => number()?.abs() < 90.0,
        };
        if is_refused {
            return Err(column.error(0, format!("{what}, which relion-rs does not: {label} is {text}"), FINISH));
        }
    }
    Ok(())
}
