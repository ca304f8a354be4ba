//! From the words of a command to a plan: what `run`, `check`, `plan` and `config show` share.

use std::path::Path;
use std::path::PathBuf;

use clap::ValueEnum;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::star::StarFile;
use crate::plan::Cluster;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::Resolved;
use crate::plan::RunDir;
use crate::plan::Sources;
use crate::plan::resolve;

/// Column of a table of starting maps.
const REFERENCE_COLUMN: &str = "rlnReferenceImage";

/// What to work on, and settings that win over all others.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct JobArguments {
    /// refine3d, class3d, a job file, or a folder with a job.toml (default: this folder's job.toml)
    #[arg(value_name = "JOB")]
    pub job: Option<PathBuf>,
    #[command(flatten)]
    pub flags: JobFile,
}

/// A job with all its layers.
#[derive(Debug)]
pub struct Job {
    pub layers: Layers,
    /// Where relative paths start.
    pub working_directory: PathBuf,
}

impl Job {
    /// Reads the layers of a job.
    ///
    /// # Errors
    /// `Usage` when nothing says what to do; `NoInput` for a missing job file; those of [`Layers::load`].
    pub fn load(arguments: JobArguments) -> Result<Self> {
        Self::load_with(arguments, Cluster::default(), None)
    }

    /// The same with flags about the cluster, and with a file of those that an earlier submission was given.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_with(arguments: JobArguments, cluster_flags: Cluster, submitted: Option<PathBuf>) -> Result<Self> {
        let mut flags = arguments.flags;
        let mut working_directory =
            std::env::current_dir().map_err(|cause| Error::reading(Path::new("working directory"), &cause))?;
        let file = match arguments.job {
            None => Some(PathBuf::from("job.toml")).filter(|path| path.is_file()),
            Some(word) => match word.to_str().and_then(|word| JobKind::from_str(word, false).ok()) {
                Some(kind) => {
                    flags.kind = Some(kind);
                    None
                }
                None if word.is_dir() => {
                    // Paths in the folder's job file start where its run was started.
                    if let Ok(plan) = Plan::read(&RunDir::new(&word).plan()) {
                        working_directory = plan.working_directory;
                    }
                    let here = std::path::absolute(&word).map_err(|cause| Error::reading(&word, &cause))?;
                    flags.out.get_or_insert(here);
                    Some(RunDir::new(&word).job())
                }
                None if word.is_file() => Some(word),
                None => return Err(no_such_job(&word)),
            },
        };
        let sources = Sources { cluster_flags, submitted, ..Sources::of_process(file, flags)? };
        let layers = Layers::load(&sources)?;
        Ok(Self { layers, working_directory })
    }

    /// For verbs that write no run folder: they work before one has been named.
    pub fn with_some_out(mut self) -> Self {
        self.layers.values.out.get_or_insert_with(|| PathBuf::from("run"));
        self
    }

    /// Decides everything.
    pub fn resolve(&self) -> Result<Resolved> {
        let maps = match &self.layers.values.reference {
            Some(path) => reference_maps(path, &self.working_directory)?,
            None => 1,
        };
        resolve(&self.layers, maps, &self.working_directory)
    }
}

fn no_such_job(word: &Path) -> Error {
    let name = word.display().to_string();
    let nearest = crate::plan::nearest(&name, [JobKind::Refine3d.name(), JobKind::Class3d.name()].into_iter());
    let fix = match nearest {
        Some(kind) => format!("Did you mean `{kind}`?"),
        None => "Name refine3d, class3d, a job file (`relion-rs new` writes one) or a run folder.".to_string(),
    };
    Error::new(ExitCode::NoInput, name, "is neither a kind of job nor a file", fix)
}

/// Number of maps a reference names: the rows of a STAR table, or 1.
fn reference_maps(path: &Path, working_directory: &Path) -> Result<usize> {
    // A missing file is an error of `resolve`, which knows where its name came from.
    if !working_directory.join(path).is_file() {
        return Ok(1);
    }
    Ok(reference_files(path, working_directory)?.len())
}

/// The maps a reference names: itself, or those of a STAR table. They start at the table's folder if they
/// are there, else at the working directory.
pub fn reference_files(path: &Path, working_directory: &Path) -> Result<Vec<PathBuf>> {
    let path = working_directory.join(path);
    if path.extension().is_none_or(|extension| extension != "star") {
        return Ok(vec![path]);
    }
    let star = StarFile::read(&path)?;
    let table = star.blocks.iter().find(|block| block.has(REFERENCE_COLUMN) && block.rows() > 0);
    let table = table.ok_or_else(|| {
        Error::bad_data(
            path.display().to_string(),
            format!("holds no table with the column _{REFERENCE_COLUMN} and a row"),
            "Name a map (.mrc), or write a loop_ with that column and one map a row.",
        )
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let names = table.require(REFERENCE_COLUMN)?;
    let file = |name: &str| {
        let beside = folder.join(name);
        if beside.is_file() { beside } else { working_directory.join(name) }
    };
    Ok(names.strs().map(file).collect())
}
