//! The refinement loops: refine3d and class3d.
//!
//! [`run`] reads the inputs, makes the state of iteration 0 or takes it from the newest checkpoint, and then, until
//! the end: sizes and sampling of the iteration, expectation ([`step`]), maximisation ([`maximise`]), decisions, files.

mod accuracy;
mod files;
mod grid;
mod images;
mod inputs;
mod maximise;
mod memory;
mod meter;
pub mod plan;
mod spread;
mod start;
mod step;
#[cfg(test)]
mod tests;

use std::time::Instant;

use crate::checkpoint;
use crate::checkpoint::Retention;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::Comparison;
use crate::maximisation::changes;
use crate::maximisation::convergence;
use crate::maximisation::resolution;
use crate::maximisation::sampling_update;
use crate::maximisation::sizes;
use crate::model::State;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::ProgressWriter;
use crate::sampling;

use files::Files;
use images::Images;
pub use inputs::Inputs;
use meter::Metered;
use step::Done;
use step::Engine;

/// Share of the posterior that both passes keep.
const ADAPTIVE_FRACTION: f64 = 0.999;

const SECONDS_PER_HOUR: f64 = 3600.0;

/// What every part of an iteration needs.
struct Job<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs,
    images: &'a Metered<'a>,
}

/// Does the work of a run folder from where it stands: from the beginning, or after its newest checkpoint.
///
/// # Errors
/// Whatever is wrong with the inputs, the plan or the file system; finished iterations stay on disk.
pub fn run(run_dir: &RunDir, plan: &Plan) -> Result<ExitCode> {
    let mut files = Files::open(run_dir, plan)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(plan.thread_count())
        .build()
        .map_err(|cause| Error::internal(format!("threads: {cause}")))?;
    pool.install(|| refine(run_dir, plan, &mut files))
}

fn refine(run_dir: &RunDir, plan: &Plan, files: &mut Files) -> Result<ExitCode> {
    let inputs = Inputs::load(plan)?;
    for sentence in inputs.not_applied(plan) {
        files.warn(&sentence)?;
    }
    let images = Images::new(&inputs.dataset, &inputs.headers);
    let metered = Metered::new(&images, inputs.dataset.particles.len(), ProgressWriter::open(&run_dir.progress())?);
    let mut usual_spread = Vec::new();
    let job = Job { plan, inputs: &inputs, images: &metered };
    let mut state = match checkpoint::load_latest(run_dir.root())? {
        Some(loaded) => {
            for warning in &loaded.warnings {
                files.warn(warning)?;
            }
            resumable(&loaded.checkpoint.origin, &inputs.origin, files)?;
            files.started(&inputs, Some(loaded.checkpoint.state.iteration))?;
            loaded.checkpoint.state
        }
        None => {
            files.started(&inputs, None)?;
            let start = start::start(plan, &inputs, &images)?;
            for warning in start.warnings {
                files.warn(&warning)?;
            }
            let orientations = grid::orientations(plan, &inputs, &start.state)?;
            files.iteration(&inputs, &start.state, &orientations, 0)?;
            usual_spread = start.usual_spread;
            start.state
        }
    };
    let mut engine = Engine::new(plan, &inputs, usual_spread);
    while !is_finished(plan, &state) {
        if run_dir.take_abort_request()? {
            files.finished(&state, true)?;
            return Ok(ExitCode::Checkpointed);
        }
        state = iteration(&job, &mut engine, state, files)?;
        let begin = Instant::now();
        let file = checkpoint::save(run_dir.root(), &state, &inputs.origin)?;
        files.checkpoint(&state, &file, begin.elapsed().as_secs_f64())?;
        let keep_last = u32::try_from(plan.keep_last).unwrap_or(u32::MAX);
        checkpoint::prune(run_dir.root(), &Retention { keep_last, keep_every: plan.keep_every })?;
        // Every start does one iteration at least, so that starting again and again comes to an end.
        let hours = files.elapsed().as_secs_f64() / SECONDS_PER_HOUR;
        if !is_finished(plan, &state) && plan.max_hours.is_some_and(|most| hours >= most) {
            files.finished(&state, true)?;
            return Ok(ExitCode::Checkpointed);
        }
    }
    files.finished(&state, false)?;
    Ok(ExitCode::Done)
}

