//! Streams that may be late: what is put into them waits until somebody waits for it.
//!
//! On a GPU work of different streams is done in any order that marks allow. The twin is used with streams that do
//! their work at once, as ever, or as late as can be; a mark that is missing then shows in the results.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use crate::error::Error;
use crate::error::Result;

use super::super::Grid;
use super::super::MARKS;
use super::super::Mark;
use super::super::STREAMS;
use super::super::Stream;

/// Work of a stream; addresses were checked when it was put there.
pub enum Work {
    Upload {
        to: u64,
        from: Source,
    },
    /// To page-locked memory.
    Download {
        from: u64,
        to: u64,
        bytes: usize,
    },
    Copy {
        to: u64,
        from: u64,
        bytes: usize,
    },
    Zero {
        at: u64,
        bytes: usize,
    },
    Launch {
        kernel: &'static str,
        grid: Grid,
        arguments: Vec<std::mem::MaybeUninit<u8>>,
    },
}

/// Where an upload comes from.
pub enum Source {
    /// Ordinary memory, as it was at the call.
    Own(Vec<u8>),
    /// Page-locked memory, as it is when the upload is done.
    Pinned { address: u64, bytes: usize },
}

enum Item {
    Work(Work),
    Mark(usize, u64),
    /// Waits for the so many-th putting of a mark.
    Wait(usize, u64),
}

/// A mark: how often it was put, how often passed, and when last.
#[derive(Clone, Copy, Default)]
struct Passing {
    put: u64,
    passed: u64,
    at: Option<Instant>,
}

/// The streams of a device.
pub struct Queues {
    waiting: [VecDeque<Item>; STREAMS],
    marks: [Passing; MARKS],
    late: [bool; STREAMS],
}

impl Queues {
    pub fn new(late: [bool; STREAMS]) -> Self {
        Self { waiting: Default::default(), marks: [Passing::default(); MARKS], late }
    }

    /// Whether what is put into the stream is done at once.
    pub fn is_prompt(&self, stream: Stream) -> bool {
        !self.late[stream as usize]
    }

    /// Puts work into a stream.
    pub fn put(&mut self, stream: Stream, work: Work, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        self.waiting[stream as usize].push_back(Item::Work(work));
        self.go_on(stream, run)
    }

    pub fn mark(&mut self, stream: Stream, mark: Mark, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        self.marks[mark.0].put += 1;
        self.waiting[stream as usize].push_back(Item::Mark(mark.0, self.marks[mark.0].put));
        self.go_on(stream, run)
    }

    /// What follows in the stream waits for the mark where it was put last; a mark that was never put is no reason.
    pub fn wait_for(&mut self, stream: Stream, mark: Mark, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        self.waiting[stream as usize].push_back(Item::Wait(mark.0, self.marks[mark.0].put));
        self.go_on(stream, run)
    }

    fn go_on(&mut self, stream: Stream, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        if self.is_prompt(stream) { self.finish(stream, run) } else { Ok(()) }
    }

    /// Does all of a stream.
    pub fn finish(&mut self, stream: Stream, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        self.until(stream as usize, None, run)
    }

    /// Does a stream until it passed a mark, or all of it.
    fn until(&mut self, stream: usize, end: Option<(usize, u64)>, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        while let Some(item) = self.waiting[stream].pop_front() {
            match item {
                Item::Work(work) => run(work)?,
                Item::Mark(mark, put) => {
                    self.marks[mark] = Passing { passed: put, at: Some(Instant::now()), ..self.marks[mark] };
                    if end == Some((mark, put)) {
                        return Ok(());
                    }
                }
                Item::Wait(mark, put) => self.pass(mark, put, run)?,
            }
        }
        Ok(())
    }

    /// Does the other streams until a mark is passed.
    fn pass(&mut self, mark: usize, put: u64, run: &dyn Fn(Work) -> Result<()>) -> Result<()> {
        if self.marks[mark].passed >= put {
            return Ok(());
        }
        let is_it = |item: &Item| matches!(item, Item::Mark(m, p) if (*m, *p) == (mark, put));
        let stream = self.waiting.iter().position(|items| items.iter().any(is_it));
        let stream = stream.ok_or_else(|| Error::internal(format!("mark {mark} is in no stream")))?;
        self.until(stream, Some((mark, put)), run)
    }

    /// Seconds between two marks.
    pub fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        let [from_passing, to_passing] = [from, to].map(|mark| self.marks[mark.0]);
        let all_passed = [from_passing, to_passing].iter().all(|p| p.put > 0 && p.put == p.passed);
        match (from_passing.at, to_passing.at) {
            (Some(from), Some(to)) if all_passed => Ok(to.saturating_duration_since(from).as_secs_f64()),
            _ => Err(Error::internal(format!("marks {} and {}: not both have passed", from.0, to.0))),
        }
    }
}

/// The page-locked memory of a device.
#[derive(Clone, Default)]
pub struct PinnedRanges(Arc<Mutex<Vec<(u64, u64)>>>);

impl PinnedRanges {
    pub fn add(&self, address: u64, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((address, address + bytes as u64));
    }

    pub fn remove(&self, address: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|range| range.0 != address);
    }

    pub fn holds(&self, address: u64, bytes: usize) -> bool {
        let ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ranges.iter().any(|(start, end)| *start <= address && address + bytes as u64 <= *end)
    }
}
