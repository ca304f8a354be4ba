//! The STAR files of one iteration of a RELION job.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::StarFile;
use crate::plan::JobKind;

use super::files;
use super::refused;
use super::rows::Rows;

/// Name of the particle table's file in an optimiser list.
const DATA: &str = "rlnExperimentalDataStarFile";

/// One iteration of a job, read and found to be one that can be continued here.
pub struct Run {
    /// The optimiser file, absolute.
    pub optimiser_file: PathBuf,
    /// The folder in which RELION was started, absolute: names in its files start there.
    pub project: PathBuf,
    pub kind: JobKind,
    /// The iteration just finished.
    pub iteration: u32,
    /// `3.1.3`; empty where the file does not say.
    pub version: String,
    pub box_pixels: usize,
    /// Of the model.
    pub pixel_size_angstrom: f64,
    /// Angstrom in a unit of length of the optimiser, sampling and model files: the pixel size up to RELION 3.0, else 1.
    pub length_angstrom: f64,
    pub(super) optimiser: StarFile,
    pub(super) sampling: StarFile,
    /// One a half set, or one.
    pub(super) models: Vec<StarFile>,
}

impl Run {
    /// Reads the files that `optimiser_file` names. Their names start at `project`, by default the folder above the
    /// file where they exist.
    ///
    /// # Errors
    /// `NoInput` for a missing file, `BadData` for one that is none of RELION's, damaged, of another iteration, newer
    /// than this program, or of a kind of job that it does not do.
    pub fn read(optimiser_file: &Path, project: Option<&Path>) -> Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|cause| Error::reading(path, &cause));
        let optimiser_file = absolute(optimiser_file)?;
        let optimiser = StarFile::read(&optimiser_file)?;
        refused::newer(&optimiser)?;
        let list = Rows(optimiser.require("optimiser_general").map_err(not_an_optimiser)?);
        let iteration = iteration(&optimiser_file, list)?;
        refused::optimiser(list.0)?;
        let kind = kind(list)?;
        let mut names = vec![list.column("rlnModelStarFile")?];
        if kind == JobKind::Refine3d {
            names.push(list.column("rlnModelStarFile2")?);
        }
        names.extend([list.column("rlnOrientSamplingStarFile")?, list.column(DATA)?]);
        let project = match project {
            Some(folder) => absolute(folder)?,
            None => files::project_of(&optimiser_file, &names)?,
        };
        let mut stars = Vec::new();
        for name in &names {
            if files::iteration_of(name.str(0)).is_some_and(|of_name| of_name != iteration) {
                return Err(name.error(
                    0,
                    format!("`{}` is not of iteration {iteration}", name.str(0)),
                    "Restore the optimiser file of that iteration.",
                ));
            }
            let path = files::existing(&project, name, 0)?;
            if name.label() != DATA {
                let star = StarFile::read(&path)?;
                refused::newer(&star)?;
                stars.push(star);
            }
        }
        let sampling = stars.pop().unwrap_or_default();
        Self::checked(optimiser_file, project, kind, iteration, optimiser, sampling, stars)
    }

    fn checked(
        optimiser_file: PathBuf,
        project: PathBuf,
        kind: JobKind,
        iteration: u32,
        optimiser: StarFile,
        sampling: StarFile,
        models: Vec<StarFile>,
    ) -> Result<Self> {
        for model in &models {
            refused::model(model.require("model_general")?)?;
        }
        refused::sampling(sampling.require("sampling_general")?)?;
        let general = Rows(models[0].require("model_general")?);
        let (box_pixels, pixel_size_angstrom) = (general.count("rlnOriginalImageSize")?, general.real("rlnPixelSize")?);
        if pixel_size_angstrom <= 0.0 || box_pixels == 0 {
            return Err(general.column("rlnPixelSize")?.error(
                0,
                format!("a model of {box_pixels} voxels of {pixel_size_angstrom} A is none"),
                "Restore the file from RELION's job.",
            ));
        }
        let is_angstrom = general.0.has("rlnSigmaOffsetsAngst");
        let version = version(&optimiser);
        Ok(Self {
            optimiser_file,
            project,
            kind,
            iteration,
            version,
            box_pixels,
            pixel_size_angstrom,
            length_angstrom: if is_angstrom { 1.0 } else { pixel_size_angstrom },
            optimiser,
            sampling,
            models,
        })
    }

    pub(super) fn list(&self) -> Result<Rows<'_>> {
        self.optimiser.require("optimiser_general").map(Rows)
    }

    pub(super) fn grid(&self) -> Result<Rows<'_>> {
        self.sampling.require("sampling_general").map(Rows)
    }

    /// The general list of the model, of the first half.
    pub(super) fn general(&self) -> Result<Rows<'_>> {
        self.models[0].require("model_general").map(Rows)
    }

    /// The particle table, as the optimiser file names it.
    pub fn data(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(self.list()?.column(DATA)?.str(0)))
    }

    /// The words after RELION's program name, where the file holds them: a continued job's have less.
    pub(super) fn words(&self) -> Vec<&str> {
        let comments = self.optimiser.blocks.first().map_or(&[][..], |block| &block.comments);
        let is_command = |line: &&String| line.trim_start_matches('#').trim_start().starts_with("--");
        comments.iter().find(is_command).map_or_else(Vec::new, |line| line.split_whitespace().skip(1).collect())
    }
}

