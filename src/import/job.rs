//! The settings of a RELION job as ours.

use std::path::PathBuf;

use crate::error::Result;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::rotation::healpix;

use super::run::Run;

/// Share of the posterior that both programs keep by default.
const USUAL_FRACTION: f64 = 0.999;
/// RELION makes the padded box even, which changes the factor a little.
const SAME_PADDING: f64 = 0.05;
/// Difference of a printed step to the grid's.
const SAME_STEP: f64 = 1e-3;
/// From this version on RELION divides by the weights instead of iterating, unless asked to.
const FIRST_WITHOUT_GRIDDING: u32 = 4;

impl Run {
    /// The keys that the job sets. `reference` is a map, or a table of the maps of all classes.
    ///
    /// # Errors
    /// `BadData` for a missing or impossible value, with its row.
    pub fn job(&self, reference: PathBuf) -> Result<JobFile> {
        let (list, grid, general) = (self.list()?, self.grid()?, self.general()?);
        let is_refinement = self.kind == JobKind::Refine3d;
        let small = |label: &str| -> Result<u32> { Ok(list.count(label)?.try_into().unwrap_or(u32::MAX)) };
        let pixels = |label: &str, now: &str| -> Result<f64> {
            let label = if grid.0.has(label) { label } else { now };
            Ok(grid.real(label)? * self.length_angstrom / self.pixel_size_angstrom)
        };
        let order = if grid.0.has("rlnHealpixOrderOriginal") { "rlnHealpixOrderOriginal" } else { "rlnHealpixOrder" };
        Ok(JobFile {
            kind: Some(self.kind),
            particles: Some(self.data()?),
            reference: Some(reference),
            mask: list.file("rlnSolventMaskName").map(PathBuf::from),
            symmetry: Some(grid.column("rlnSymmetryGroup")?.str(0).to_owned()),
            diameter: Some(list.real("rlnParticleDiameter")?),
            ini_high: Some(self.number_after("--ini_high").unwrap_or(0.0).max(0.0)),
            mask_edge: Some(list.real("rlnWidthMaskEdge")?),
            zero_mask: Some(list.flag("rlnDoZeroMask")?),
            flatten_solvent: Some(list.flag("rlnDoSolventFlattening")?),
            trust_reference_size: Some(true),
            classes: Some(general.count("rlnNrClasses")?.try_into().unwrap_or(u32::MAX)),
            iterations: Some(small("rlnNumberOfIterations")?),
            tau2_fudge: Some(general.real("rlnTau2FudgeFactor")?),
            first_iteration_cc: Some(self.is_first_cc()),
            low_resolution_join: is_refinement
                .then(|| list.real("rlnJoinHalvesUntilThisResolution").map(|d| d.max(0.0)))
                .transpose()?,
            solvent_correct_fsc: Some(list.flag("rlnDoSolventFscCorrection")?),
            norm: Some(list.flag("rlnDoCorrectNorm")?),
            scale: Some(list.flag("rlnDoCorrectScale")?),
            gridding: Some(self.grids()),
            padding: Some(self.padding()?),
            seed: Some(list.whole_or("rlnRandomSeed", 1)?.unsigned_abs()),
            ctf: Some(list.flag("rlnDoCorrectCtf")?),
            ctf_phase_flipped: Some(list.flag("rlnCtfDataArePhaseFlipped")?),
            ctf_intact_first_peak: Some(list.flag("rlnDoIgnoreCtfUntilFirstPeak")?),
            only_flip_phases: Some(list.flag("rlnDoOnlyFlipCtfPhases")?),
            healpix_order: Some(grid.count(order)?.try_into().unwrap_or(u32::MAX)),
            local_search_order: Some(small("rlnAutoLocalSearchesHealpixOrder")?),
            oversampling: Some(self.oversampling()?),
            offset_range_pixels: Some(pixels("rlnOffsetRangeOriginal", "rlnOffsetRange")?),
            offset_step_pixels: Some(pixels("rlnOffsetStepOriginal", "rlnOffsetStep")?),
            sigma_angles: self.sigma_angles()?.filter(|_| !is_refinement),
            skip_align: Some(list.flag("rlnDoSkipAlign")?),
            perturb: Some(grid.real("rlnSamplingPerturbFactor")?.max(0.0)),
            max_significant: Some(list.whole_or("rlnMaximumSignificantPoses", -1)?.max(0).try_into().unwrap_or(0)),
            ..JobFile::default()
        })
    }

