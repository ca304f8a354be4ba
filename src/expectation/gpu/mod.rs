//! The expectation step on a device.

pub mod prepare;
mod resident;
mod transform;

pub use resident::Resident;
pub use transform::HostTransform;
pub use transform::Transform;
