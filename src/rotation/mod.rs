//! Euler angles, rotation matrices, point groups and the HEALPix sphere.

mod euler;
mod matrix;

pub use euler::Euler;
pub use matrix::Matrix3;
