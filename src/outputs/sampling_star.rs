//! `_sampling.star`: which poses were tried.

use std::path::PathBuf;

use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;

use super::header::Header;
use super::header::Snapshot;
use super::names::Names;

/// RELION's way to say that tilt angles are not limited.
const NO_TILT_LIMIT: f64 = -91.0;

/// Writes the sampling of an iteration; `directions` are the unperturbed (rot, tilt) of the grid, in degrees.
///
/// # Errors
/// The file cannot be written.
pub fn write_sampling_star(
    names: &Names,
    header: &Header,
    snapshot: &Snapshot,
    directions: &[[f64; 2]],
) -> Result<PathBuf> {
    let sampling = &snapshot.state.sampling;
    let mut general = Block::list("sampling_general");
    general.push_bool("rlnIs3DSampling", true);
    general.push_bool("rlnIs3DTranslationalSampling", false);
    general.push_i64("rlnHealpixOrder", i64::from(sampling.healpix_order));
    general.push_str("rlnSymmetryGroup", &header.symmetry);
    general.push_f64("rlnTiltAngleLimit", NO_TILT_LIMIT);
    general.push_f64("rlnPsiStep", sampling.psi_step_degrees);
    general.push_f64("rlnOffsetRange", sampling.offset_range_angstrom);
    general.push_f64("rlnOffsetStep", sampling.offset_step_angstrom);
    general.push_f64("rlnHelicalOffsetStep", -1.0);
    general.push_f64("rlnSamplingPerturbInstance", sampling.perturbation);
    general.push_f64("rlnSamplingPerturbFactor", sampling.perturbation_factor);
    general.push_i64("rlnHealpixOrderOriginal", i64::from(sampling.original_healpix_order));
    general.push_f64("rlnPsiStepOriginal", sampling.original_psi_step_degrees);
    general.push_f64("rlnOffsetRangeOriginal", sampling.original_offset_range_angstrom);
    general.push_f64("rlnOffsetStepOriginal", sampling.original_offset_step_angstrom);

    let mut table = Block::table("sampling_directions");
    table.set_f64("rlnAngleRot", &directions.iter().map(|d| d[0]).collect::<Vec<_>>());
    table.set_f64("rlnAngleTilt", &directions.iter().map(|d| d[1]).collect::<Vec<_>>());

    let path = names.path(&snapshot.moment.sampling());
    StarFile::new(vec![general, table]).write(&path)?;
    Ok(path)
}
