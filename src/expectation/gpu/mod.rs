//! The expectation step on a device.

pub mod prepare;
mod resident;
pub mod transform;

pub use resident::Resident;
pub use transform::Transform;
