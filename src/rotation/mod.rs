//! Euler angles, rotation matrices, point groups and the HEALPix sphere.
//!
//! A pose is a matrix A that takes coordinates of the object to coordinates of the image frame; its third
//! row is the viewing direction in the object frame. In-plane angle psi turns the image.

mod asymmetric_unit;
mod euler;
pub mod healpix;
mod matrix;
mod operators;
mod point_group;

pub use euler::Euler;
pub use euler::angles_of_direction;
pub use euler::direction_of_angles;
pub use matrix::Matrix3;
pub use operators::Operator;
pub use point_group::PointGroup;
