//! What the keeper says in the progress file.

use std::time::Instant;

use crate::error::Error;
use crate::error::Result;
use crate::plan::progress::Event;

use super::Keeper;
use super::Standing;

impl Keeper<'_> {
    pub(super) fn warn(&mut self, text: &str) -> Result<()> {
        self.progress.write(Event::Warning { text: text.to_owned() })
    }

    pub(super) fn repeat(&mut self, iteration: u32, error: &Error) -> Result<()> {
        self.warn(&format!("{}; iteration {iteration} begins anew", sentence(error)))
    }

    /// Tells why the run stops before an iteration that this process has not begun. What an earlier one did of it stays
    /// done.
    pub fn tell_stop_before(&mut self, iteration: u32) -> Result<()> {
        self.tell_stop(iteration, self.resumed)
    }

    /// Tells why the run stops, and where it stands.
    pub(super) fn tell_stop(&mut self, iteration: u32, particles_done: usize) -> Result<()> {
        let cause = self.stop.cause().map_or_else(String::new, |cause| cause.to_string());
        self.tell_cause(cause, iteration, particles_done)
    }

    pub(super) fn tell_cause(&mut self, cause: String, iteration: u32, particles_done: usize) -> Result<()> {
        self.progress.write(Event::Stopping { cause, iteration, particles_done })
    }

    pub(super) fn tell(&mut self) -> Result<()> {
        self.told = Instant::now();
        let Standing { iteration, done, total, .. } = self.standing;
        self.progress.write(Event::Batch { iteration, particles_done: done, particles_total: total })
    }
}

/// An error in one line, for a warning.
pub(super) fn sentence(error: &Error) -> String {
    match error.place.as_str() {
        "" => error.problem.clone(),
        place => format!("{place}: {}", error.problem),
    }
}
