//! The state between two iterations: everything that a checkpoint holds and that iteration i+1 reads.
//!
//! Spectra have box/2 + 1 entries, one a shell of the model box; variances are per real component.

use serde::Deserialize;
use serde::Serialize;

use crate::dataset::Assignment;

use super::Volume;

/// Spectra and statistics of one class, in one half.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassModel {
    pub map: Volume,
    /// Share of the particles (rlnClassDistribution).
    pub share: f64,
    /// Probability per (reduced) direction; sums to `share` (rlnOrientationDistribution).
    pub directions: Vec<f64>,
    /// Prior variance of the signal (rlnReferenceTau2).
    pub tau2: Vec<f64>,
    /// Variance of the noise in the reconstruction (rlnReferenceSigma2).
    pub sigma2: Vec<f64>,
    /// Data-versus-prior ratio (rlnSsnrMap).
    pub ssnr: Vec<f64>,
    /// Gold-standard FSC; zeros without half sets (rlnGoldStandardFsc).
    pub fsc: Vec<f64>,
    /// Share of the shell's voxels where data outweigh the prior (rlnFourierCompleteness).
    pub coverage: Vec<f64>,
    /// rlnSpectralOrientabilityContribution; empty until estimated.
    pub orientability: Vec<f64>,
    /// Expected accuracies; 999 until estimated.
    pub accuracy_degrees: f64,
    pub accuracy_angstrom: f64,
}

/// A micrograph group (scale correction).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupModel {
    pub name: String,
    /// Particles of this half in the group.
    pub particle_count: usize,
    pub scale: f64,
}

/// Prior on orientations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PriorMode {
    /// The distribution over directions only.
    Global,
    /// Gaussians around the previous (or given) angles; sigmas in degrees for rot, tilt, psi.
    Local { sigma_degrees: [f64; 3] },
}

/// The model of one half set, or of the whole set in class3d.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfModel {
    pub classes: Vec<ClassModel>,
    /// sigma2_noise per optics group and shell (rlnSigma2Noise).
    pub noise: Vec<Vec<f64>>,
    pub groups: Vec<GroupModel>,
    pub average_norm: f64,
    /// Standard deviation of the offset prior.
    pub sigma_offset_angstrom: f64,
    pub log_likelihood: f64,
    pub average_max_probability: f64,
}

/// Which poses are tried (rln*Sampling*).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingState {
    pub healpix_order: u32,
    pub psi_step_degrees: f64,
    pub offset_range_angstrom: f64,
    pub offset_step_angstrom: f64,
    /// Adaptive oversampling order.
    pub oversampling: u32,
    /// Running perturbation, in units of the step; 0 without perturbation.
    pub perturbation: f64,
    pub perturbation_factor: f64,
    pub prior: PriorMode,
    pub original_healpix_order: u32,
    pub original_psi_step_degrees: f64,
    pub original_offset_range_angstrom: f64,
    pub original_offset_step_angstrom: f64,
}

/// Image sizes and resolution: what the next iteration transforms, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// Resolution of the model.
    pub current_resolution_per_angstrom: f64,
    pub best_resolution_per_angstrom: f64,
    /// Window of the transforms in the next E-step, even, at most the box.
    pub current_size: usize,
    /// Window of the first pass; differs from `current_size` with adaptive oversampling.
    pub coarse_size: usize,
    /// Shells added above the resolution.
    pub increment: usize,
    pub has_high_fsc_at_limit: bool,
}

/// Memory of the automatic refinement: what decides finer sampling and convergence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    pub iterations_without_resolution_gain: u32,
    pub iterations_without_large_changes: u32,
    /// Mean change of the best poses in the last iteration.
    pub change_degrees: f64,
    pub change_angstrom: f64,
    pub change_classes: f64,
    pub smallest_change_degrees: f64,
    pub smallest_change_angstrom: f64,
    pub smallest_change_classes: f64,
    pub accuracy_degrees: f64,
    pub accuracy_angstrom: f64,
    pub has_fine_enough_sampling: bool,
    pub has_converged: bool,
}

/// Everything between two iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The iteration just finished; 0 after initialisation.
    pub iteration: u32,
    /// One model (class3d) or two (refine3d, half 1 first).
    pub halves: Vec<HalfModel>,
    /// Per particle, in canonical order.
    pub assignments: Vec<Assignment>,
    /// Half of each particle, in canonical order: 0 without half sets, else 1 or 2.
    pub half_of: Vec<u8>,
    pub sampling: SamplingState,
    pub sizes: Sizes,
    pub convergence: Convergence,
}
