//! How long the device works for each phase of a step.

use std::cell::RefCell;

use crate::device::MARKS;
use crate::device::Mark;
use crate::device::Stream;
use crate::error::Result;
use crate::expectation::products::Work;

use super::link::Link;

/// Marks before these keep streams in order.
const FIRST: usize = 8;
/// Stretches that are timed before their times are looked at, at most.
const STRETCHES: usize = (MARKS - FIRST) / 2;

/// What the device works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Images,
    Coarse,
    Fine,
    Sums,
}

/// Times stretches of [`Stream::Compute`] that nothing of the host comes between.
#[derive(Default)]
pub struct Clock {
    /// Stretches whose marks may not have passed, in order; and the times of those before.
    state: RefCell<(Vec<Phase>, Work)>,
}

impl Clock {
    /// Times what `work` starts.
    pub fn time<R>(&self, link: &Link<'_>, phase: Phase, work: impl FnOnce() -> Result<R>) -> Result<R> {
        if self.state.borrow().0.len() == STRETCHES {
            link.finish()?;
            self.settle(link)?;
        }
        let mark = FIRST + 2 * self.state.borrow().0.len();
        link.driver.mark(Stream::Compute, Mark(mark))?;
        let result = work()?;
        link.driver.mark(Stream::Compute, Mark(mark + 1))?;
        self.state.borrow_mut().0.push(phase);
        Ok(result)
    }

    /// Looks at the times of all stretches. The stream was waited for.
    pub fn settle(&self, link: &Link<'_>) -> Result<()> {
        let (stretches, work) = &mut *self.state.borrow_mut();
        for (number, phase) in stretches.drain(..).enumerate() {
            let mark = FIRST + 2 * number;
            let seconds = link.driver.seconds(Mark(mark), Mark(mark + 1))?;
            match phase {
                Phase::Images => work.images += seconds,
                Phase::Coarse => work.coarse += seconds,
                Phase::Fine => work.fine += seconds,
                Phase::Sums => work.sums += seconds,
            }
        }
        Ok(())
    }

    /// Seconds by phase so far.
    pub fn work(&self) -> Work {
        self.state.borrow().1
    }
}
