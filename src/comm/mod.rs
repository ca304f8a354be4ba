//! The ranks of a job: processes that send each other bytes and add integers, by MPI where there are several.
//!
//! Whoever waits for long sleeps between looks: MPI's own waiting would keep a core busy.

#[cfg(not(feature = "mpi"))]
mod alone;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
mod pack;
mod team;

#[cfg(not(feature = "mpi"))]
use alone as wire;
#[cfg(feature = "mpi")]
use mpi as wire;

pub use launch::Launch;
pub use pack::pack;
pub use pack::unpack;
pub use team::Session;
pub use team::Tag;
pub use team::Team;
