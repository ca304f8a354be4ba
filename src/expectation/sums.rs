//! The weighted sums of one half set: all that maximisation needs of the particles.

use num_complex::Complex;

/// Sums of one class. Volumes use the rows of [`crate::imaging::sphere::SphereRows`] with
/// radius ROUND(padding * current_size / 2); the x = 0 plane holds each sample on one side only.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassSums {
    /// sum w CTF/sigma2 X, in the 2D normalisation.
    pub data: Vec<Complex<f64>>,
    /// sum w CTF^2/sigma2.
    pub weight: Vec<f64>,
    /// Posterior mass per (reduced) direction; their sum is the mass of the class.
    pub directions: Vec<f64>,
}

/// Sums of one half set over its particles.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// Window of the transforms behind `classes`.
    pub current_size: usize,
    pub classes: Vec<ClassSums>,
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