/// Refuses changed inputs; tells about another numerical identity.
fn resumable(old: &checkpoint::Origin, new: &checkpoint::Origin, files: &mut Files) -> Result<()> {
    let changed = old.changed_inputs(&new.inputs);
    if !changed.is_empty() {
        return Err(Error::bad_data(
            "checkpoint",
            format!("the inputs are not those the run began with:\n  {}", changed.join("\n  ")),
            "Restore the inputs, or start a new run folder.",
        ));
    }
    for difference in old.identity.differences(&new.identity) {
        files.warn(&format!("{difference}: results may differ in the last bits"))?;
    }
    Ok(())
}

fn is_finished(plan: &Plan, state: &State) -> bool {
    state.convergence.has_converged || state.iteration >= plan.iterations
}

/// One iteration: from the state before it to the state after it.
fn iteration(job: &Job<'_>, engine: &mut Engine, before: State, files: &mut Files) -> Result<State> {
    let (plan, inputs) = (job.plan, job.inputs);
    let (box_pixels, pixel) = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    let mut state = before;
    state.iteration += 1;
    files.iteration_started(state.iteration)?;
    let auto = plan.kind == JobKind::Refine3d;
    let last = auto && convergence::check(&mut state.convergence);
    let correlation = plan.first_iteration_cc && state.iteration == 1;
    let certain = state.halves[0].average_max_probability;
    state.sizes.current_size =
        if last { box_pixels } else { sizes::next_current_size(&state.sizes, certain, box_pixels, pixel) };
    if plan.perturb > 0.0 {
        let s = &mut state.sampling;
        s.perturbation = sampling::next_perturbation(s.perturbation, s.perturbation_factor, plan.seed, state.iteration);
    }
    if plan.parity {
        state.sizes.coarse_size = coarse_size(plan, &state, box_pixels, pixel);
    }
    if !correlation && state.iteration > 1 {
        files.phase("accuracy", || accuracy::estimate(job, engine, &mut state))?;
    }
    if auto && state.iteration > 1 && !last {
        let (sampling, convergence) = (&mut state.sampling, &mut state.convergence);
        let order = plan.local_search_order;
        if sampling_update::update(sampling, convergence, order, pixel, plan.parity)
            == sampling_update::Outcome::Refined
        {
            make_directions_uniform(inputs, plan, &mut state)?;
        }
    }
    if !plan.parity {
        state.sizes.coarse_size = coarse_size(plan, &state, box_pixels, pixel);
    }
    let orientations = grid::orientations(plan, inputs, &state)?;
    let translations = grid::translations(plan, &state)?;
    let local = grid::local_prior(plan, inputs, &state, &orientations)?;
    let search = grid::search(plan, local.as_ref());
    let comparison = if correlation { Comparison::CrossCorrelation } else { Comparison::Likelihood };
    let grid = step::Grid { orientations: &orientations, translations: &translations, search, comparison };
    job.images.start(state.iteration, if last && inputs.has_reconstruct_images() { 2 } else { 1 })?;
    let used_size = state.sizes.current_size;
    let Done { old, finale, memory } = engine.iterate(job, files, &mut state, &grid, last)?;
    job.images.told()?;
    let (layout, counted) = engine.layouts();
    if let Some(difference) = layout.difference(counted) {
        files.warn(&format!("the memory plan was wrong, please report this: {difference}"))?;
    }
    let change = changes::measure(&old, &state.assignments, &inputs.group);
    changes::record(change, &state.sampling, &mut state.convergence, plan.parity);
    let shell = match plan.ini_high_angstrom {
        Some(resolution) if correlation => resolution::shell_of_initial_filter(resolution, box_pixels, pixel),
        _ => resolution::resolved_shell(state.halves[0].classes.iter().map(|c| c.ssnr.as_slice()), auto).shell,
    };
    resolution::record(shell, box_pixels, pixel, &mut state.sizes, &mut state.convergence);
    files.phase_files(|files| {
        files.iteration(inputs, &state, &orientations, used_size)?;
        match &finale {
            Some(finale) => files.finale(inputs, &state, finale, &orientations, used_size),
            None => Ok(()),
        }
    })?;
    files.iteration_finished(&state, used_size, memory)?;
    Ok(state)
}

fn coarse_size(plan: &Plan, state: &State, box_pixels: usize, pixel: f64) -> usize {
    sizes::coarse_size(&state.sampling, state.sizes.current_size, plan.diameter_angstrom, box_pixels, pixel)
}

/// After a refinement of the grid nothing is known about its directions.
fn make_directions_uniform(inputs: &Inputs, plan: &Plan, state: &mut State) -> Result<()> {
    let count = grid::orientations(plan, inputs, state)?.direction_count();
    for class in state.halves.iter_mut().flat_map(|half| &mut half.classes) {
        class.directions = vec![class.share / count as f64; count];
    }
    Ok(())
}