fn not_an_optimiser(mut error: Error) -> Error {
    error.fix = "Name a run_itNNN_optimiser.star of a Class3D or Refine3D job.".to_owned();
    error
}

/// The iteration of the file, which must be one that can be continued.
fn iteration(file: &Path, list: Rows<'_>) -> Result<u32> {
    let column = list.column("rlnCurrentIteration")?;
    let refuse = |problem: String, fix: &str| Err(column.error(0, problem, fix));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let found = column.i64(0)?;
    if found < 0 || list.flag("rlnHasConverged")? {
        return refuse(
            "the job has converged: there is nothing to go on with".to_owned(),
            "Name a run_itNNN_optimiser.star of an earlier iteration.",
        );
    }
    if found == 0 {
        return refuse(
            "nothing was computed before iteration 1".to_owned(),
            "Start the job here: `relion-rs run` with the same particles and reference.",
        );
    }
    let iteration = u32::try_from(found).unwrap_or(u32::MAX);
    match files::iteration_of(&name) {
        Some(of_name) if of_name != iteration => refuse(
            format!("the file is called {name}, and says that it is of iteration {found}"),
            "Restore the optimiser file of that iteration.",
        ),
        _ => Ok(iteration),
    }
}

fn kind(list: Rows<'_>) -> Result<JobKind> {
    let (automatic, split) = (list.flag("rlnDoAutoRefine")?, list.flag("rlnDoSplitRandomHalves")?);
    let column = list.column("rlnDoSplitRandomHalves")?;
    let refuse = |problem: &str| Err(column.error(0, problem, "Finish this job with RELION."));
    match (automatic, split) {
        (true, true) => Ok(JobKind::Refine3d),
        (false, false) if list.flag("rlnDoAutoSampling")? => {
            refuse("the job decides about its sampling without half sets, which relion-rs does not")
        }
        (false, false) => Ok(JobKind::Class3d),
        (true, false) => refuse("the job is an automatic refinement without half sets, which relion-rs does not"),
        (false, true) => refuse("the job has half sets without automatic refinement, which relion-rs does not"),
    }
}

/// `# RELION optimiser; version 3.1.3`; older files do not say.
fn version(optimiser: &StarFile) -> String {
    let comments = optimiser.blocks.first().map_or(&[][..], |block| &block.comments);
    let said = comments.iter().find_map(|line| line.split_once("version ").map(|(_, rest)| rest));
    said.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned()
}
