//! Where the files are that an optimiser file names. Their names start at RELION's project folder.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::star::Column;

/// The folder in which RELION was started: the nearest one above the optimiser file below which one of `names` exists.
///
/// # Errors
/// `NoInput` when there is none.
pub fn project_of(optimiser: &Path, names: &[Column<'_>]) -> Result<PathBuf> {
    let is_there = |folder: &Path| names.iter().any(|name| folder.join(name.str(0)).is_file());
    if let Some(folder) = optimiser.ancestors().skip(1).find(|folder| is_there(folder)) {
        return Ok(folder.to_path_buf());
    }
    let first = &names[0];
    Err(Error::new(
        ExitCode::NoInput,
        first.place(0),
        format!("`{}` exists in no folder above the optimiser file", first.str(0)),
        "Restore the job's files, or name the folder in which RELION was started: --project DIR.",
    ))
}

/// A file that a value names.
///
/// # Errors
/// `NoInput` when it does not exist.
pub fn existing(project: &Path, name: &Column<'_>, row: usize) -> Result<PathBuf> {
    let path = project.join(name.str(row));
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::new(
        ExitCode::NoInput,
        name.place(row),
        format!("`{}` does not exist below {}", name.str(row), project.display()),
        "Restore the file, or name the folder in which RELION was started: --project DIR.",
    ))
}

/// The iteration in a file's name: `run_it012_model.star` is of 12; `None` where the name does not say.
pub fn iteration_of(name: &str) -> Option<u32> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    name.rmatch_indices("_it").map(|(at, part)| digits(&name[at + part.len()..])).find_map(|d| d.parse().ok())
}

/// The same file of another iteration.
pub fn of_iteration(path: &Path, iteration: u32) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let old = format!("_it{:03}_", iteration_of(name)?);
    Some(path.with_file_name(name.replace(&old, &format!("_it{iteration:03}_"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_iteration() {
        for (name, iteration) in [
            ("Class3D/job007/run_it012_model.star", Some(12)),
            ("run_ct2_it003_half1_model.star", Some(3)),
            ("run_it1000_data.star", Some(1000)),
            ("my_items_it004_data.star", Some(4)),
            ("run_it012/run_model.star", None),
            ("run_items.star", None),
        ] {
            assert_eq!(iteration_of(name), iteration, "{name}");
        }
        let earlier = of_iteration(Path::new("a_it001_/run_it010_optimiser.star"), 9);
        assert_eq!(earlier, Some(PathBuf::from("a_it001_/run_it009_optimiser.star")));
    }
}
