//! The maps that stand as references in the settings. They count before the first iteration only, and for the box.

use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

use super::files;
use super::rows::Rows;
use super::run::Run;

impl Run {
    /// The maps of the classes, of the first half, as the model file names them: one a class; or one alone where the
    /// classes are still the same map, so that the next iteration makes them different. The empty map of a class
    /// without particles is no reference: another one stands for it.
    ///
    /// # Errors
    /// `NoInput` when a map of any half does not exist.
    pub fn references(&self) -> Result<Vec<PathBuf>> {
        let (mut first, mut files) = (Vec::new(), Vec::new());
        for (half, model) in self.models.iter().enumerate() {
            let table = Rows(model.require("model_classes")?);
            let names = table.column("rlnReferenceImage")?;
            let shares = table.reals("rlnClassDistribution")?;
            let filled = shares.iter().position(|share| *share > 0.0).unwrap_or(0);
            for row in 0..names.len() {
                files.push(files::existing(&self.project, &names, row)?);
                if half == 0 {
                    let stands = if shares[row] > 0.0 { row } else { filled };
                    first.push(PathBuf::from(names.str(stands)));
                }
            }
        }
        let may_be_the_same = self.iteration == 1 && self.is_first_cc();
        if may_be_the_same && files.len() > 1 && self.models.len() == 1 && are_equal(&files)? {
            first.truncate(1);
        }
        Ok(first)
    }
}

fn are_equal(files: &[PathBuf]) -> Result<bool> {
    let read = |file: &PathBuf| std::fs::read(file).map_err(|cause| Error::reading(file, &cause));
    let first = read(&files[0])?;
    for other in &files[1..] {
        // The header's labels hold dates.
        let (other, header) = (read(other)?, crate::formats::mrc::HEADER_BYTES);
        if other.get(header..) != first.get(header..) {
            return Ok(false);
        }
    }
    Ok(true)
}
