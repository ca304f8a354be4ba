//! What an arena remembers: its layout (for plans and tests) and its top over time (for the report).

use std::collections::BTreeMap;
use std::time::Instant;

/// The lifetime of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Run,
    Iteration,
    Batch,
    Tile,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Iteration => "iteration",
            Self::Batch => "batch",
            Self::Tile => "tile",
        }
    }
}

/// Largest extent of one named allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub offset: usize,
    pub bytes: usize,
}

/// Every named allocation of every kind of frame, and the highest top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub rows: BTreeMap<(Kind, &'static str), Row>,
    /// Highest top ever reached, in bytes.
    pub peak: usize,
}

/// The top of the arena when a frame opened or closed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    pub seconds: f64,
    pub kind: Kind,
    pub opened: bool,
    /// Top pointer in bytes: just before closing, or at opening.
    pub top: usize,
}

/// Events kept at most; a long run keeps its beginning.
const MOST_EVENTS: usize = 100_000;

pub(super) struct Record {
    pub layout: Layout,
    pub events: Vec<Event>,
    start: Instant,
}

impl Record {
    pub fn new() -> Self {
        Self { layout: Layout::default(), events: Vec::with_capacity(4096), start: Instant::now() }
    }

    pub fn allocation(&mut self, kind: Kind, name: &'static str, offset: usize, bytes: usize) {
        let row = self.layout.rows.entry((kind, name)).or_default();
        row.offset = row.offset.max(offset);
        row.bytes = row.bytes.max(bytes);
        self.layout.peak = self.layout.peak.max(offset + bytes);
    }

    /// The top came as far as `end` with something that has no name.
    pub fn reach(&mut self, end: usize) {
        self.layout.peak = self.layout.peak.max(end);
    }

    pub fn event(&mut self, kind: Kind, opened: bool, top: usize) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(Event { seconds: self.start.elapsed().as_secs_f64(), kind, opened, top });
        }
    }
}
