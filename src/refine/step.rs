//! The two steps of an iteration, and their memory.

use std::sync::atomic::Ordering::SeqCst;

use rayon::prelude::*;

use crate::arena::Arena;
use crate::arena::Event;
use crate::arena::Frame;
use crate::arena::Kind;
use crate::arena::Layout;
use crate::dataset::Assignment;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::Comparison;
use crate::expectation::Outcome;
use crate::expectation::Scalar;
use crate::expectation::SumVoxel;
use crate::expectation::Task;
use crate::expectation::gpu::DeviceFrame;
use crate::expectation::products;
use crate::expectation::products::Work;
use crate::imaging::Geometry;
use crate::maximisation::classes;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::plan::progress::DeviceFigures;
use crate::plan::progress::WeightMemory;
use crate::weights;

use super::Job;
use super::account::Account;
use super::account::EXPECTATION;
use super::account::MAXIMISATION;
use super::attendant::Attendant;
use super::attendant::expect_half;
use super::grid;
use super::grid::Grid;
use super::inputs::Inputs;
use super::keeper::Keeper;
use super::maximise;
use super::maximise::Finale;
use super::memory;
use super::memory::Beside;
use super::memory::Fitting;
use super::on_device::Opened;
use super::ranks;
use super::ranks::Follower;
use super::ranks::Iterate;
use super::ranks::OnDevice;
use super::ranks::Share;
use super::ranks::Verdict;
use super::scribe::DoneHalf;
use super::settings::Settings;
use super::spread;

/// The engine and its arena.
pub struct Engine {
    settings: Settings,
    precision: Precision,
    arena: Option<Arena>,
    device: Option<Opened>,
    /// Usual spread of pixels per optics group, where it is known: of the particles' images, and of those for the final
    /// reconstruction.
    usual_spread: [Vec<f64>; 2],
    /// Layout of the present iteration as counted before it.
    counted: Layout,
}

/// Memory figures of an iteration.
pub struct Memory {
    pub weights: WeightMemory,
    pub peak: u64,
    pub reserved: u64,
    /// Of the whole process.
    pub planned: u64,
    /// Digest of the arena's layout.
    pub layout: String,
    /// Of a GPU.
    pub device: Option<DeviceFigures>,
    /// What happened in the arena: on the host, on the GPU.
    pub events: [Vec<Event>; 2],
    /// Batches of particles, of all ranks together.
    pub batches: usize,
}

/// What an iteration leaves beside the new state.
pub struct Done {
    /// Best poses before it.
    pub old: Vec<Assignment>,
    pub finale: Option<Finale>,
    pub memory: Memory,
}

/// The particles of a half.
struct Half {
    members: Vec<u32>,
    /// Iterations in which a particle sees one class only.
    only_class: Option<Vec<u32>>,
    longest_list: usize,
}

impl Engine {
    /// `usual_spread` of the particles' images per optics group is empty in a run that goes on: all were checked.
    /// `on`: the device that computes, where one does.
    ///
    /// # Errors
    /// The device cannot be used.
    pub fn new(plan: &Plan, inputs: &Inputs, usual_spread: Vec<f64>, on: Option<&OnDevice>) -> Result<Self> {
        let device = on.map(|on| Opened::new(plan, inputs, on)).transpose()?;
        Ok(Self {
            settings: memory::settings(plan, inputs, device.as_ref().map(|device| device.capability)),
            precision: plan.precision,
            arena: None,
            device,
            usual_spread: [usual_spread, Vec::new()],
            counted: Layout::default(),
        })
    }

    /// What there is to say about the device.
    pub fn notes(&self) -> &[String] {
        self.device.as_ref().map_or(&[], |device| &device.notes)
    }

    /// Runs both steps for all halves, in one run of the arena; `None` when the run was stopped on the way.
    pub fn iterate(
        &mut self,
        job: &Job<'_>,
        account: &mut Account<'_>,
        keeper: &mut Keeper<'_>,
        state: &mut State,
        grid: &Grid<'_>,
        last: bool,
    ) -> Result<Option<Done>> {
        match self.precision {
            Precision::Single => self.iterate_in::<f32>(job, account, keeper, state, grid, last),
            Precision::Double => self.iterate_in::<f64>(job, account, keeper, state, grid, last),
        }
    }

