//! ZYZ Euler angles in degrees, as RELION writes them.

/// rot about z, tilt about the new y, psi about the new z, in degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Euler {
    pub rot: f64,
    pub tilt: f64,
    pub psi: f64,
}
