//! What RELION keeps in memory and writes nowhere: whether the sampling is fine enough.

use std::path::Path;

use crate::error::Result;
use crate::formats::star::StarFile;

use super::files;
use super::rows::Rows;
use super::run::Run;

/// Whether an iteration so far found the grid finer than the accuracy. When neither resolution nor poses had improved
/// after an iteration, the next one either made the grid finer or found it fine enough; which of the two, its order
/// tells. The files of earlier iterations are read as far back as needed; where they are gone, the answer is no, and
/// one more iteration finds out (as in RELION, which does not know after `--continue` either).
pub fn has_fine_enough_sampling(run: &Run) -> Result<bool> {
    let mut order = run.grid()?.count("rlnHealpixOrder")?;
    for iteration in (1..run.iteration).rev() {
        let Some(file) = files::of_iteration(&run.optimiser_file, iteration).filter(|file| file.is_file()) else {
            return Ok(false);
        };
        let Some((stalled, earlier)) = look(run, &file)? else { return Ok(false) };
        if stalled || earlier != order {
            return Ok(stalled && earlier == order);
        }
        order = earlier;
    }
    Ok(false)
}

/// Whether nothing had improved after an iteration, and the order of its grid.
fn look(run: &Run, optimiser: &Path) -> Result<Option<(bool, usize)>> {
    let star = StarFile::read(optimiser)?;
    let list = Rows(star.require("optimiser_general")?);
    let sampling = run.project.join(list.column("rlnOrientSamplingStarFile")?.str(0));
    if !sampling.is_file() {
        return Ok(None);
    }
    let grid = StarFile::read(&sampling)?;
    let order = Rows(grid.require("sampling_general")?).count("rlnHealpixOrder")?;
    let counters = ["rlnNumberOfIterWithoutResolutionGain", "rlnNumberOfIterWithoutChangingAssignments"];
    let [resolution, poses] = counters.map(|label| list.count(label));
    Ok(Some((resolution? >= 1 && poses? >= 1, order)))
}
