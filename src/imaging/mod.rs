//! Volume + pose + CTF -> image, and the exact adjoint.
//!
//! Rotations take object coordinates to image coordinates; a central slice therefore samples the
//! volume's transform at the inverse rotation of (kx, ky, 0). Images and volumes are centred on n/2.

pub mod aberrations;
pub mod backproject;
pub mod cell;
pub mod ctf;
pub mod gridding;
pub mod mask;
pub mod mtf;
pub mod padded;
pub mod pixels;
pub mod projector;
pub mod random;
pub mod scale;
pub mod shift;
pub mod sphere;

pub use cell::Cell;
pub use cell::Geometry;
pub use ctf::Ctf;
pub use ctf::CtfOptions;
pub use ctf::FirstPeak;
pub use pixels::PixelList;
pub use projector::Projector;
pub use scale::ReferenceScale;
pub use sphere::SphereRows;
