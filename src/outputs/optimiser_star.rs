//! `_optimiser.star`: the settings and counters of a run, and the names of its other files.
//!
//! Labels of methods that this program does not have (helices, tomograms, gradient refinement) are written with the
//! values by which RELION leaves them off: its reader takes the absence of some for an error.

use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;

use super::header::Header;
use super::header::Snapshot;
use super::names::Moment;
use super::names::Names;

/// RELION's way to say that a length or size is not set.
const OFF: f64 = -1.0;
/// RELION's word for a file that is not used.
const NONE: &str = "None";

/// Writes the optimiser file of an iteration.
///
/// # Errors
/// The file cannot be written.
pub fn write_optimiser_star(names: &Names, header: &Header, snapshot: &Snapshot) -> Result<PathBuf> {
    let mut list = Block::list("optimiser_general");
    list.comments = vec![format!("# RELION optimiser; written by relion-rs {}", env!("CARGO_PKG_VERSION"))];
    files_and_iterations(&mut list, names, header, snapshot)?;
    settings(&mut list, header, snapshot);
    gradient(&mut list, header);
    control(&mut list, header, snapshot);
    helix(&mut list);
    corrections(&mut list, header, snapshot);
    let path = names.path(&snapshot.moment.optimiser());
    StarFile::new(vec![list]).write(&path)?;
    Ok(path)
}

fn files_and_iterations(list: &mut Block, names: &Names, header: &Header, snapshot: &Snapshot) -> Result<()> {
    let moment = snapshot.moment;
    let split = snapshot.state.halves.len() > 1;
    if split && moment == Moment::Final {
        return Err(Error::internal("the final files describe one model of all particles, not two half sets"));
    }
    list.push_str("rlnOutputRootName", names.mentioned_root());
    list.push_str("rlnModelStarFile", &names.mention(&moment.model(snapshot.half_name(0))));
    if split {
        list.push_str("rlnModelStarFile2", &names.mention(&moment.model(snapshot.half_name(1))));
    }
    list.push_str("rlnExperimentalDataStarFile", &names.mention(&moment.data()));
    list.push_str("rlnTomoTomogramsFile", "");
    list.push_str("rlnTomoTrajectoriesFile", "");
    list.push_str("rlnOrientSamplingStarFile", &names.mention(&moment.sampling()));
    let iteration = match moment {
        Moment::Iteration(iteration) => i64::from(iteration),
        Moment::Final => -1,
    };
    list.push_i64("rlnCurrentIteration", iteration);
    list.push_i64("rlnNumberOfIterations", i64::from(header.iterations));
    list.push_bool("rlnDoSplitRandomHalves", split);
    Ok(())
}

fn settings(list: &mut Block, header: &Header, snapshot: &Snapshot) {
    list.push_f64("rlnJoinHalvesUntilThisResolution", header.join_halves_angstrom.unwrap_or(OFF));
    list.push_i64("rlnAdaptiveOversampleOrder", i64::from(snapshot.state.sampling.oversampling));
    list.push_f64("rlnAdaptiveOversampleFraction", header.adaptive_fraction);
    list.push_i64("rlnRandomSeed", i64::try_from(header.seed).unwrap_or(i64::MAX));
    list.push_f64("rlnParticleDiameter", header.particle_diameter_angstrom);
    list.push_i64("rlnWidthMaskEdge", header.mask_edge_pixels as i64);
    list.push_bool("rlnDoZeroMask", header.zero_mask);
    list.push_bool("rlnDoSolventFlattening", header.flatten_solvent);
    list.push_bool("rlnDoSolventFscCorrection", header.solvent_corrected_fsc);
    list.push_str("rlnSolventMaskName", header.solvent_mask.as_deref().unwrap_or(NONE));
    list.push_str("rlnSolventMask2Name", header.solvent_mask2.as_deref().unwrap_or(NONE));
    list.push_str("rlnBodyStarFile", NONE);
    list.push_str("rlnTauSpectrumName", NONE);
    list.push_i64("rlnMaximumCoarseImageSize", header.largest_coarse_size.map_or(-1, |size| size as i64));
    list.push_f64("rlnHighresLimitExpectation", header.high_resolution_limit_angstrom.unwrap_or(OFF));
    list.push_f64("rlnLowresLimitExpectation", header.low_resolution_limit_angstrom.unwrap_or(OFF));
    list.push_i64("rlnIncrementImageSize", snapshot.state.sizes.increment as i64);
    list.push_bool("rlnDoMapEstimation", true);
}

