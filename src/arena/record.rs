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

/// One allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub kind: Kind,
    pub name: &'static str,
    pub offset: usize,
    pub bytes: usize,
}

/// Every allocation since the outermost frame opened, and the highest top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In the order they were made.
    pub placements: Vec<Placement>,
    /// Most bytes that the allocations of one name held together.
    pub most: BTreeMap<(Kind, &'static str), usize>,
    /// Highest top ever reached, in bytes.
    pub peak: usize,
}

impl Layout {
    /// The first thing that is not as `other` has it, in words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let told = |placement: Option<&Placement>| match placement {
            Some(p) => format!("`{}` of the {} frame at {}, {} bytes", p.name, p.kind.name(), p.offset, p.bytes),
            None => "nothing".to_owned(),
        };
        let count = self.placements.len().max(other.placements.len());
        let differ = (0..count).map(|i| (self.placements.get(i), other.placements.get(i))).find(|(a, b)| a != b);
        match differ {
            Some((a, b)) => Some(format!("{} instead of {}", told(a), told(b))),
            None if self.peak != other.peak => Some(format!("{} bytes instead of {}", self.peak, other.peak)),
            None => None,
        }
    }

    /// BLAKE3 of all placements and the peak, hexadecimal: layouts that are equal byte for byte have equal digests.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for Placement { kind, name, offset, bytes } in &self.placements {
            hasher.update(format!("{} {offset} {bytes} {name}\n", kind.name()).as_bytes());
        }
        hasher.update(self.peak.to_string().as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

/// What happened in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Opened,
    Took {
        name: &'static str,
        offset: usize,
        bytes: usize,
    },
    /// Whatever lay from `base` up to `end` was given back.
    Closed {
        base: usize,
        end: usize,
    },
}

/// The top of the arena at a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    pub seconds: f64,
    pub kind: Kind,
    pub change: Change,
    /// Top pointer in bytes: at opening, after an allocation, just before closing.
    pub top: usize,
}

impl Event {
    /// Whether a frame opened or closed.
    pub fn is_of_frame(&self) -> bool {
        !matches!(self.change, Change::Took { .. })
    }
}

/// Events kept at most; a long run keeps its beginning.
const MOST_EVENTS: usize = 100_000;
/// Room for the events of an iteration whose batches share their buffers.
const USUAL_EVENTS: usize = 4096;

pub(super) struct Record {
    pub layout: Layout,
    pub events: Vec<Event>,
    /// Allocations of the open frames.
    live: Vec<Placement>,
    start: Instant,
}

impl Record {
    pub fn new() -> Self {
        Self {
            layout: Layout::default(),
            events: Vec::with_capacity(USUAL_EVENTS),
            live: Vec::new(),
            start: Instant::now(),
        }
    }

    /// The outermost frame opens: a new layout begins.
    pub fn restart(&mut self) {
        self.layout = Layout::default();
        self.live.clear();
        // Whoever took the events took their memory too.
        self.events.reserve(USUAL_EVENTS);
    }

    pub fn allocation(&mut self, kind: Kind, name: &'static str, offset: usize, bytes: usize) {
        let placement = Placement { kind, name, offset, bytes };
        self.layout.placements.push(placement);
        self.live.push(placement);
        let together: usize = self.live.iter().filter(|p| (p.kind, p.name) == (kind, name)).map(|p| p.bytes).sum();
        let most = self.layout.most.entry((kind, name)).or_default();
        *most = together.max(*most);
        self.layout.peak = self.layout.peak.max(offset + bytes);
        self.event(kind, Change::Took { name, offset, bytes }, offset + bytes);
    }

    /// The top came as far as `end` with something that has no name.
    pub fn reach(&mut self, end: usize) {
        self.layout.peak = self.layout.peak.max(end);
    }

    pub fn open(&mut self, kind: Kind, base: usize) {
        self.event(kind, Change::Opened, base);
    }

    /// A frame that began at `base` and reached `top` gives everything back, up to its `end`.
    pub fn close(&mut self, kind: Kind, base: usize, top: usize, end: usize) {
        self.live.retain(|p| !(base..end).contains(&p.offset));
        self.event(kind, Change::Closed { base, end }, top);
    }

    fn event(&mut self, kind: Kind, change: Change, top: usize) {
        if self.events.len() < MOST_EVENTS {
            self.events.push(Event { seconds: self.start.elapsed().as_secs_f64(), kind, change, top });
        }
    }
}
