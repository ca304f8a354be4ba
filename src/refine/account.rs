//! What a run tells about itself: events in the progress file, and the time of its phases.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use crate::arena::Change;
use crate::device::Found;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::Outcome;
use crate::expectation::products::Work;
use crate::model::PriorMode;
use crate::model::State;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::ArenaChange;
use crate::plan::progress::ArenaPoint;
use crate::plan::progress::ArenaRequest;
use crate::plan::progress::Device;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::ProgressWriter;
use crate::plan::progress::RankPlace;
use crate::plan::progress::Started;

use super::Job;
use super::ending::Ending;
use super::ending::repeated;
use super::inputs::Inputs;
use super::ranks::Chosen;
use super::step::Memory;

/// Share of particles that may be set aside before the run stops.
const MOST_SET_ASIDE: f64 = 0.1;
/// Particles that are set aside by name in a run; the rest is counted.
const MOST_NAMED: usize = 20;
/// Points of the arena's trace written in an iteration.
const MOST_TRACE_POINTS: usize = 500;

/// Requests to the arena written in an iteration.
const MOST_REQUESTS: usize = 4000;

/// The phase that is divided once it is over; what is left is the rest of it.
pub const EXPECTATION: &str = "expectation";
pub const MAXIMISATION: &str = "maximisation";
pub const FILES: &str = "files";
/// Computing waits for a checkpoint to be written.
const CHECKPOINT: &str = "checkpoint";

/// The account of a run.
pub struct Account<'a> {
    plan: &'a Plan,
    on: &'a Chosen,
    progress: ProgressWriter,
    path: PathBuf,
    begin: Instant,
    begin_cpu: f64,
    iteration: u32,
    iteration_begin: Instant,
    iteration_cpu: f64,
    phases: BTreeMap<String, f64>,
    coarse_operations: f64,
    /// Particles whose names were told when they were set aside.
    named: BTreeSet<u32>,
}