fn gradient(list: &mut Block, header: &Header) {
    for label in [
        "rlnDoFastSubsetOptimisation",
        "rlnDoExternalReconstruct",
        "rlnDoBlush",
        "rlnBlushNoSpectralTrailing",
        "rlnDoGradientRefine",
        "rlnDoStochasticGradientDescent",
    ] {
        list.push_bool(label, false);
    }
    list.push_i64("rlnGradEmIters", 0);
    list.push_bool("rlnGradHasConverged", false);
    list.push_f64("rlnGradCurrentStepsize", 0.0);
    list.push_i64("rlnGradSubsetOrder", 0);
    list.push_i64("rlnGradSuspendFinerSamplingIter", -1);
    list.push_i64("rlnGradSuspendLocalSamplingIter", -1);
    list.push_f64("rlnSgdInitialIterationsFraction", 0.3);
    list.push_f64("rlnSgdFinalIterationsFraction", 0.2);
    list.push_f64("rlnSgdMinimumResolution", 20.0);
    list.push_f64("rlnSgdInitialResolution", OFF);
    list.push_f64("rlnSgdFinalResolution", OFF);
    list.push_i64("rlnSgdInitialSubsetSize", -1);
    list.push_i64("rlnSgdFinalSubsetSize", -1);
    list.push_f64("rlnSgdMuFactor", 0.0);
    list.push_bool("rlnSgdSkipAnneal", false);
    list.push_f64("rlnSgdClassInactivityThreshold", 0.0);
    list.push_i64("rlnSgdSubsetSize", -1);
    list.push_i64("rlnSgdWriteEverySubset", 10);
    list.push_f64("rlnSgdStepsize", OFF);
    list.push_str("rlnSgdStepsizeScheme", "");
    list.push_str("rlnTau2FudgeScheme", "");
    list.push_f64("rlnTau2FudgeArg", header.tau2_fudge_given.unwrap_or(OFF));
}

fn control(list: &mut Block, header: &Header, snapshot: &Snapshot) {
    let convergence = &snapshot.state.convergence;
    list.push_i64("rlnMaximumSignificantPoses", -1);
    list.push_bool("rlnDoAutoRefine", header.auto_refine);
    list.push_bool("rlnDoAutoSampling", header.auto_refine);
    list.push_i64("rlnAutoLocalSearchesHealpixOrder", i64::from(header.local_search_order));
    list.push_i64("rlnNumberOfIterWithoutResolutionGain", i64::from(convergence.iterations_without_resolution_gain));
    list.push_f64("rlnBestResolutionThusFar", snapshot.state.sizes.best_resolution_per_angstrom);
    list.push_i64("rlnNumberOfIterWithoutChangingAssignments", i64::from(convergence.iterations_without_large_changes));
    list.push_bool("rlnDoSkipAlign", header.skip_align);
    list.push_bool("rlnDoSkipRotate", false);
    list.push_f64("rlnOverallAccuracyRotations", convergence.accuracy_degrees);
    list.push_f64("rlnOverallAccuracyTranslationsAngst", convergence.accuracy_angstrom);
    list.push_f64("rlnChangesOptimalOrientations", convergence.change_degrees);
    list.push_f64("rlnChangesOptimalOffsets", convergence.change_angstrom);
    list.push_f64("rlnChangesOptimalClasses", convergence.change_classes);
    list.push_f64("rlnSmallestChangesOrientations", convergence.smallest_change_degrees);
    list.push_f64("rlnSmallestChangesOffsets", convergence.smallest_change_angstrom);
    // An integer in RELION.
    list.push_i64("rlnSmallestChangesClasses", convergence.smallest_change_classes.round() as i64);
}

fn helix(list: &mut Block) {
    list.push_str("rlnLocalSymmetryFile", NONE);
    list.push_bool("rlnDoHelicalRefine", false);
    list.push_bool("rlnIgnoreHelicalSymmetry", false);
    list.push_str("rlnFourierMask", NONE);
    list.push_f64("rlnHelicalTwistInitial", 0.0);
    list.push_f64("rlnHelicalRiseInitial", 0.0);
    list.push_f64("rlnHelicalCentralProportion", 0.3);
    list.push_i64("rlnNrHelicalNStart", 1);
    list.push_f64("rlnHelicalMaskTubeInnerDiameter", OFF);
    list.push_f64("rlnHelicalMaskTubeOuterDiameter", OFF);
    list.push_bool("rlnHelicalSymmetryLocalRefinement", false);
    list.push_f64("rlnHelicalSigmaDistance", OFF);
    list.push_bool("rlnHelicalKeepTiltPriorFixed", false);
}

fn corrections(list: &mut Block, header: &Header, snapshot: &Snapshot) {
    list.push_bool("rlnHasConverged", snapshot.state.convergence.has_converged);
    list.push_bool("rlnHasHighFscAtResolLimit", snapshot.state.sizes.has_high_fsc_at_limit);
    list.push_i64("rlnHasLargeSizeIncreaseIterationsAgo", 0);
    list.push_bool("rlnDoCorrectNorm", header.correct_norm);
    list.push_bool("rlnDoCorrectScale", header.correct_scale);
    list.push_bool("rlnDoCorrectCtf", header.correct_ctf);
    list.push_bool("rlnDoCenterClasses", false);
    list.push_bool("rlnDoIgnoreCtfUntilFirstPeak", header.ctf_intact_first_peak);
    list.push_bool("rlnCtfDataArePhaseFlipped", false);
    list.push_bool("rlnDoOnlyFlipCtfPhases", false);
    list.push_bool("rlnRefsAreCtfCorrected", true);
    list.push_bool("rlnFixSigmaNoiseEstimates", header.fix_noise);
    list.push_bool("rlnFixSigmaOffsetEstimates", header.fix_offset_sigma);
    list.push_i64("rlnMaxNumberOfPooledParticles", header.pool as i64);
    for label in ["rlnOffsetRangeX", "rlnOffsetRangeY", "rlnOffsetRangeZ"] {
        list.push_f64(label, OFF);
    }
}
