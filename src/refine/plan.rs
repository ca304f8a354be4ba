//! What a job will need, from the headers of its inputs: no image is read.

use serde::Serialize;

use crate::arena::Kind;
use crate::arena::Layout;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::Comparison;
use crate::expectation::Scalar;
use crate::expectation::Task;
use crate::maximisation::sampling_update;
use crate::maximisation::sizes;
use crate::model::State;
use crate::plan::Backend;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::plan::format_bytes;
use crate::product::Isa;
use crate::rotation::Euler;
use crate::rotation::healpix;
use crate::sampling::LocalPrior;
use crate::sampling::Search;

use super::grid;
use super::inputs::Inputs;
use super::maximise;
use super::memory;
use super::memory::Beside;
use super::memory::Fitting;
use super::start;

/// Name of the first iteration.
const FIRST: &str = "first";
/// Multiplications and additions that a thread with vectors of 512 bits does in a second, in single precision, all work
/// around them included: in a coarse search everywhere, in a local one, and in the fine pass (docs/benchmarks.md).
const COARSE_RATE: f64 = 3e10;
const LOCAL_RATE: f64 = 6e9;
const FINE_RATE: f64 = 1e10;
/// Coarse samples of a particle that the fine pass looks at, typically.
const TYPICAL_SIGNIFICANT: f64 = 60.0;
/// Products of the fine pass: comparison, sums of data, sums of weights.
const FINE_PRODUCTS: f64 = 3.0;
/// Iterations of a refinement until convergence, typically.
const TYPICAL_ITERATIONS: u32 = 18;
/// Widest range of translations in a refined sampling, in steps.
const WIDEST_RANGE_STEPS: f64 = 4.0;
/// Centres at which the lengths of local lists are tried, along each angle.
const CENTRES: usize = 8;
/// Local lists may be so much longer elsewhere.
const LONGER_ELSEWHERE: f64 = 1.1;

/// What one iteration needs.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub current_size: usize,
    pub coarse_size: usize,
    pub healpix_order: u32,
    /// Coarse poses of a particle over all classes, and coarse translations.
    pub poses: usize,
    pub translations: usize,
    pub local: bool,
    /// Bytes of the arena, and beside it.
    pub arena: usize,
    pub beside: Beside,
    /// Page-locked memory, where images wait for their way to a GPU.
    pub staging: usize,
    pub total: usize,
    /// On a GPU.
    pub device: Option<DeviceMemory>,
    pub seconds: f64,
    /// Every allocation of the arena.
    pub allocations: Vec<Allocation>,
    /// Blocks of a batch after `--memory`.
    pub blocks_per_batch: usize,
}

/// Compute capability whose forms of the coarse search are counted where nobody knows the GPU.
const USUAL_CAPABILITY: (u32, u32) = (8, 0);

/// What one iteration needs on a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceMemory {
    /// Bytes.
    pub peak: usize,
    pub allocations: Vec<Allocation>,
}

/// All allocations of one name in the arena.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allocation {
    pub frame: &'static str,
    pub name: &'static str,
    /// Most that they hold together.
    pub bytes: usize,
}

/// What a job needs.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    pub particles: usize,
    pub box_pixels: usize,
    pub threads: usize,
    pub steps: Vec<Step>,
    /// Bytes of the largest step.
    pub peak: usize,
    /// The same on a GPU, and how many may be taken there, where it is known.
    pub device_peak: Option<usize>,
    pub gpu_memory: Option<u64>,
    /// Iterations assumed, and seconds of all of them: a rough guess, from a typical machine's throughput.
    pub iterations: u32,
    pub seconds: f64,
}

/// Counts memory and guesses time of a job.
///
/// # Errors
/// Those of reading particles, references and mask; `Memory` when `memory_bytes` cannot be kept.
pub fn plan(plan: &Plan) -> Result<Estimate> {
    let inputs = Inputs::load(plan)?;
    // The form of the coarse search that a device has changes nothing of note in its memory.
    let on_device = (plan.backend == Backend::Cuda).then_some((USUAL_CAPABILITY, plan.gpu_memory_bytes));
    let steps = steps(plan, &inputs, on_device)?;
    let iterations = match plan.kind {
        JobKind::Refine3d => plan.iterations.min(TYPICAL_ITERATIONS),
        JobKind::Class3d => plan.iterations,
    };
    // Half of the iterations are as cheap as the first; the window grows in the others.
    let mean = steps.iter().map(|s| s.seconds).sum::<f64>() / steps.len() as f64;
    let seconds = f64::from(iterations) * 0.5 * (steps[0].seconds + mean);
    let peak = steps.iter().map(|s| s.total).max().unwrap_or(0);
    let particles = inputs.dataset.particles.len();
    let device_peak = steps.iter().filter_map(|s| Some(s.device.as_ref()?.peak)).max();
    Ok(Estimate {
        particles,
        box_pixels: inputs.box_pixels(),
        threads: plan.thread_count(),
        peak,
        device_peak,
        gpu_memory: plan.gpu_memory_bytes,
        steps,
        iterations,
        seconds,
    })
}

