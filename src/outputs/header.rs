//! What the files say about a run besides its state.

use crate::model::State;

use super::names::Moment;

/// The constants of a run, decided once before the first iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Edge of the maps.
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    /// Point group as the user wrote it: `C1`, `d2`, `I3`.
    pub symmetry: String,
    /// Diameter of the soft mask on the images.
    pub particle_diameter_angstrom: f64,
    pub mask_edge_pixels: usize,
    /// Oversampling of the 3D transforms.
    pub padding: f64,
    /// Weight of the prior (T).
    pub tau2_fudge: f64,
    /// T as given on the command line; `None` when it was left to the default.
    pub tau2_fudge_given: Option<f64>,
    /// Number of iterations, or their limit when the refinement decides itself.
    pub iterations: u32,
    /// Automatic refinement (half sets, sampling and end decided by the program).
    pub auto_refine: bool,
    /// Below this resolution the two halves are joined; `None` to keep them apart.
    pub join_halves_angstrom: Option<f64>,
    /// Share of the posterior that significant coarse samples make up.
    pub adaptive_fraction: f64,
    pub seed: u64,
    /// Pixels outside the particle are zero instead of noise.
    pub zero_mask: bool,
    pub flatten_solvent: bool,
    pub solvent_corrected_fsc: bool,
    /// As the user wrote it.
    pub solvent_mask: Option<String>,
    pub solvent_mask2: Option<String>,
    /// Largest image size of the first pass; `None` for automatic.
    pub largest_coarse_size: Option<usize>,
    pub high_resolution_limit_angstrom: Option<f64>,
    pub low_resolution_limit_angstrom: Option<f64>,
    /// From this HEALPix order on, searches are local.
    pub local_search_order: u32,
    pub skip_align: bool,
    pub correct_norm: bool,
    pub correct_scale: bool,
    pub correct_ctf: bool,
    pub ctf_intact_first_peak: bool,
    pub fix_noise: bool,
    pub fix_offset_sigma: bool,
    /// Particles that RELION would read at once; only carried along.
    pub pool: usize,
    /// Optics group (0-based) of each micrograph group. When it is given, the noise is written once more in the table
    /// per micrograph group that RELION 3.1 needs to continue. Leave it out for many groups: each is a table.
    pub group_optics: Option<Vec<usize>>,
}

/// A state and where it stands in the run.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub state: &'a State,
    pub moment: Moment,
    /// Window of the transforms in the iteration just finished (the state holds the next one's); 0 before the first.
    pub used_size: usize,
}

impl Snapshot<'_> {
    /// 1 or 2 as in file names; `None` without half sets.
    pub(super) fn half_name(&self, half: usize) -> Option<usize> {
        (self.state.halves.len() > 1).then_some(half + 1)
    }
}

#[cfg(test)]
pub(super) fn example() -> Header {
    Header {
        box_pixels: 32,
        pixel_size_angstrom: 7.0,
        symmetry: "C1".into(),
        particle_diameter_angstrom: 200.0,
        mask_edge_pixels: 5,
        padding: 2.0,
        tau2_fudge: 4.0,
        tau2_fudge_given: Some(4.0),
        iterations: 3,
        auto_refine: false,
        join_halves_angstrom: None,
        adaptive_fraction: 0.999,
        seed: 1,
        zero_mask: true,
        flatten_solvent: true,
        solvent_corrected_fsc: false,
        solvent_mask: None,
        solvent_mask2: None,
        largest_coarse_size: None,
        high_resolution_limit_angstrom: None,
        low_resolution_limit_angstrom: None,
        local_search_order: 4,
        skip_align: false,
        correct_norm: true,
        correct_scale: false,
        correct_ctf: true,
        ctf_intact_first_peak: false,
        fix_noise: false,
        fix_offset_sigma: false,
        pool: 3,
        group_optics: None,
    }
}