    fn iterate_in<T: Scalar>(
        &mut self,
        job: &Job<'_>,
        account: &mut Account<'_>,
        keeper: &mut Keeper<'_>,
        state: &mut State,
        grid: &Grid<'_>,
        last: bool,
    ) -> Result<Option<Done>> {
        let share = keeper.share();
        let halves = account.phase("lists", || Ok(halves(job, state, grid)))?;
        let looks = self.look(job, last)?;
        let Prepared { step, settings, planned, arena, mut device } =
            self.prepare::<T>(job, state, grid, &halves, &looks, share)?;
        let news = device.as_deref_mut().map(|device| std::mem::take(&mut device.news)).unwrap_or_default();
        news.iter().try_for_each(|text| account.warn(text))?;
        let counts = block_counts(job, state, grid, &halves, &looks, settings.block_particles());
        let iterate = Iterate { last, usual_spread: looks.usual_spread.clone(), earlier: Vec::new() };
        keeper.begin(state, &counts, iterate)?;
        let both = arena.run(|run| {
            run.child(Kind::Iteration, |frame| -> Result<_> {
                let tasks = tasks(job, state, grid, &halves, &looks);
                let expected = account.phase(EXPECTATION, || {
                    let mut done = expect::<T>(job, keeper, &tasks, share, &settings, frame, device.as_deref_mut())?;
                    let goes_on = keeper.close(done.as_deref_mut())?;
                    let Some(mut done) = done.filter(|_| goes_on) else { return Ok(None) };
                    done.sort_by_key(|done| done.half);
                    ranks::merge(&share, &mut done, &tasks, settings.block_particles())?;
                    Ok(Some(finish(done, &tasks, share)))
                })?;
                account.waited(keeper.take_blocked(), Some(EXPECTATION));
                let Some((outcomes, mut volumes)) = expected else { return Ok(None) };
                let mut work = Work::default();
                outcomes.iter().for_each(|outcome| work += outcome.work);
                let busy = account.busy(&work);
                account.divide_expectation(&work);
                let old = state.assignments.clone();
                take_assignments(state, &halves, &outcomes);
                account.set_aside(job, &outcomes)?;
                keeper.making_maps(last);
                let make = || maximise::update(job, state, &step, &share, &outcomes, &mut volumes, frame);
                let finale = account.phase(MAXIMISATION, make)?;
                Ok(Some((old, outcomes, finale, busy)))
            })
        })?;
        let Some((old, outcomes, finale, busy)) = both else { return Ok(None) };
        let layout = arena.layout();
        let batches = counts.iter().flatten().map(|blocks| blocks.div_ceil(settings.blocks_per_batch())).sum();
        let memory = Memory {
            weights: weight_memory::<T>(&outcomes),
            peak: layout.peak as u64,
            reserved: arena.capacity() as u64,
            planned: planned as u64,
            layout: layout.digest(),
            device: device.as_ref().map(|device| DeviceFigures { busy, ..device.figures() }),
            events: [arena.take_events(), device.as_ref().map(|d| d.take_events()).unwrap_or_default()],
            batches,
        };
        Ok(Some(Done { old, finale, memory }))
    }

    /// Does this rank's share of an iteration that rank 0 ordered.
    pub fn assist(
        &mut self,
        job: &Job<'_>,
        follower: &mut Follower,
        state: State,
        last: bool,
        usual_spread: [Vec<f64>; 2],
    ) -> Result<()> {
        match self.precision {
            Precision::Single => self.assist_in::<f32>(job, follower, state, last, usual_spread),
            Precision::Double => self.assist_in::<f64>(job, follower, state, last, usual_spread),
        }
    }