    /// What of the job is not taken over, a sentence each.
    pub fn not_taken(&self) -> Result<Vec<String>> {
        let (list, grid) = (self.list()?, self.grid()?);
        let mut told = Vec::new();
        if !list.flag("rlnDoZeroMask")? {
            told.push(
                "rlnDoZeroMask is 0: RELION fills the outside of the mask with noise, relion-rs with its mean".into(),
            );
        }
        let largest = list.whole_or("rlnMaximumCoarseImageSize", -1)?;
        if largest > 0 && (largest as usize) < self.box_pixels {
            told.push(format!(
                "rlnMaximumCoarseImageSize is {largest}: relion-rs chooses the size of the first pass itself"
            ));
        }
        let fraction = list.real_or("rlnAdaptiveOversampleFraction", USUAL_FRACTION)?;
        if fraction != USUAL_FRACTION {
            told.push(format!("rlnAdaptiveOversampleFraction is {fraction}: relion-rs keeps {USUAL_FRACTION}"));
        }
        let usual = healpix::angular_step_degrees(grid.count("rlnHealpixOrder")?.try_into().unwrap_or(0));
        let step = grid.real("rlnPsiStep")?;
        if (step - usual).abs() > SAME_STEP {
            told.push(format!(
                "rlnPsiStep is {step}: it is kept until the grid gets finer, and then that of its order"
            ));
        }
        Ok(told)
    }

    /// Whether the first iteration compared by cross-correlation, as far as the command line in the file tells.
    pub(super) fn is_first_cc(&self) -> bool {
        self.words().contains(&"--firstiter_cc")
    }

    /// Whether maps are reconstructed with iterative gridding.
    fn grids(&self) -> bool {
        let words = self.words();
        if words.contains(&"--skip_gridding") || self.is_ours() {
            return false;
        }
        let major: Option<u32> = self.version.split('.').next().and_then(|major| major.parse().ok());
        words.contains(&"--dont_skip_gridding") || major.is_none_or(|major| major < FIRST_WITHOUT_GRIDDING)
    }

    /// Written by this program.
    fn is_ours(&self) -> bool {
        let comments = self.optimiser.blocks.first().map_or(&[][..], |block| &block.comments);
        comments.iter().any(|line| line.contains("relion-rs"))
    }

    fn padding(&self) -> Result<u32> {
        let general = self.general()?;
        let (factor, column) = (general.real("rlnPaddingFactor")?, general.column("rlnPaddingFactor")?);
        let whole = factor.round();
        if (factor - whole).abs() <= SAME_PADDING && (whole == 1.0 || whole == 2.0) {
            return Ok(whole as u32);
        }
        Err(column.error(0, format!("a padding of {factor} is not 1 or 2"), "Finish this job with RELION."))
    }

    fn oversampling(&self) -> Result<u32> {
        let column = self.list()?.column("rlnAdaptiveOversampleOrder")?;
        match column.i64(0)? {
            order @ (0 | 1) => Ok(order as u32),
            other => Err(column.error(
                0,
                format!("an adaptive oversampling of order {other} is not 0 or 1, all that relion-rs does"),
                "Continue the job in RELION with --oversampling 1 for an iteration, and import that.",
            )),
        }
    }

    /// Width of local searches, the same for all angles; `None` for global ones.
    pub(super) fn sigma_angles(&self) -> Result<Option<f64>> {
        let general = self.general()?;
        let column = general.column("rlnOrientationalPriorMode")?;
        let sigmas = ["rlnSigmaPriorRotAngle", "rlnSigmaPriorTiltAngle", "rlnSigmaPriorPsiAngle"];
        let [rot, tilt, psi] = sigmas.map(|label| general.real(label));
        let (rot, tilt, psi) = (rot?, tilt?, psi?);
        match column.i64(0)? {
            0 => Ok(None),
            1 if rot == tilt && rot == psi && rot > 0.0 => Ok(Some(rot)),
            mode => Err(column.error(
                0,
                format!(
                    "a prior of mode {mode} with sigmas of {rot}, {tilt} and {psi} degrees is not one for all angles"
                ),
                "Finish this job with RELION.",
            )),
        }
    }

    /// The number after a word of RELION's command line.
    fn number_after(&self, word: &str) -> Option<f64> {
        let words = self.words();
        let at = words.iter().position(|w| *w == word)?;
        words.get(at + 1)?.parse().ok().filter(|value: &f64| value.is_finite())
    }
}
