//! Slurm, as its commands show it: text in, records out. Nothing here knows what is refined.

mod act;
mod call;
mod job;
mod nodes;
pub mod partition;
mod queue;
pub mod quote;
pub mod sbatch;
pub mod script;
mod span;
mod submitted;
mod text;
pub mod time;

pub use act::cancel;
pub use act::dependents;
pub use act::requeue;
pub use act::resubmit;
pub use call::Failure;
pub use call::call;
pub use call::call_within;
pub use job::Job;
pub use job::State;
pub use nodes::expand;
pub use queue::Seen;
pub use queue::Standing;
pub use queue::glance;
pub use queue::look;
pub use queue::show;
pub use queue::standing;
pub use span::Span;
pub use submitted::Submission;
pub use submitted::submissions;
/// A record of a line of `scontrol -o show job`.
pub use text::scontrol_line as parse_scontrol;
