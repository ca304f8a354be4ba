//! The refinement loops: refine3d and class3d.
//!
//! [`run`] reads the inputs, makes the state of iteration 0 or takes it from the newest checkpoint, and then, until
//! the end: sizes and sampling of the iteration, expectation ([`step`]), maximisation ([`maximise`]), decisions, files.

mod account;
mod accuracy;
mod attendant;
mod clock;
mod crew;
mod ending;
pub mod export;
mod files;
mod grid;
mod images;
mod inputs;
mod keeper;
mod maximise;
mod memory;
mod on_device;
pub mod plan;
mod ranks;
mod resume;
pub mod rows;
mod saver;
mod scribe;
mod settings;
mod spread;
mod start;
mod step;
mod stop;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::checkpoint;
use crate::comm::Team;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::maximisation::changes;
use crate::maximisation::convergence;
use crate::maximisation::resolution;
use crate::maximisation::sampling_update;
use crate::maximisation::sizes;
use crate::model::State;
use crate::plan::InstructionSet;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress::RankPlace;
use crate::sampling;

use account::Account;
use account::FILES;
use crew::Crew;
pub use crew::last_words;
use ending::Ending;
use files::Files;
use images::Images;
pub use inputs::Inputs;
use keeper::Keeper;
use ranks::Chosen;
use ranks::Settled;
use ranks::Share;
use ranks::follow;
use ranks::settle;
pub use resume::Resume;
use step::Done;
use step::Engine;
use stop::Stop;
pub use stop::hold_signals;

/// Share of the posterior that both passes keep.
const ADAPTIVE_FRACTION: f64 = 0.999;

/// What every part of an iteration needs.
struct Job<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs,
    images: &'a Images<'a>,
    files: &'a Files<'a>,
}

/// Does the work of a run folder from where it stands: from the beginning, or after its newest checkpoint.
///
/// # Errors
/// Whatever is wrong with the inputs, the plan or the file system; finished iterations stay on disk.
pub fn run(run_dir: &RunDir, plan: &Plan, resume: Resume, team: &Team) -> Result<ExitCode> {
    let stop = Stop::watch(run_dir, plan, team.rank())?;
    let Settled { plan, isa, on, leader, places, table } = settle(team, plan, resume.exact)?;
    run_dir.tell_log(team.rank(), &format!("backend {}", on.words()))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(plan.thread_count())
        .build()
        .map_err(|cause| Error::internal(format!("threads: {cause}")))?;
    if team.rank() > 0 {
        return pool.install(|| follow(run_dir, &plan, isa, &on, team, &leader, &stop));
    }
    let mut account = Account::open(run_dir, &plan, &on)?;
    let crew = Crew::gather(run_dir, &plan, *team, places)?;
    let code = pool.install(|| refine(run_dir, &plan, (isa, &on), resume, &mut account, &stop, crew, table))?;
    // The next start is to go on.
    run_dir.take_abort_request()?;
    Ok(code)
}

fn refine(
    run_dir: &RunDir,
    plan: &Plan,
    (isa, on): (InstructionSet, &Chosen),
    resume: Resume,
    account: &mut Account<'_>,
    stop: &Arc<Stop>,
    crew: Option<Crew>,
    places: Vec<RankPlace>,
) -> Result<ExitCode> {
    checkpoint::sweep(run_dir.root())?;
    let inputs = Inputs::load_for(plan, isa, &on.identity)?;
    for warning in &on.warnings {
        account.warn(warning)?;
    }
    for sentence in inputs.not_applied(plan) {
        account.warn(&sentence)?;
    }
    let (images, warning) = Images::of_run(&inputs)?;
    if let Some(warning) = warning {
        account.warn(&warning)?;
    }
    let files = Files::new(run_dir, plan);
    let job = Job { plan, inputs: &inputs, images: &images, files: &files };
    let team = crew.as_ref().map_or(Team::alone(), |crew| crew.team);
    let share = Share::new(team, halves(plan), plan.classes);
    let mut keeper = Keeper::new(run_dir, plan, &inputs.origin, Arc::clone(stop), share, crew)?;
    let (mut state, usual_spread) = begin(run_dir, &job, resume, account, &mut keeper)?;
    if !team.is_alone() {
        account.ranks(places)?;
    }
    let mut engine = Engine::new(plan, &inputs, usual_spread, on.device.as_ref())?;
    engine.notes().iter().try_for_each(|note| run_dir.tell_log(team.rank(), note))?;
    let mut ending = Ending::after(&state);
    while !is_finished(plan, &state) {
        let next = state.iteration + 1;
        if stop.flag().load(Relaxed) {
            keeper.tell_stop_before(next)?;
            return stopped(&mut keeper, account, ending);
        }
        match iteration(&job, &mut engine, state, account, &mut keeper)? {
            Some(after) => state = after,
            None => return stopped(&mut keeper, account, ending),
        }
        keeper.save(&state)?;
        ending = Ending::after(&state);
    }
    keeper.settle()?;
    account.finished(ending, false)?;
    keeper.dismiss(ExitCode::Done)?;
    Ok(ExitCode::Done)
}