    fn assist_in<T: Scalar>(
        &mut self,
        job: &Job<'_>,
        follower: &mut Follower,
        mut state: State,
        last: bool,
        usual_spread: [Vec<f64>; 2],
    ) -> Result<()> {
        let (plan, share) = (job.plan, follower.share);
        let orientations = grid::orientations(plan, job.inputs, &state)?;
        let translations = grid::translations(plan, &state)?;
        let local = grid::local_prior(plan, job.inputs, &state, &orientations)?;
        let search = grid::search(plan, local.as_ref());
        let comparison = grid::comparison(plan, state.iteration);
        let grid = Grid { orientations: &orientations, translations: &translations, search, comparison };
        let halves = halves(job, &state, &grid);
        let looks = Looks { last, reconstruct_images: last && job.inputs.has_reconstruct_images(), usual_spread };
        let Prepared { step, settings, arena, device, .. } =
            self.prepare::<T>(job, &state, &grid, &halves, &looks, share)?;
        arena.run(|run| {
            run.child(Kind::Iteration, |frame| -> Result<()> {
                let tasks = tasks(job, &state, &grid, &halves, &looks);
                let mut done = expect::<T>(job, follower, &tasks, share, &settings, frame, device)?.unwrap_or_default();
                if follower.close(&mut done)? == Verdict::Stopped {
                    return Ok(());
                }
                done.sort_by_key(|done| done.half);
                ranks::merge(&share, &mut done, &tasks, settings.block_particles())?;
                if !share.makes_maps() {
                    return Ok(());
                }
                let (outcomes, mut volumes) = finish(done, &tasks, share);
                let make = || maximise::update(job, &mut state, &step, &share, &outcomes, &mut volumes, frame);
                follower.making_maps(last, make).map(|_| ())
            })
        })
    }

    /// Which images are looked at in an iteration.
    fn look(&mut self, job: &Job<'_>, last: bool) -> Result<Looks> {
        let reconstruct_images = last && job.inputs.has_reconstruct_images();
        if reconstruct_images && self.usual_spread[1].is_empty() {
            self.usual_spread[1] = spread::of_reconstruct_images(job)?;
        }
        Ok(Looks { last, reconstruct_images, usual_spread: self.usual_spread.clone() })
    }

    /// Counts the memory of an iteration and reserves it.
    fn prepare<T: Scalar>(
        &mut self,
        job: &Job<'_>,
        state: &State,
        grid: &Grid<'_>,
        halves: &[Half],
        looks: &Looks,
        share: Share,
    ) -> Result<Prepared<'_>> {
        let plan = job.plan;
        let geometry = Geometry::new(job.inputs.box_pixels(), job.inputs.options.padding, state.sizes.current_size);
        let correlation = grid.comparison == Comparison::CrossCorrelation;
        let step = maximise::Step::new(plan, job.inputs, geometry, looks.last, correlation);
        let beside = Beside::new(plan, job.inputs, &step, grid.orientations.count());
        let tasks = tasks(job, state, grid, halves, looks);
        let in_order: Vec<Task<'_>> = share.order().into_iter().map(|half| tasks[half]).collect();
        let most = self.device.as_ref().map(|device| device.most);
        let Fitting { settings, host: counted, device, staging } =
            memory::fit::<T>(&in_order, &step, plan, &self.settings, most, &beside)?;
        let (planned, needed) = (counted.peak + beside.total() + staging, counted.peak);
        self.counted = counted;
        let most = plan.memory_bytes.map_or(usize::MAX, |cap| cap as usize - beside.total() - staging);
        // What is too large goes before anything new comes.
        if let Some(opened) = &mut self.device {
            opened.unpin(staging);
        }
        reserve(&mut self.arena, needed, most)?;
        if let Some(opened) = &mut self.device {
            let resident_bytes = opened.reserve(device.peak, staging)?;
            opened.expect(settings.device_layout::<T>(&in_order, resident_bytes)?);
        }
        let arena = self.arena.as_mut().ok_or_else(|| Error::internal("an arena was reserved"))?;
        Ok(Prepared { step, settings, planned, arena, device: self.device.as_mut() })
    }

    /// Lends `bytes` of the arena for what is done between the steps.
    pub fn lend<R>(&mut self, bytes: usize, work: impl for<'f> FnOnce(&mut Frame<'f>) -> Result<R>) -> Result<R> {
        reserve(&mut self.arena, bytes, usize::MAX)?.run(work)
    }

    /// Where everything lay in the latest run of the arena, and where it should have.
    pub fn layouts(&self) -> (Layout, &Layout) {
        (self.arena.as_ref().map(Arena::layout).unwrap_or_default(), &self.counted)
    }
}

