//! The product engine: the expectation step as matrix products, batch after batch.
//!
//! The unit is the block: `block_particles` particles, consecutive in canonical order, of one optics group.
//! Floating-point sums over particles happen inside a block only; between blocks, orientations and threads only
//! integers are added. Results therefore do not depend on the number of threads, on the number of blocks in a
//! batch, or on how much memory the weights have.

pub(super) mod ahead;
pub(super) mod batch;
pub(super) mod begun;
mod coarse;
pub(super) mod engine;
mod fine;
mod finished;
pub(super) mod half;
pub(super) mod load;
pub(super) mod maximise;
mod operands;
pub(super) mod pairs;
pub(super) mod parallel;
pub(super) mod posterior;
pub(super) mod result;
mod run;
pub(super) mod shape;
mod significant;
pub(super) mod supply;
mod sweeps;
mod terms;
mod work;

pub use engine::{Config, block_counts, count, expect, expect_watched};
pub use finished::{Contribution, Earlier, Finished, OriginTerm};
pub use half::{Half, Midway, Next, Watch};
pub use operands::{CoarseRows, coarse_rows};
pub use shape::{Shape, projector_work, sums};
pub use supply::Supply;
pub use terms::{Pass, Terms, terms};
pub use work::Work;
pub use work::coarse_operations;
