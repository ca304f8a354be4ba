//! Slurm, as its commands show it: text in, records out. Nothing here knows what is refined.

mod call;

pub use call::Failure;
pub use call::call;
pub use call::call_within;
