//! Noise spectra: one an optics group. RELION 3.1 and older keep one a micrograph group.

use crate::dataset::Dataset;
use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;

use super::rows::Rows;

/// The spectra of a half, of `shells` entries, 0 where there is no estimate; variances per real component.
/// `members` are its particles, and `group_of` gives RELION's 0-based micrograph group of each particle of the set.
pub fn spectra(
    model: &StarFile,
    dataset: &Dataset,
    members: &[usize],
    group_of: &[usize],
    shells: usize,
) -> Result<Vec<Vec<f64>>> {
    let optics = dataset.optics.len();
    if model.block("model_optics_group_1").is_some() {
        return (1..=optics).map(|g| spectrum(model.require(&format!("model_optics_group_{g}"))?, shells)).collect();
    }
    let groups = group_of.iter().max().map_or(0, |most| most + 1);
    let mut counts = vec![vec![0_usize; groups]; optics];
    for &at in members {
        counts[dataset.particles[at].optics as usize][group_of[at]] += 1;
    }
    // An optics group without particles in this half has no noise of its own: that of all particles will do.
    let all: Vec<usize> = (0..groups).map(|g| counts.iter().map(|of_optics| of_optics[g]).sum()).collect();
    for of_optics in &mut counts {
        if of_optics.iter().all(|count| *count == 0) {
            of_optics.clone_from(&all);
        }
    }
    let mut mean = vec![vec![0.0; shells]; optics];
    for g in (0..groups).filter(|g| all[*g] > 0) {
        let own = spectrum(model.require(&format!("model_group_{}", g + 1))?, shells)?;
        for (mean, counts) in mean.iter_mut().zip(&counts) {
            let weight = counts[g] as f64 / counts.iter().sum::<usize>() as f64;
            mean.iter_mut().zip(&own).for_each(|(mean, sigma2)| *mean += weight * sigma2);
        }
    }
    Ok(mean)
}

fn spectrum(table: &Block, shells: usize) -> Result<Vec<f64>> {
    let rows = Rows(table);
    let column = table.require("rlnSpectralIndex")?;
    let mut out = vec![0.0; shells];
    for (row, sigma2) in rows.reals("rlnSigma2Noise")?.into_iter().enumerate() {
        let Some(slot) = usize::try_from(column.i64(row)?).ok().and_then(|shell| out.get_mut(shell)) else {
            return Err(column.error(row, format!("shell {} is not in the box", column.str(row)), ""));
        };
        *slot = sigma2.max(0.0);
    }
    if out.iter().all(|sigma2| *sigma2 == 0.0) {
        return Err(Error::bad_data(
            table.place(),
            "there is no noise in any shell",
            "Import another iteration: nothing can be compared without noise.",
        ));
    }
    Ok(out)
}
