//! Images x poses -> weighted sums.

mod sums;

pub use sums::{ClassSums, Sums};
