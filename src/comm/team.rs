//! The ranks as this process sees them.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;

use super::Launch;
use super::pack;
use super::unpack;
use super::wire;

/// Pauses between looks for a message: short at first, so that an answer costs little, then longer, so that waiting
/// costs nothing.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// What a message is about. Each is sent by one thread of a rank and received by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// To the leader, from the thread that reads, and its answer.
    Request = 1,
    Grant,
    /// To the leader, from the thread that shows a rank's life, and its answer.
    Beat,
    Alive,
    /// To the leader: files that were written, the end of a step, why a rank ends.
    Report,
    /// From the leader: how a step ends.
    Verdict,
    /// From rank 0: what to do next.
    Order,
    /// To rank 0: what was found out, and who a rank is.
    Found,
    Presence,
    /// Between ranks that make maps.
    Map,
    Swap,
}

/// MPI, held by the thread that started it until the end of the process.
pub struct Session {
    _wire: wire::Session,
}

/// This rank among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    rank: usize,
    size: usize,
}

impl Team {
    /// One of several, that speaks to nobody.
    #[cfg(test)]
    pub fn silent(rank: usize, size: usize) -> Self {
        Self { rank, size }
    }

    /// A single rank.
    pub fn alone() -> Self {
        Self { rank: 0, size: 1 }
    }

    /// Joins the ranks that were started together with this one; alone, MPI is not started.
    ///
    /// # Errors
    /// `Unavailable` without MPI, `Usage` when the launcher and MPI do not know each other.
    pub fn join() -> Result<(Option<Session>, Self)> {
        if !Launch::of_process().has_others()? {
            return Ok((None, Self::alone()));
        }
        let (wire, rank, size) = wire::open()?;
        Ok((Some(Session { _wire: wire }), Self { rank, size }))
    }

    /// Name and version of the MPI library; `None` without.
    pub fn library() -> Option<String> {
        wire::library()
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn is_alone(&self) -> bool {
        self.size == 1
    }

    pub fn send(&self, to: usize, tag: Tag, message: &impl Serialize) -> Result<()> {
        wire::send(to, tag as i32, &pack(message)?)
    }

    /// The next message with this tag if one has come, and its sender.
    pub fn poll<M: DeserializeOwned>(&self, from: Option<usize>, tag: Tag) -> Result<Option<(usize, M)>> {
        match wire::poll(from, tag as i32)? {
            Some((from, bytes)) => Ok(Some((from, unpack(&bytes)?))),
            None => Ok(None),
        }
    }

    /// Waits for the next message with this tag.
    pub fn receive<M: DeserializeOwned>(&self, from: Option<usize>, tag: Tag) -> Result<(usize, M)> {
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Some(found) = self.poll(from, tag)? {
                return Ok(found);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// As [`Self::receive`], but not for ever.
    pub fn receive_within<M: DeserializeOwned>(
        &self,
        from: Option<usize>,
        tag: Tag,
        patience: Duration,
    ) -> Result<Option<(usize, M)>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(found) = self.poll(from, tag)? {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(LONGEST_PAUSE);
        }
    }

    /// Gives this rank's value to all others, which call [`Self::broadcast_from`].
    pub fn broadcast(&self, value: &impl Serialize) -> Result<()> {
        let mut bytes = pack(value)?;
        let mut length = (bytes.len() as u64).to_le_bytes();
        wire::broadcast_bytes(self.rank, &mut length)?;
        wire::broadcast_bytes(self.rank, &mut bytes)
    }

    /// The value that rank `root` gives to all.
    pub fn broadcast_from<M: DeserializeOwned>(&self, root: usize) -> Result<M> {
        let mut length = [0; 8];
        wire::broadcast_bytes(root, &mut length)?;
        let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
        wire::broadcast_bytes(root, &mut bytes)?;
        unpack(&bytes)
    }

    /// Gives rank `root`'s numbers to all; every rank calls this with as many.
    pub fn broadcast_numbers(&self, root: usize, values: &mut [f32]) -> Result<()> {
        if self.is_alone() { Ok(()) } else { wire::broadcast_f32(root, values) }
    }

    /// Adds the integers of all ranks into those of rank `root`; every rank calls this with as many, and only the root's
    /// are of use then.
    pub fn sum_to(&self, root: usize, values: &mut [i64]) -> Result<()> {
        if self.is_alone() { Ok(()) } else { wire::sum_to(root, self.rank, values) }
    }

    /// Swaps numbers with another rank, which calls this too.
    pub fn exchange(&self, with: usize, ours: &[i64], theirs: &mut [i64]) -> Result<()> {
        wire::exchange(with, Tag::Swap as i32, ours, theirs)
    }

    /// Ends all ranks with this code; does not come back.
    pub fn abort(&self, code: u8) -> ! {
        if self.is_alone() {
            std::process::exit(i32::from(code));
        }
        wire::abort(i32::from(code))
    }
}