/// Bytes of the largest iteration on a device of that compute capability which may take so many, images that stay there
/// not counted; as many as it may take where that is too few.
///
/// # Errors
/// Those of the inputs.
pub fn largest_on_device(plan: &Plan, inputs: &Inputs, capability: (u32, u32), most: u64) -> Result<usize> {
    match steps(plan, inputs, Some((capability, Some(most)))) {
        Ok(steps) => Ok(steps.iter().filter_map(|step| Some(step.device.as_ref()?.peak)).max().unwrap_or(0)),
        // The run may well end before it comes to that, and says so where it does not.
        Err(error) if error.code == ExitCode::Memory => Ok(most as usize),
        Err(error) => Err(error),
    }
}

/// A device's compute capability, and the bytes that may be taken there.
type OnDevice = ((u32, u32), Option<u64>);

/// The iterations that need most.
fn steps(plan: &Plan, inputs: &Inputs, on_device: Option<OnDevice>) -> Result<Vec<Step>> {
    // The layout does not depend on the noise.
    let shells = inputs.box_pixels() / 2 + 1;
    let noise = vec![vec![1.0; shells]; inputs.dataset.optics.len()];
    let mut state = start::with_noise(plan, inputs, &noise)?;
    let step = |state: &mut State, name, last| step(plan, inputs, on_device, state, name, last);
    let (box_pixels, pixel) = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    state.iteration = 1;
    state.sizes.current_size = sizes::next_current_size(&state.sizes, 0.0, box_pixels, pixel);
    let mut steps = vec![step(&mut state, FIRST, false)?];
    state.sizes.current_size = box_pixels;
    if plan.kind == JobKind::Refine3d {
        state.sampling.offset_range_angstrom =
            state.sampling.offset_range_angstrom.max(WIDEST_RANGE_STEPS * state.sampling.offset_step_angstrom);
        if plan.healpix_order < plan.local_search_order {
            set_order(plan, &mut state, plan.local_search_order - 1);
            steps.push(step(&mut state, "finest global", false)?);
        }
        set_order(plan, &mut state, finest_order(plan, pixel));
        state.sampling.prior = sampling_update::local_prior(&state.sampling);
        steps.push(step(&mut state, "final", true)?);
    } else {
        steps.push(step(&mut state, "largest", false)?);
    }
    Ok(steps)
}

impl Estimate {
    /// Refuses what a GPU does not hold.
    ///
    /// # Errors
    /// `Memory`, with the numbers.
    pub fn fits_gpu(&self) -> Result<()> {
        let Some((peak, most)) = self.device_peak.zip(self.gpu_memory).filter(|(peak, most)| *peak as u64 > *most)
        else {
            return Ok(());
        };
        let largest = self.steps.iter().find(|step| step.device.as_ref().is_some_and(|device| device.peak == peak));
        Err(Error::new(
            ExitCode::Memory,
            format!("{} iteration", largest.map_or("largest", |step| step.name)),
            format!("needs {} on the GPU, {} are there", format_bytes(peak as u64), format_bytes(most)),
            "Raise --gpu-memory if the GPU has more, use a larger one, or compute on CPUs: --backend cpu.",
        ))
    }
}

fn set_order(plan: &Plan, state: &mut State, order: u32) {
    let order = order.max(plan.healpix_order);
    state.sampling.healpix_order = order;
    state.sampling.psi_step_degrees = healpix::angular_step_degrees(order);
}

/// The order of a local search whose fine step moves the particle's edge by no more than a pixel.
fn finest_order(plan: &Plan, pixel: f64) -> u32 {
    let degrees = (2.0 * pixel / plan.diameter_angstrom).to_degrees();
    let last = healpix::MAXIMUM_ORDER - plan.oversampling.min(healpix::MAXIMUM_ORDER);
    let least = plan.local_search_order.max(plan.healpix_order).min(last);
    (least..last).find(|o| healpix::angular_step_degrees(o + plan.oversampling) <= degrees).unwrap_or(last)
}

