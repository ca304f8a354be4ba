//! Particles as science sees them: optics groups, half sets, canonical order, batches.
//!
//! A particle *is* its image name (stack path as written, and index). The canonical order of the
//! particles is by that key; everything that counts, draws or sums over particles uses it
//! (`docs/ARCHITECTURE.md`, invariant "order").

mod convert;
mod groups;
mod halves;
mod images;
mod optics;
mod particle;
mod read;
mod reals;
mod spread;
pub mod staged;
mod suits;

pub use groups::without_job_prefix;
pub use images::ImageShape;
pub use particle::{Assignment, CtfParameters, Dataset, ImageName, OpticsGroup, Particle};
pub use read::Images;
pub use read::ReadOptions;
pub use spread::WILD_FACTOR;
pub use spread::spread;