/// Half sets of a job: two with a gold standard, else the whole set.
fn halves(plan: &Plan) -> usize {
    if plan.kind == JobKind::Refine3d { 2 } else { 1 }
}

/// The run ends before its end.
fn stopped(keeper: &mut Keeper<'_>, account: &mut Account<'_>, ending: Ending) -> Result<ExitCode> {
    keeper.stopped()?;
    account.finished(ending, true)?;
    keeper.dismiss(ExitCode::Checkpointed)?;
    Ok(ExitCode::Checkpointed)
}

/// The state from which the run goes on or begins, and the usual spread of the pixels while not all images were seen.
fn begin(
    run_dir: &RunDir,
    job: &Job<'_>,
    resume: Resume,
    account: &mut Account<'_>,
    keeper: &mut Keeper<'_>,
) -> Result<(State, Vec<f64>)> {
    let (plan, inputs) = (job.plan, job.inputs);
    let latest = match resume.force {
        true => checkpoint::load_latest_of_ours(run_dir.root())?,
        false => checkpoint::load_latest(run_dir.root())?,
    };
    if let Some(loaded) = latest {
        for warning in &loaded.warnings {
            account.warn(warning)?;
        }
        let place = loaded.path.display().to_string();
        for warning in resume::check(&place, &loaded.checkpoint, plan, inputs, resume)? {
            account.warn(&warning)?;
        }
        let state = loaded.checkpoint.state;
        let done = keeper.goes_on_from(state.iteration, &checkpoint::recorded_digest(&loaded.path)?)?;
        account.started(inputs, Some((state.iteration, done)))?;
        let usual_spread = match state.iteration {
            0 => spread::of_particles(job)?,
            _ => Vec::new(),
        };
        return Ok((state, usual_spread));
    }
    account.started(inputs, None)?;
    let start = start::start(plan, inputs, job.images)?;
    for warning in start.warnings {
        account.warn(&warning)?;
    }
    let orientations = grid::orientations(plan, inputs, &start.state)?;
    job.files.iteration(inputs, &start.state, &orientations, 0)?;
    keeper.save(&start.state)?;
    Ok((start.state, start.usual_spread))
}

fn is_finished(plan: &Plan, state: &State) -> bool {
    state.convergence.has_converged || state.iteration >= plan.iterations
}

/// One iteration: from the state before it to the state after it; `None` when it was stopped.
fn iteration(
    job: &Job<'_>,
    engine: &mut Engine,
    before: State,
    account: &mut Account<'_>,
    keeper: &mut Keeper<'_>,
) -> Result<Option<State>> {
    let (plan, inputs) = (job.plan, job.inputs);
    let (box_pixels, pixel) = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    let mut state = before;
    state.iteration += 1;
    account.iteration_started(state.iteration)?;
    account.waited(keeper.take_blocked(), None);
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
        account.phase("accuracy", || accuracy::estimate(job, engine, &mut state))?;
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
    let comparison = grid::comparison(plan, state.iteration);
    let grid = grid::Grid { orientations: &orientations, translations: &translations, search, comparison };
    let used_size = state.sizes.current_size;
    let Some(Done { old, finale, memory }) = engine.iterate(job, account, keeper, &mut state, &grid, last)? else {
        return Ok(None);
    };
    let (layout, counted) = engine.layouts();
    if let Some(difference) = layout.difference(counted) {
        account.warn(&format!("the memory plan was wrong, please report this: {difference}"))?;
    }
    let change = changes::measure(&old, &state.assignments, &inputs.group);
    changes::record(change, &state.sampling, &mut state.convergence, plan.parity);
    let shell = match plan.ini_high_angstrom {
        Some(resolution) if correlation => resolution::shell_of_initial_filter(resolution, box_pixels, pixel),
        _ => resolution::resolved_shell(state.halves[0].classes.iter().map(|c| c.ssnr.as_slice()), auto).shell,
    };
    resolution::record(shell, box_pixels, pixel, &mut state.sizes, &mut state.convergence);
    account.phase(FILES, || {
        job.files.iteration(inputs, &state, &orientations, used_size)?;
        match &finale {
            Some(finale) => job.files.finale(inputs, &state, finale, &orientations, used_size),
            None => Ok(()),
        }
    })?;
    keeper.rest_took(account.rest());
    account.waited(keeper.take_blocked(), None);
    account.iteration_finished(&state, used_size, memory)?;
    Ok(Some(state))
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
