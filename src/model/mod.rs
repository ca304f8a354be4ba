//! What one iteration turns into the next: volumes, spectra, priors, controllers' memory.

mod state;
mod steps;
mod volume;

pub use state::{ClassModel, Convergence, GroupModel, HalfModel, PriorMode, SamplingState, Sizes, State};
pub use volume::Volume;