/// The arena, with room for at least `needed` bytes. One of an earlier iteration may be too large beside what
/// this one holds.
fn reserve(arena: &mut Option<Arena>, needed: usize, most: usize) -> Result<&mut Arena> {
    if arena.as_ref().is_some_and(|arena| !(needed..=most).contains(&arena.capacity())) {
        // The old region goes before the new one comes.
        *arena = None;
    }
    match arena {
        Some(arena) => Ok(arena),
        place => Ok(place.insert(Arena::reserve(needed)?)),
    }
}

fn halves(job: &Job<'_>, state: &State, grid: &Grid<'_>) -> Vec<Half> {
    let plan = job.plan;
    let seeding = plan.classes > 1 && job.inputs.references.len() == 1;
    let half = |half: usize| {
        let wanted = if state.halves.len() > 1 { half as u8 + 1 } else { 0 };
        let of_half = |i: &u32| state.half_of[*i as usize] == wanted;
        let members: Vec<u32> = (0..state.half_of.len() as u32).filter(of_half).collect();
        let only_class: Option<Vec<u32>> = match state.iteration {
            // Correlation improves one map, which is then copied; the next iteration deals out the particles.
            1 if seeding && plan.first_iteration_cc => Some(vec![0; members.len()]),
            i if seeding && i == 1 + u32::from(plan.first_iteration_cc) => {
                let class = |p: &u32| classes::seed_class(plan.seed, u64::from(*p), plan.classes as u32) - 1;
                Some(members.iter().map(class).collect())
            }
            _ => None,
        };
        let length = |list: &mut Vec<(u32, f64)>, p: &u32| {
            grid.search.list(*p, state.assignments[*p as usize].euler, list);
            list.len()
        };
        let lengths = || members.par_iter().map_init(Vec::new, length).max().unwrap_or(1);
        let longest_list = if grid.search.is_listed() { lengths() } else { 0 };
        Half { members, only_class, longest_list }
    };
    (0..state.halves.len()).map(half).collect()
}

/// Which images are looked at, and how closely.
struct Looks {
    /// The final iteration of a refinement.
    last: bool,
    reconstruct_images: bool,
    usual_spread: [Vec<f64>; 2],
}

/// An iteration whose memory is reserved.
struct Prepared<'e> {
    step: maximise::Step,
    settings: Settings,
    /// Bytes of the whole process.
    planned: usize,
    arena: &'e mut Arena,
    device: Option<&'e mut Opened>,
}

/// What each half asks of the expectation step.
fn tasks<'a>(job: &Job<'a>, state: &'a State, grid: &Grid<'a>, halves: &'a [Half], looks: &'a Looks) -> Vec<Task<'a>> {
    let task = |(model, half): (_, &'a Half)| Task {
        dataset: &job.inputs.dataset,
        particles: &half.members,
        assignments: &state.assignments,
        model,
        orientations: grid.orientations,
        translations: grid.translations,
        longest_list: half.longest_list,
        search: grid.search,
        options: &job.inputs.options,
        comparison: grid.comparison,
        current_size: state.sizes.current_size,
        coarse_size: state.sizes.coarse_size,
        reconstruct_images: looks.reconstruct_images,
        usual_spread: [&looks.usual_spread[0], &looks.usual_spread[1]],
        only_class: half.only_class.as_deref(),
        iteration: state.iteration,
    };
    state.halves.iter().zip(halves).map(task).collect()
}