fn step(
    plan: &Plan,
    inputs: &Inputs,
    on_device: Option<OnDevice>,
    state: &mut State,
    name: &'static str,
    last: bool,
) -> Result<Step> {
    let (box_pixels, pixel) = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    state.sizes.coarse_size =
        sizes::coarse_size(&state.sampling, state.sizes.current_size, plan.diameter_angstrom, box_pixels, pixel);
    let orientations = grid::orientations(plan, inputs, state)?;
    let translations = grid::translations(plan, state)?;
    let local = grid::local_prior(plan, inputs, state, &orientations)?;
    let search = grid::search(plan, local.as_ref());
    let longest_list = match &search {
        Search::Everywhere => 0,
        Search::Near(prior) => longest_list(prior, orientations.count()),
        Search::OwnPose => 1,
    };
    for half in &mut state.halves {
        for class in &mut half.classes {
            class.directions =
                vec![class.share / orientations.direction_count() as f64; orientations.direction_count()];
        }
    }
    let members: Vec<Vec<u32>> = (0..state.halves.len())
        .map(|half| {
            let wanted = if state.halves.len() > 1 { half as u8 + 1 } else { 0 };
            (0..state.half_of.len() as u32).filter(|i| state.half_of[*i as usize] == wanted).collect()
        })
        .collect();
    let task = |half: usize| Task {
        dataset: &inputs.dataset,
        particles: &members[half],
        assignments: &state.assignments,
        model: &state.halves[half],
        orientations: &orientations,
        translations: &translations,
        longest_list,
        search,
        options: &inputs.options,
        comparison: Comparison::Likelihood,
        current_size: state.sizes.current_size,
        coarse_size: state.sizes.coarse_size,
        reconstruct_images: last && inputs.has_reconstruct_images(),
        usual_spread: [&[]; 2],
        only_class: None,
        iteration: state.iteration,
    };
    let tasks: Vec<Task<'_>> = (0..members.len()).map(task).collect();
    let correlation = name == FIRST && plan.first_iteration_cc;
    let maximisation = maximise::Step::new(plan, inputs, tasks[0].geometry(), last, correlation);
    let counted = match plan.precision {
        Precision::Single => count::<f32>(plan, inputs, on_device, &tasks, &maximisation, name),
        Precision::Double => count::<f64>(plan, inputs, on_device, &tasks, &maximisation, name),
    };
    counted.map_err(|error| match error.code {
        ExitCode::Memory => Error { place: format!("{name} iteration"), ..error },
        _ => error,
    })
}

fn count<T: Scalar>(
    plan: &Plan,
    inputs: &Inputs,
    on_device: Option<OnDevice>,
    tasks: &[Task<'_>],
    maximisation: &maximise::Step,
    name: &'static str,
) -> Result<Step> {
    let particles = inputs.dataset.particles.len();
    let beside = Beside::new(plan, inputs, maximisation, tasks[0].orientations.count());
    let settings = memory::settings(plan, inputs, on_device.map(|(capability, _)| capability));
    let most = on_device.and_then(|(_, most)| most);
    let Fitting { settings, host: layout, device, staging } =
        memory::fit::<T>(tasks, maximisation, plan, &settings, most, &beside)?;
    let device = on_device.map(|_| DeviceMemory { peak: device.peak, allocations: allocations(&device) });
    let task = &tasks[0];
    let per_class = if task.search.is_listed() { task.longest_list } else { task.orientations.count() };
    let poses = per_class * task.model.classes.len();
    let half_plane = |size: usize| std::f64::consts::PI / 8.0 * (size * size) as f64;
    // A complex product of the real part alone and one of |P|^2 with the CTF's.
    let coarse = (poses * task.translations.count()) as f64 * 2.0 * half_plane(task.coarse_size);
    let children = (task.orientations.child_count() * task.translations.child_count()) as f64;
    let fine = TYPICAL_SIGNIFICANT * children * FINE_PRODUCTS * 2.0 * half_plane(task.current_size);
    let width = size_of::<T>() as f64 / size_of::<f32>() as f64;
    let coarse_rate = if task.search.is_listed() { LOCAL_RATE } else { COARSE_RATE };
    let threads = pace(inputs.isa) * settings.threads() as f64 / width;
    Ok(Step {
        name,
        current_size: task.current_size,
        coarse_size: task.coarse_size,
        healpix_order: task.orientations.healpix_order(),
        poses,
        translations: task.translations.count(),
        local: task.search.is_listed(),
        arena: layout.peak,
        total: layout.peak + beside.total() + staging,
        staging,
        beside,
        device,
        seconds: particles as f64 * (coarse / coarse_rate + fine / FINE_RATE) / threads,
        allocations: allocations(&layout),
        blocks_per_batch: settings.blocks_per_batch(),
    })
}

/// Speed of an instruction set beside that of the longest vectors.
fn pace(isa: Isa) -> f64 {
    match isa {
        Isa::Avx512 => 1.0,
        Isa::Avx2 => 0.6,
        Isa::Portable => 0.15,
    }
}

fn allocations(layout: &Layout) -> Vec<Allocation> {
    let row =
        |((kind, name), bytes): (&(Kind, &'static str), &usize)| Allocation { frame: kind.name(), name, bytes: *bytes };
    let mut rows: Vec<Allocation> = layout.most.iter().map(row).collect();
    rows.sort_by_key(|a| std::cmp::Reverse(a.bytes));
    rows
}

/// The longest local list over centres all around; no list is longer than the grid.
fn longest_list(local: &LocalPrior<'_>, most: usize) -> usize {
    let mut list = Vec::new();
    let mut longest = 1;
    for i in 0..CENTRES.pow(3) {
        let part = |v: usize| (v % CENTRES) as f64 / CENTRES as f64;
        let (rot, tilt, psi) = (part(i), part(i / CENTRES), part(i / CENTRES / CENTRES));
        let centre = Euler::new(360.0 * rot + 1.0, 180.0 * tilt + 3.0, 360.0 * psi + 2.0);
        local.near(centre, &mut list);
        longest = longest.max(list.len());
    }
    ((longest as f64 * LONGER_ELSEWHERE) as usize).min(most)
}
