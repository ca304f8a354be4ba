//! Where a run stands: when it ends, and when it goes on.

use crate::model::State;
use crate::plan::progress::Event;
use crate::plan::progress::Record;

/// Where a run stands when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub iteration: u32,
    pub converged: bool,
    pub resolution_angstrom: f64,
}

impl Ending {
    pub fn after(state: &State) -> Self {
        Self {
            iteration: state.iteration,
            converged: state.convergence.has_converged,
            resolution_angstrom: 1.0 / state.sizes.current_resolution_per_angstrom,
        }
    }
}

/// Particles that earlier processes told to have done after the point (iteration, particles of the next one) the run
/// goes on from.
pub fn repeated(earlier: &[Record], from: (u32, usize), particles: usize) -> usize {
    // Of the latest process only: what it repeated of the one before it, that one told.
    let start = earlier.iter().rposition(|r| matches!(r.event, Event::Started(_))).unwrap_or(0);
    let reached = earlier[start..].iter().filter_map(|record| match &record.event {
        Event::Batch { iteration, particles_done, .. }
        | Event::Stopping { iteration, particles_done, .. }
        | Event::Part { iteration, particles_done, .. } => Some((*iteration, *particles_done)),
        Event::IterationFinished(finished) => Some((finished.iteration, particles)),
        _ => None,
    });
    let at = |(iteration, done): (u32, usize)| (iteration as usize).saturating_sub(1) * particles + done;
    reached.map(at).max().unwrap_or(0).saturating_sub(at((from.0 + 1, from.1)))
}