/// What was found out about each half, and its volumes, one a class.
type Expected<'f> = (Vec<Outcome>, Vec<Vec<&'f mut [SumVoxel]>>);

/// The expectation step of one half after the other, from where earlier processes came to. The sums of all stay in
/// `frame`. `None` when it was stopped within one.
fn expect<'f, T: Scalar>(
    job: &Job<'_>,
    attendant: &mut dyn Attendant,
    tasks: &[Task<'_>],
    share: Share,
    settings: &Settings,
    frame: &mut Frame<'f>,
    device: Option<&mut Opened>,
) -> Result<Option<Vec<DoneHalf<'f>>>> {
    match device {
        None => expect_halves::<T>(job, attendant, tasks, share, settings, frame, None),
        Some(opened) => {
            let done = opened.run(|device| {
                let DeviceFrame { link, frame: device_frame, staging, resident } = device;
                device_frame.child(Kind::Iteration, |device_frame| {
                    let mut device = DeviceFrame { link, frame: device_frame, staging, resident };
                    expect_halves::<T>(job, attendant, tasks, share, settings, frame, Some(&mut device))
                })
            })?;
            // One that was stopped on the way did not use all of it.
            if done.as_ref().is_some_and(|done| done.len() == tasks.len()) {
                opened.check()?;
            }
            Ok(done)
        }
    }
}

fn expect_halves<'f, T: Scalar>(
    job: &Job<'_>,
    attendant: &mut dyn Attendant,
    tasks: &[Task<'_>],
    share: Share,
    settings: &Settings,
    frame: &mut Frame<'f>,
    mut device: Option<&mut DeviceFrame<'_, '_>>,
) -> Result<Option<Vec<DoneHalf<'f>>>> {
    let mut done = Vec::new();
    let stop = attendant.stop();
    for half in share.order() {
        // Of several ranks one that has to stop prepares nothing more: they all stop when this step is closed, and keep
        // what is done then.
        if share.is_shared() && stop.flag().load(SeqCst) {
            break;
        }
        let device = device.as_deref_mut().map(DeviceFrame::again);
        if expect_half::<T>(job, attendant, half, &tasks[half], settings, frame, device, &mut done)?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(done))
}

/// The integers become numbers, in the volumes that this rank makes maps of.
fn finish<'f>(done: Vec<DoneHalf<'f>>, tasks: &[Task<'_>], share: Share) -> Expected<'f> {
    let finish = |(DoneHalf { half, step, mut sums }, task): (DoneHalf<'f>, &Task<'_>)| {
        (step.finish_some(task, &mut sums, &|class| share.is_mine(half, class)), sums)
    };
    done.into_iter().zip(tasks).map(finish).unzip()
}

/// Blocks of every half set and optics group.
fn block_counts(
    job: &Job<'_>,
    state: &State,
    grid: &Grid<'_>,
    halves: &[Half],
    looks: &Looks,
    block_particles: usize,
) -> Vec<Vec<usize>> {
    let tasks = tasks(job, state, grid, halves, looks);
    tasks.iter().map(|task| products::block_counts(task, block_particles)).collect()
}

/// Moves what the step found out into the state.
fn take_assignments(state: &mut State, halves: &[Half], outcomes: &[Outcome]) {
    for (half, outcome) in halves.iter().zip(outcomes) {
        for (particle, assignment) in half.members.iter().zip(&outcome.assignments) {
            state.assignments[*particle as usize] = *assignment;
        }
    }
}

/// The largest weight array of any particle, and what other forms of it would take.
fn weight_memory<T: Scalar>(outcomes: &[Outcome]) -> WeightMemory {
    let scalar = size_of::<T>();
    let most = outcomes.iter().map(|o| o.most_significant).max().unwrap_or(0);
    let coarse = outcomes.iter().map(|o| o.coarse_samples).max().unwrap_or(0);
    WeightMemory {
        blocks_bytes: weights::block_bytes(most, scalar) as u64,
        dense_bytes: weights::dense_bytes(coarse, scalar) as u64,
        csr_bytes: weights::csr_bytes(most, scalar) as u64,
    }
}