impl<'a> Account<'a> {
    pub fn open(run_dir: &RunDir, plan: &'a Plan, on: &'a Chosen) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            plan,
            on,
            progress: ProgressWriter::open(&run_dir.progress())?,
            path: run_dir.progress(),
            begin: now,
            begin_cpu: cpu_seconds(),
            iteration: 0,
            iteration_begin: now,
            iteration_cpu: 0.0,
            phases: BTreeMap::new(),
            coarse_operations: 0.0,
            named: BTreeSet::new(),
        })
    }

    pub fn warn(&mut self, text: &str) -> Result<()> {
        self.progress.write(Event::Warning { text: text.to_owned() })
    }

    /// `resumed_from`: the iteration of the checkpoint the run goes on from, and particles done in the next one.
    pub fn started(&mut self, inputs: &Inputs, resumed_from: Option<(u32, usize)>) -> Result<()> {
        let (iteration, resumed_particles) = resumed_from.unzip();
        let earlier = progress::read(&self.path).unwrap_or_default();
        let done = resumed_from.unwrap_or_default();
        let repeated_particles = repeated(&earlier, done, inputs.dataset.particles.len());
        let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_default();
        self.progress.write(Event::Started(Started {
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            kind: self.plan.kind.to_string(),
            host,
            process: std::process::id(),
            threads: self.plan.thread_count(),
            instruction_set: inputs.isa.name().to_owned(),
            precision: inputs.origin.identity.precision.clone(),
            backend: self.on.backend.name().to_owned(),
            backend_why: self.on.why.clone(),
            device: self.on.device.as_ref().map(|on| device(&on.found)),
            particles: inputs.dataset.particles.len(),
            classes: self.plan.classes,
            box_pixels: inputs.box_pixels(),
            pixel_size_angstrom: inputs.pixel_size_angstrom(),
            resumed_from: iteration,
            resumed_particles: resumed_particles.unwrap_or(0),
            repeated_particles,
            last_iteration: self.plan.iterations,
        }))
    }

    /// Who works where.
    pub fn ranks(&mut self, ranks: Vec<RankPlace>) -> Result<()> {
        self.progress.write(Event::Ranks { ranks })
    }

    pub fn iteration_started(&mut self, iteration: u32) -> Result<()> {
        self.iteration = iteration;
        self.iteration_begin = Instant::now();
        self.iteration_cpu = cpu_seconds();
        self.phases.clear();
        self.progress.write(Event::IterationStarted { iteration })
    }

    /// Times a phase of the iteration.
    pub fn phase<R>(&mut self, name: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
        let begin = Instant::now();
        let result = work()?;
        self.phase_over(name, begin)?;
        Ok(result)
    }

    fn phase_over(&mut self, name: &str, begin: Instant) -> Result<()> {
        let seconds = begin.elapsed().as_secs_f64();
        self.phases.insert(name.to_owned(), seconds);
        self.progress.write(Event::Phase { iteration: self.iteration, name: name.to_owned(), seconds })
    }

    /// Shares of the expectation step's time, which is not divided yet, by what was worked for.
    pub fn busy(&self, work: &Work) -> BTreeMap<String, f64> {
        let whole = self.phases.get(EXPECTATION).copied().filter(|seconds| *seconds > 0.0);
        whole.iter().flat_map(|whole| parts(work).map(|(name, seconds)| (name.to_owned(), seconds / whole))).collect()
    }

    /// Divides the time of the expectation step into its parts.
    pub fn divide_expectation(&mut self, work: &Work) {
        let parts = parts(work);
        if let Some(rest) = self.phases.get_mut(EXPECTATION) {
            *rest -= parts.iter().map(|(_, seconds)| seconds).sum::<f64>();
        }
        self.phases.extend(parts.map(|(name, seconds)| (name.to_owned(), seconds)));
        self.coarse_operations = work.coarse_operations;
    }

    /// Names the particles that were left out, each once; too many end the run.
    pub fn set_aside(&mut self, job: &Job<'_>, outcomes: &[Outcome]) -> Result<()> {
        let all: Vec<&(u32, String)> = outcomes.iter().flat_map(|o| &o.set_aside).collect();
        let (mut again, mut unnamed) = (0, 0);
        for (particle, cause) in &all {
            if !self.named.insert(*particle) {
                again += 1;
            } else if self.named.len() <= MOST_NAMED {
                let name = job.images.name(*particle);
                self.warn(&format!("{name}: {cause}: set aside in iteration {}", self.iteration))?;
            } else {
                unnamed += 1;
            }
        }
        if unnamed > 0 {
            self.warn(&format!("and {unnamed} more images set aside in iteration {}", self.iteration))?;
        }
        if again > 0 {
            self.warn(&format!("set aside in iteration {} as before: {again} images", self.iteration))?;
        }
        let total = job.inputs.dataset.particles.len();
        match all.first() {
            Some((particle, cause)) if all.len() as f64 > MOST_SET_ASIDE * total as f64 => Err(Error::bad_data(
                job.images.name(*particle),
                format!("{cause}; {} of {total} particles cannot be used in iteration {}", all.len(), self.iteration),
                "Run `relion-rs check --images` on the particle file, and remove or extract again what it lists.",
            )),
            _ => Ok(()),
        }
    }

    /// Computing waited for checkpoints so long; `within` a phase or after all of them.
    pub fn waited(&mut self, seconds: f64, within: Option<&str>) {
        *self.phases.entry(CHECKPOINT.to_owned()).or_default() += seconds;
        if let Some(phase) = within.and_then(|name| self.phases.get_mut(name)) {
            *phase -= seconds;
        }
    }

    /// Time of the present iteration so far after its expectation step.
    pub fn rest(&self) -> Duration {
        let of = |name: &str| self.phases.get(name).copied().unwrap_or(0.0);
        Duration::from_secs_f64(of(MAXIMISATION) + of(FILES))
    }

    pub fn iteration_finished(&mut self, state: &State, used_size: usize, memory: Memory) -> Result<()> {
        for (events, device) in memory.events.iter().zip([false, true]).filter(|(events, _)| !events.is_empty()) {
            self.progress.write(trace(events, memory.batches, device))?;
        }
        let (half, sampling, convergence) = (&state.halves[0], &state.sampling, &state.convergence);
        let classes = || state.halves[0].classes.iter();
        let finished = IterationFinished {
            iteration: state.iteration,
            resolution_angstrom: 1.0 / state.sizes.current_resolution_per_angstrom,
            class_resolutions_angstrom: classes()
                .map(|c| {
                    let shell = crate::maximisation::resolution::resolved_shell([c.ssnr.as_slice()], false).shell;
                    crate::units::angstrom_of_shell(shell, c.map.box_pixels, c.map.pixel_size_angstrom)
                })
                .collect(),
            class_shares: classes().map(|c| c.share).collect(),
            current_size: used_size,
            coarse_size: state.sizes.coarse_size,
            healpix_order: sampling.healpix_order,
            is_local_search: sampling.prior != PriorMode::Global,
            offset_step_angstrom: sampling.offset_step_angstrom,
            offset_range_angstrom: sampling.offset_range_angstrom,
            accuracy_degrees: convergence.accuracy_degrees,
            accuracy_angstrom: convergence.accuracy_angstrom,
            change_degrees: convergence.change_degrees,
            change_angstrom: convergence.change_angstrom,
            change_classes: convergence.change_classes,
            average_max_probability: half.average_max_probability,
            log_likelihood: half.log_likelihood,
            weights: memory.weights,
            arena_peak_bytes: memory.peak,
            arena_reserved_bytes: memory.reserved,
            arena_layout: memory.layout,
            planned_bytes: memory.planned,
            device: memory.device,
            resident_peak_bytes: resident_peak_bytes(),
            phase_seconds: self.phases.clone(),
            coarse_operations: self.coarse_operations,
            wall_seconds: self.iteration_begin.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.iteration_cpu,
        };
        self.progress.write(Event::IterationFinished(Box::new(finished)))
    }

    /// The engine ends after an iteration, or within the next one when it was `stopped`.
    pub fn finished(&mut self, after: Ending, stopped: bool) -> Result<()> {
        self.progress.write(Event::Finished {
            iteration: after.iteration,
            checkpointed: stopped,
            converged: after.converged,
            resolution_angstrom: after.resolution_angstrom,
            wall_seconds: self.begin.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.begin_cpu,
            resident_peak_bytes: resident_peak_bytes(),
        })
    }
}

