//! Several ranks at one refinement. Rank 0 runs the refinement as a single process does; a leader, a thread beside its
//! own work, hands out blocks of particles on request. The others ([`Follower`]) do what rank 0 orders: their share of
//! the expectation step, their share of the maps. Everything that is added up between ranks is an integer or belongs to
//! one particle, so that the number of ranks changes no bit.

mod choose;
mod follower;
mod leader;
mod ledger;
mod life;
mod message;
mod place;
mod pulse;
mod roster;
mod share;
mod sight;
mod supply;
#[cfg(test)]
mod tests;

pub use follower::Follower;
pub use follower::follow;
pub use leader::start as lead;
pub use ledger::Ledger;
pub use message::Iterate;
pub use message::Order;
pub use message::Report;
pub use message::Verdict;
pub use place::Place;
pub use pulse::Pulse;
pub use roster::Chosen;
pub use roster::Settled;
pub use roster::settle;
pub use share::Share;
pub use share::merge;
pub use supply::Local;

use crate::comm::Tag;
use crate::comm::Team;
use crate::error::Result;

/// Tells all other ranks what to do.
pub fn order(team: &Team, order: &Order) -> Result<()> {
    (1..team.size()).try_for_each(|rank| team.send(rank, Tag::Order, order))
}
