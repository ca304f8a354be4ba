//! Maps and STAR files with RELION's names and schema, so that its programs, ChimeraX and Python's starfile take
//! them, and `relion_refine --continue` can go on from them.
//!
//! Every file comes whole or not at all ([`atomic`]). None holds a date, a host, a duration or (unless the user's own
//! paths are absolute) an absolute path: equal runs give equal files.
//!
//! The schema is that of RELION 5.0 (tables of version 50001). RELION 3.1 differs in one table, the noise per
//! micrograph group, which is written besides when [`Header::group_optics`] says how to.

mod angular;
mod atomic;
pub mod data_star;
mod header;
mod maps;
mod model_star;
mod names;
mod optimiser_star;
mod sampling_star;

use std::path::PathBuf;

use crate::dataset::Dataset;
use crate::error::Result;

pub use angular::write_angular_distribution;
pub use atomic::atomic;
pub use header::Header;
pub use header::Snapshot;
pub use maps::write_maps;
pub use maps::write_unfiltered_map;
pub use model_star::write_model_star;
pub use names::Moment;
pub use names::Names;
pub use optimiser_star::write_optimiser_star;
pub use sampling_star::write_sampling_star;

/// Writes everything of an iteration: maps, models, directions, sampling, particles, and last the optimiser file,
/// which names the others. `directions` are the unperturbed (rot, tilt) of the grid, in degrees.
///
/// # Errors
/// A file cannot be written; it is named, and older files of that name stay.
pub fn write_iteration(
    names: &Names,
    header: &Header,
    snapshot: &Snapshot,
    dataset: &Dataset,
    directions: &[[f64; 2]],
) -> Result<Vec<PathBuf>> {
    let mut written = write_maps(names, snapshot)?;
    for half in 0..snapshot.state.halves.len() {
        written.push(write_model_star(names, header, snapshot, half)?);
        written.extend(write_angular_distribution(names, header, snapshot, half, directions)?);
    }
    written.push(write_sampling_star(names, header, snapshot, directions)?);
    written.push(write_data_star(names, snapshot, dataset)?);
    written.push(write_optimiser_star(names, header, snapshot)?);
    Ok(written)
}

/// The particle table. The half sets are written as soon as there are any, in the final files too.
fn write_data_star(names: &Names, snapshot: &Snapshot, dataset: &Dataset) -> Result<PathBuf> {
    let state = snapshot.state;
    let half_of: &[u8] = if state.half_of.iter().any(|half| *half > 0) { &state.half_of } else { &[] };
    let path = names.path(&snapshot.moment.data());
    data_star::write(&path, dataset, &state.assignments, half_of)?;
    Ok(path)
}
