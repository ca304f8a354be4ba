//! Images x poses -> weighted sums.
//!
//! [`reference`] is the definition of right.

mod group;
mod prepare;
mod prior;
pub mod reference;
mod sums;
mod task;

pub use sums::{ClassSums, Sums};
pub use task::{Comparison, Options, Outcome, Task};