/// Parts of the expectation step.
fn parts(work: &Work) -> [(&'static str, f64); 4] {
    [("images", work.images), ("coarse", work.coarse), ("fine", work.fine), ("sums", work.sums)]
}

/// The trace of an arena.
fn trace(events: &[crate::arena::Event], batches: usize, device: bool) -> Event {
    let point = |event: &crate::arena::Event| ArenaPoint {
        seconds: event.seconds,
        frame: event.kind.name().to_owned(),
        top_bytes: event.top as u64,
    };
    let frames: Vec<crate::arena::Event> = events.iter().filter(|e| e.is_of_frame()).copied().collect();
    let stride = frames.len().div_ceil(MOST_TRACE_POINTS).max(1);
    // Of events that fall together the highest counts.
    let highest = |events: &[crate::arena::Event]| events.iter().max_by_key(|event| event.top).map(point);
    Event::ArenaTrace {
        points: frames.chunks(stride).filter_map(highest).collect(),
        requests: events.iter().take(MOST_REQUESTS).map(request).collect(),
        batches,
        device,
    }
}

fn device(found: &Found) -> Device {
    let (major, minor) = found.capability;
    Device {
        name: found.name.clone(),
        uuid: found.uuid.clone(),
        compute_capability: format!("{major}.{minor}"),
        memory_bytes: found.memory_bytes,
    }
}

fn request(event: &crate::arena::Event) -> ArenaRequest {
    let change = match event.change {
        Change::Opened => ArenaChange::Opened,
        Change::Took { name, offset, bytes } => {
            ArenaChange::Took { name: name.to_owned(), offset: offset as u64, bytes: bytes as u64 }
        }
        Change::Closed { base, end } => ArenaChange::Closed { base: base as u64, end: end as u64 },
    };
    ArenaRequest { frame: event.kind.name().to_owned(), change }
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    use nix::sys::resource::UsageWho;
    let seconds = |t: nix::sys::time::TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 * 1e-6;
    nix::sys::resource::getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Most memory that this process held so far; 0 where the system does not tell.
fn resident_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kilobytes.and_then(|text| text.trim().parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes << 10)
}
