//! What is searched in an iteration, from the plan and the state.

use crate::error::Result;
use crate::expectation::Comparison;
use crate::model::PriorMode;
use crate::model::State;
use crate::plan::Plan;
use crate::sampling::LocalPrior;
use crate::sampling::Orientations;
use crate::sampling::Search;
use crate::sampling::Translations;

use super::inputs::Inputs;

/// What is searched in an iteration.
pub struct Grid<'a> {
    pub orientations: &'a Orientations,
    pub translations: &'a Translations,
    pub search: Search<'a>,
    pub comparison: Comparison,
}

/// How images are compared in an iteration.
pub fn comparison(plan: &Plan, iteration: u32) -> Comparison {
    if plan.first_iteration_cc && iteration == 1 { Comparison::CrossCorrelation } else { Comparison::Likelihood }
}

/// The grid of the state's sampling, or the particles' poses where they are kept.
pub fn orientations(plan: &Plan, inputs: &Inputs, state: &State) -> Result<Orientations> {
    if plan.skip_align {
        return Ok(Orientations::of_poses(state.assignments.iter().map(|a| a.euler).collect()));
    }
    Orientations::new(&state.sampling, &inputs.group, None, plan.parity)
}

/// The translations of the state's sampling, or none where the offsets are kept.
pub fn translations(plan: &Plan, state: &State) -> Result<Translations> {
    let mut sampling = state.sampling;
    if plan.skip_align {
        sampling.offset_range_angstrom = 0.0;
    }
    Translations::new(&sampling)
}

/// The prior of local searches.
pub fn local_prior<'a>(
    plan: &Plan,
    inputs: &'a Inputs,
    state: &State,
    orientations: &'a Orientations,
) -> Result<Option<LocalPrior<'a>>> {
    match state.sampling.prior {
        PriorMode::Global => Ok(None),
        PriorMode::Local { sigma_degrees } => {
            LocalPrior::new(orientations, &inputs.group, sigma_degrees, plan.parity).map(Some)
        }
    }
}

pub fn search<'a>(plan: &Plan, local: Option<&'a LocalPrior<'a>>) -> Search<'a> {
    match local {
        _ if plan.skip_align => Search::OwnPose,
        Some(prior) => Search::Near(prior),
        None => Search::Everywhere,
    }
}
