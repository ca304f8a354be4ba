//! What ranks say to each other.

use serde::Deserialize;
use serde::Serialize;

use crate::checkpoint::Entry;
use crate::expectation::products::Finished;

/// A rank asks the leader for blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub half: u32,
    /// Optics group, and how many blocks at most; `None` asks only whether anything is left of the half set.
    pub blocks: Option<(u32, u32)>,
    /// This rank was asked to stop, and by what.
    pub stop: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub blocks: Vec<u32>,
    /// Of the half set, blocks are or were left.
    pub is_any: bool,
    /// The run stops.
    pub stop: bool,
}

/// A rank shows that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Changes whenever something was done.
    pub deeds: u64,
    /// Seconds that the present work may take; 0: it waits for others.
    pub allowance: u64,
    /// Particles that this rank finished in the present iteration.
    pub particles: u64,
}

/// A rank tells the leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// Parts are on disk.
    Parts(Vec<Entry>),
    Warning(String),
    /// The expectation step is over on this rank; whether all that it was given is done.
    Ended {
        stop: Option<String>,
    },
    /// All that a stop shall keep is on disk.
    Kept,
    /// This rank ends because of an error: code and text.
    Failed {
        code: u8,
        text: String,
    },
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// All is done: the sums are added up.
    Whole,
    /// Something is left: everybody keeps what it has.
    Stopped,
}

/// What rank 0 has the others do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// An iteration; the state follows.
    Iterate(Box<Iterate>),
    End {
        code: u8,
    },
}

/// One iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Iterate {
    pub last: bool,
    pub usual_spread: [Vec<f64>; 2],
    /// Parts that ranks go on with.
    pub earlier: Vec<(usize, Entry)>,
}

/// What a rank found out about a half set, beside the sums; `None`: it took no part.
pub type Found = Vec<(usize, Option<Finished>)>;
