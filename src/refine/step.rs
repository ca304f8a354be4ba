//! The expectation step of an iteration: its memory, and one task a half set.

use crate::arena::Arena;
use crate::arena::Event;
use crate::error::Result;
use crate::expectation::Comparison;
use crate::expectation::Outcome;
use crate::expectation::Task;
use crate::expectation::products;
use crate::expectation::products::Config;
use crate::imaging::Geometry;
use crate::maximisation::classes;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::plan::progress::WeightMemory;
use crate::sampling::Orientations;
use crate::sampling::Search;
use crate::sampling::Translations;
use crate::weights;

use super::Job;
use super::inputs::Inputs;
use super::memory;
use super::memory::Beside;
use super::spread;

/// What is searched in an iteration.
pub struct Grid<'a> {
    pub orientations: &'a Orientations,
    pub translations: &'a Translations,
    pub search: Search<'a>,
    pub comparison: Comparison,
}

/// The engine and its arena.
pub struct Engine {
    config: Config,
    precision: Precision,
    arena: Option<Arena>,
    /// Usual spread of pixels per optics group, where it is known.
    usual_spread: [Vec<f64>; 2],
    half_members: Vec<Vec<u32>>,
}

/// Memory figures of an iteration.
pub struct Memory {
    pub weights: WeightMemory,
    pub peak: u64,
    pub reserved: u64,
    pub events: Vec<Event>,
}

impl Engine {
    /// `usual_spread` of the particles' images per optics group is empty in a run that goes on: all were checked.
    pub fn new(plan: &Plan, inputs: &Inputs, usual_spread: Vec<f64>) -> Self {
        Self {
            config: memory::config(plan, inputs),
            precision: plan.precision,
            arena: None,
            usual_spread: [usual_spread, Vec::new()],
            half_members: Vec::new(),
        }
    }

    /// Runs the step for every half.
    pub fn expect(&mut self, job: &Job<'_>, state: &State, grid: &Grid<'_>) -> Result<Vec<Outcome>> {
        self.half_members = (0..state.halves.len())
            .map(|half| {
                let wanted = if state.halves.len() > 1 { half as u8 + 1 } else { 0 };
                let of_half = |i: &u32| state.half_of[*i as usize] == wanted;
                (0..state.half_of.len() as u32).filter(of_half).collect()
            })
            .collect();
        let members = std::mem::take(&mut self.half_members);
        let outcomes =
            members.iter().enumerate().map(|(half, members)| self.expect_half(job, state, grid, half, members));
        let outcomes = outcomes.collect();
        self.half_members = members;
        outcomes
    }

    fn expect_half(
        &mut self,
        job: &Job<'_>,
        state: &State,
        grid: &Grid<'_>,
        half: usize,
        members: &[u32],
    ) -> Result<Outcome> {
        let plan = job.plan;
        let seeding = plan.classes > 1 && job.inputs.references.len() == 1;
        let only_class: Option<Vec<u32>> = match state.iteration {
            // Correlation improves one map, which is then copied; the next iteration deals out the particles.
            1 if seeding && plan.first_iteration_cc => Some(vec![0; members.len()]),
            i if seeding && i == 1 + u32::from(plan.first_iteration_cc) => {
                let class = |p: &u32| classes::seed_class(plan.seed, u64::from(*p), plan.classes as u32) - 1;
                Some(members.iter().map(class).collect())
            }
            _ => None,
        };
        let mut list = Vec::new();
        let length = |p: &u32| {
            grid.search.list(*p, state.assignments[*p as usize].euler, &mut list);
            list.len()
        };
        let longest_list = if grid.search.is_listed() { members.iter().map(length).max().unwrap_or(1) } else { 0 };
        let reconstruct_images = state.convergence.has_converged && job.inputs.has_reconstruct_images();
        if reconstruct_images && self.usual_spread[1].is_empty() {
            self.usual_spread[1] = spread::of_reconstruct_images(job)?;
        }
        // The task borrows them beside the engine.
        let usual_spread = self.usual_spread.clone();
        let task = Task {
            dataset: &job.inputs.dataset,
            particles: members,
            assignments: &state.assignments,
            model: &state.halves[half],
            orientations: grid.orientations,
            translations: grid.translations,
            longest_list,
            search: grid.search,
            options: &job.inputs.options,
            comparison: grid.comparison,
            current_size: state.sizes.current_size,
            coarse_size: state.sizes.coarse_size,
            reconstruct_images,
            usual_spread: [&usual_spread[0], &usual_spread[1]],
            only_class: only_class.as_deref(),
            iteration: state.iteration,
        };
        match self.precision {
            Precision::Single => self.expect_task::<f32>(job, &task),
            Precision::Double => self.expect_task::<f64>(job, &task),
        }
    }

    fn expect_task<T: crate::expectation::Scalar>(&mut self, job: &Job<'_>, task: &Task<'_>) -> Result<Outcome> {
        let geometry = Geometry::new(task.box_pixels(), task.options.padding, task.current_size);
        let is_last = task.current_size == task.box_pixels();
        let beside = Beside::new(job.plan, &geometry, job.inputs.dataset.particles.len(), is_last);
        let (config, layout) = memory::fit::<T>(task, job.plan, &self.config, &beside)?;
        let needed = layout.peak;
        // An arena of an earlier iteration may be too large beside what this one holds.
        let most = job.plan.memory_bytes.map_or(usize::MAX, |cap| cap as usize - beside.total());
        let arena = match &mut self.arena {
            Some(arena) if (needed..=most).contains(&arena.capacity()) => arena,
            place => {
                // The old region goes before the new one comes.
                *place = None;
                place.insert(Arena::reserve(needed)?)
            }
        };
        arena.run(|frame| products::expect::<T>(task, job.images, &config, frame))
    }

    /// Moves what the step found out into the state.
    pub fn take_assignments(&self, state: &mut State, outcomes: &[Outcome]) {
        for (members, outcome) in self.half_members.iter().zip(outcomes) {
            for (particle, assignment) in members.iter().zip(&outcome.assignments) {
                state.assignments[*particle as usize] = *assignment;
            }
        }
    }

    /// Memory figures of the step just done.
    pub fn memory(&self, outcomes: &[Outcome]) -> Memory {
        let scalar = match self.precision {
            Precision::Single => 4,
            Precision::Double => 8,
        };
        let most = outcomes.iter().map(|o| o.most_significant).max().unwrap_or(0);
        let coarse = outcomes.iter().map(|o| o.coarse_samples).max().unwrap_or(0);
        let weights = WeightMemory {
            blocks_bytes: weights::block_bytes(most, scalar) as u64,
            dense_bytes: weights::dense_bytes(coarse, scalar) as u64,
            csr_bytes: weights::csr_bytes(most, scalar) as u64,
        };
        let (peak, reserved, events) = match &self.arena {
            Some(arena) => (arena.layout().peak as u64, arena.capacity() as u64, arena.take_events()),
            None => (0, 0, Vec::new()),
        };
        Memory { weights, peak, reserved, events }
    }
}
