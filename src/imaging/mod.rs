//! Volume + pose + CTF -> image, and the exact adjoint.

pub mod sphere;
