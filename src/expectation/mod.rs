//! Images x poses -> weighted sums.
//!
//! [`mod@reference`] is the definition of right; [`products`] is the engine, tested against it.

pub mod gpu;
mod group;
mod images;
mod prepare;
mod prior;
pub mod products;
pub mod reference;
mod scalar;
mod sums;
mod task;

pub use images::ImageSource;
pub use scalar::Scalar;
pub use sums::{SumVoxel, Sums};
pub use task::{Comparison, Options, Outcome, Task};
