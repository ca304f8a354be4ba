//! The weighted sums of one half set: all that maximisation needs of the particles.
//!
//! The volumes, which are large, are the caller's memory; [`Sums`] is the rest.

use super::Task;

/// A voxel of a class's volume: real and imaginary part of sum w CTF/sigma2 X, in the 2D normalisation, and
/// sum w CTF^2/sigma2.
///
/// Volumes use the rows of [`crate::imaging::sphere::SphereRows`] with radius ROUND(padding * current_size / 2); the
/// x = 0 plane holds each sample on one side only.
pub type SumVoxel = [f64; 3];

/// Sums of one half set over its particles.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// Window of the transforms behind the volumes.
    pub current_size: usize,
    /// Posterior mass per class and (reduced) direction; their sum over the directions is the mass of the class.
    pub directions: Vec<Vec<f64>>,
    /// Per optics group and shell of the model box: sum w |R - F|^2.
    pub noise: Vec<Vec<f64>>,
    /// Posterior mass per optics group.
    pub noise_mass: Vec<f64>,
    /// Per optics group and shell: sum over particles of mass * CTF^2 summed over the shell's
    /// half-plane pixels (premultiplied data only; zeros otherwise).
    pub ctf2: Vec<Vec<f64>>,
    /// Per micrograph group: sum w Re(R conj F) / scale and sum w |R|^2 / scale^2, well resolved shells only.
    pub scale_xa: Vec<f64>,
    pub scale_aa: Vec<f64>,
    /// Sum of the new norm corrections, weighted by mass.
    pub norm: f64,
    /// Sum of w * squared offset in Angstrom^2, both axes.
    pub offset2_angstrom2: f64,
    pub log_likelihood: f64,
    pub max_probability: f64,
    /// Number of particles that contributed.
    pub particle_count: usize,
}

impl Sums {
    /// Empty sums of a task.
    pub fn zeros(task: &Task<'_>) -> Self {
        let shells = task.box_pixels() / 2 + 1;
        let optics = task.dataset.optics.len();
        let groups = task.model.groups.len();
        Self {
            current_size: task.current_size,
            directions: vec![vec![0.0; task.orientations.direction_count()]; task.model.classes.len()],
            noise: vec![vec![0.0; shells]; optics],
            noise_mass: vec![0.0; optics],
            ctf2: vec![vec![0.0; shells]; optics],
            scale_xa: vec![0.0; groups],
            scale_aa: vec![0.0; groups],
            norm: 0.0,
            offset2_angstrom2: 0.0,
            log_likelihood: 0.0,
            max_probability: 0.0,
            particle_count: 0,
        }
    }

    /// Posterior mass of each class.
    pub fn masses(&self) -> Vec<f64> {
        self.directions.iter().map(|of_class| of_class.iter().sum()).collect()
    }
}
