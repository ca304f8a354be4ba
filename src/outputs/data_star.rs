//! `_data.star`: the input's optics and particles, with what the iteration found out.

use std::path::Path;

use crate::dataset::Assignment;
use crate::dataset::Dataset;
use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;

/// Writes `data_optics` and `data_particles`, whole or not at all.
///
/// Rows keep the order of the input file, columns their order and, where nothing was found out, their text; columns
/// the input did not have follow in RELION's order.
///
/// * `assignments`: parallel to [`Dataset::particles`].
/// * `half_of`: the half set (1 or 2) of each particle, parallel to [`Dataset::particles`]; empty in a refinement
///   without half sets, which leaves rlnRandomSubset as it was.
///
/// # Errors
/// `CannotCreate` or `Io` when the file cannot be written.
pub fn write(path: &Path, dataset: &Dataset, assignments: &[Assignment], half_of: &[u8]) -> Result<()> {
    tables(dataset, assignments, half_of)?.write(path)
}

/// The file that [`write()`] writes.
pub fn tables(dataset: &Dataset, assignments: &[Assignment], half_of: &[u8]) -> Result<StarFile> {
    let count = dataset.particles.len();
    if assignments.len() != count || !(half_of.is_empty() || half_of.len() == count) {
        return Err(Error::internal(format!(
            "{} assignments and {} half sets for {count} particles",
            assignments.len(),
            half_of.len()
        )));
    }
    let optics = dataset.tables.require("optics")?.clone();
    let particles = dataset.tables.require("particles")?.clone();
    // Position among the particles of each row.
    let mut of_row = vec![0; count];
    for (position, particle) in dataset.particles.iter().enumerate() {
        of_row[particle.row as usize] = position;
    }

    let mut table = Rows { block: particles, of_row };
    table.whole("rlnGroupNumber", |at| i64::from(dataset.particles[at].group) + 1);
    table.real("rlnAngleRot", |at| assignments[at].euler.rot);
    table.real("rlnAngleTilt", |at| assignments[at].euler.tilt);
    table.real("rlnAnglePsi", |at| assignments[at].euler.psi);
    table.real("rlnOriginXAngst", |at| assignments[at].offset_angstrom[0]);
    table.real("rlnOriginYAngst", |at| assignments[at].offset_angstrom[1]);
    table.whole("rlnClassNumber", |at| i64::from(assignments[at].class));
    table.real("rlnNormCorrection", |at| assignments[at].norm_correction);
    if !half_of.is_empty() {
        table.whole("rlnRandomSubset", |at| i64::from(half_of[at]));
    }
    table.real("rlnLogLikeliContribution", |at| assignments[at].log_likelihood);
    table.real("rlnMaxValueProbDistribution", |at| assignments[at].max_probability);
    table.whole("rlnNrOfSignificantSamples", |at| i64::from(assignments[at].significant_samples));
    Ok(StarFile::new(vec![optics, table.block]))
}

/// The particle table, filled by position among the particles.
struct Rows {
    block: Block,
    of_row: Vec<usize>,
}

impl Rows {
    fn real(&mut self, label: &str, of: impl Fn(usize) -> f64) {
        let values: Vec<f64> = self.of_row.iter().map(|&at| of(at)).collect();
        self.block.set_f64(label, &values);
    }

    fn whole(&mut self, label: &str, of: impl Fn(usize) -> i64) {
        let values: Vec<i64> = self.of_row.iter().map(|&at| of(at)).collect();
        self.block.set_i64(label, &values);
    }
}
