//! Slurm, as its commands show it: text in, records out. Nothing here knows what is refined.

mod call;
pub mod partition;
pub mod quote;
pub mod sbatch;
pub mod script;
pub mod time;

pub use call::Failure;
pub use call::call;
pub use call::call_within;
