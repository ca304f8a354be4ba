//! Micrograph groups (scale correction) and RELION's row order.

use std::collections::HashMap;

use crate::dataset::particle::Dataset;
use crate::formats::star::Block;

/// A path without the folder of the job that made it: `MotionCorr/job012/Movies/a.mrc` is `Movies/a.mrc`.
pub fn without_job_prefix(path: &str) -> &str {
    let mut from = 0;
    while let Some(found) = path[from..].find("/job") {
        let digits = from + found + "/job".len();
        let rest = path[digits..].trim_start_matches(|c: char| c.is_ascii_digit());
        let count = path.len() - digits - rest.len();
        match rest.strip_prefix('/') {
            Some(stripped) if count >= 3 && !stripped.is_empty() => return stripped,
            _ => from = digits,
        }
    }
    path
}

/// Rows stably sorted by the bytes of rlnMicrographName; file order without that column.
pub(super) fn rows_by_micrograph(particles: &Block) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..particles.rows() as u32).collect();
    if let Some(micrograph) = particles.column("rlnMicrographName") {
        rows.sort_by_key(|&row| micrograph.str(row as usize));
    }
    rows
}

/// Names of the groups, and the group of each row.
///
/// A group is an rlnGroupName, otherwise a micrograph (without its job's folder), otherwise all particles; numbers
/// follow the first appearance in the order of [`rows_by_micrograph`].
pub(super) fn read(particles: &Block) -> (Vec<String>, Vec<u32>) {
    let (column, is_path) = match (particles.column("rlnGroupName"), particles.column("rlnMicrographName")) {
        (Some(column), _) => (column, false),
        (None, Some(column)) => (column, true),
        (None, None) => return (vec!["group".to_owned()], vec![0; particles.rows()]),
    };
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let mut names = Vec::new();
    let mut group_of = vec![0; particles.rows()];
    for row in rows_by_micrograph(particles) {
        let text = column.str(row as usize);
        let name = if is_path { without_job_prefix(text) } else { text };
        group_of[row as usize] = *ids.entry(name).or_insert_with(|| {
            names.push(name.to_owned());
            names.len() as u32 - 1
        });
    }
    (names, group_of)
}

impl Dataset {
    /// The particles (positions in [`Dataset::particles`]) in the order in which RELION counts them: sorted by
    /// micrograph name, otherwise as in the file. Only comparisons with RELION need it.
    #[doc(hidden)]
    pub fn parity_order(&self) -> Vec<u32> {
        let Some(particles) = self.tables.block("particles") else { return Vec::new() };
        let mut position = vec![0; self.particles.len()];
        for (at, particle) in self.particles.iter().enumerate() {
            position[particle.row as usize] = at as u32;
        }
        rows_by_micrograph(particles).into_iter().map(|row| position[row as usize]).collect()
    }
}
