//! The expectation step on a device: the same step as [`super::products`], by kernels.
//!
//! The host reads images, makes the lists of significant pairs and takes over results; everything else is
//! done in the device's memory, which an arena lays out. Floating-point sums over particles happen inside a block of
//! particles only, in canonical order; everything else is added as integers, so that no order of threads matters.

mod arguments;
mod batches;
mod clock;
mod coarse;
mod engine;
mod fine;
mod form;
mod found;
mod group;
mod images;
mod link;
mod memory;
mod narrow;
mod planes;
pub mod prepare;
mod resident;
mod search;
mod select;
mod tables;
pub mod transform;
pub mod trial;

pub use coarse::CoarseArguments;
pub use coarse::PowerArguments;
pub use coarse::STRIDE;
pub use coarse::SpreadArguments;
pub use coarse::launch_coarse;
pub use coarse::launch_power;
pub use coarse::launch_spread;
pub use coarse::stride;
pub use engine::Config;
pub use engine::count_device;
pub use engine::count_host;
pub use engine::expect;
pub use engine::expect_watched;
pub use engine::staging_bytes;
pub use form::Form;
pub use link::DeviceFrame;
pub use link::Link;
pub use narrow::launch_largest;
pub use narrow::launch_narrow;
pub use narrow::scale_to_fit;
pub use resident::Resident;
pub use transform::Transform;
