//! The time of an iteration for any number of ranks: measured costs, sizes from the code, the hand-out replayed, and a
//! network and a file system that are assumed. docs/scaling.md explains every term.

use super::are_in_the_page;
use super::bytes;
use super::head;
use super::messages::Sent;
use super::messages::Shape;
use super::messages::sent;
use super::replay::Step;
use super::replay::Went;
use super::replay::replay;
use super::row;

/// Measured on two cores of Zen 4 (docs/scaling.md has the commands).
/// Leader's CPU time for a request, its looks included.
const SERVICE: f64 = 7e-6;
/// Bytes of integers that a rank takes in and adds in a second, through the memory of one machine.
const ADDING: f64 = 3e9;
/// Seconds of rank 0 for what was found: for each particle, and for each rank's message.
const ABSORBING: f64 = 1e-6;
const MESSAGE: f64 = 100e-6;
/// One core at box 128, no window: a map of a half set with its share of the FSC, the references of a half set, and what
/// rank 0 does alone (accuracies).
const MAP: f64 = 0.5;
const REFERENCES: f64 = 0.12;
const ALONE: f64 = 0.25;
/// Files after an iteration: in any case, for a byte of maps, for a particle.
const FILES: [f64; 3] = [0.05, 4e-9, 3e-6];
/// Numbers that are added at a time between ranks.
const PIECE: f64 = 2e6;

/// Assumed: the network, and what the file system gives to all ranks together and to one.
#[derive(Clone, Copy)]
struct Site {
    bandwidth: f64,
    latency: f64,
    files: f64,
    files_of_a_rank: f64,
}

const INFINIBAND: Site = Site { bandwidth: 25e9, latency: 2e-6, files: 20e9, files_of_a_rank: 2e9 };
const ETHERNET: Site = Site { bandwidth: 1.2e9, latency: 30e-6, files: 20e9, files_of_a_rank: 0.6e9 };

#[derive(Clone, Copy)]
struct Job {
    shape: Shape,
    block_particles: u32,
    /// Seconds for a particle in one rank.
    particle: f64,
    /// Times as fast as one core in making maps.
    threads: f64,
    /// Images are read from memory: the file system does not count.
    cached: bool,
}

/// class3d of benchmark A, a core a rank.
const SMALL: Job = Job {
    shape: Shape { particles: 1000, box_pixels: 64, halves: 1, classes: 1, directions: 192 },
    block_particles: 64,
    particle: 2.8e-3,
    threads: 1.0,
    cached: true,
};
const LARGE: Shape = Shape { particles: 300_000, box_pixels: 360, halves: 2, classes: 1, directions: 3072 };
/// A real refinement on cores: 100 ms a particle and iteration, assumed.
const CORES: Job = Job { shape: LARGE, block_particles: 64, particle: 0.1, threads: 1.0, cached: false };
/// The same on GPUs with eight cores each: 2 ms, assumed.
const GPUS: Job = Job { shape: LARGE, block_particles: 64, particle: 2e-3, threads: 6.0, cached: false };

/// Seconds of an iteration.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    expectation: f64,
    found: f64,
    sums: f64,
    state: f64,
    maps: f64,
    /// What rank 0 does while all others wait: accuracies, files.
    alone: f64,
}

impl Parts {
    fn total(&self) -> f64 {
        self.expectation + self.found + self.sums + self.state + self.maps + self.alone
    }
}

/// Work on volumes grows with the transforms of the padded box.
fn of_box(box_pixels: usize) -> f64 {
    let side = box_pixels as f64 / 128.0;
    side.powi(3) * (2.0 * box_pixels as f64).ln() / 256_f64.ln()
}

fn step(job: &Job, site: &Site, ranks: usize) -> Step {
    let Job { shape, block_particles, .. } = *job;
    let image = (shape.box_pixels.pow(2) * size_of::<f32>()) as f64;
    let rate = site.files_of_a_rank.min(site.files / ranks as f64);
    let of_half = (shape.particles / shape.halves) as u32;
    Step {
        ranks,
        blocks: vec![of_half.div_ceil(block_particles); shape.halves],
        block: job.particle * f64::from(block_particles),
        references: REFERENCES * of_box(shape.box_pixels) / job.threads,
        reading: if job.cached { 0.0 } else { f64::from(block_particles) * image / rate },
        service: SERVICE,
        latency: site.latency,
        slow: None,
        pause: None,
    }
}

fn iteration(job: &Job, site: &Site, ranks: usize) -> Parts {
    let shape = &job.shape;
    let Sent { found, found_particle, state, map, sums, .. } = sent(shape);
    let (halves, classes) = (shape.halves as f64, (shape.halves * shape.classes) as f64);
    let owners = ranks.min(shape.halves * shape.classes) as f64;
    let others = (ranks - 1) as f64;
    let depth = (ranks as f64).log2().ceil();
    let particles = shape.particles as f64 * others / ranks as f64;
    let large = of_box(shape.box_pixels);
    let mut parts = Parts {
        expectation: replay(&step(job, site, ranks)).seconds,
        maps: MAP * large * (classes / owners).ceil() / job.threads,
        alone: ALONE * (shape.box_pixels as f64 / 128.0).powi(2) / job.threads
            + FILES[0]
            + FILES[1] * classes * map
            + FILES[2] * shape.particles as f64,
        ..Parts::default()
    };
    if ranks > 1 {
        let passed = site.bandwidth.recip();
        // To rank 0, and everything to the other owners.
        parts.found = particles * (found_particle * passed + ABSORBING)
            + others * (MESSAGE + site.latency + halves * found * passed)
            + (owners - 1.0) * shape.particles as f64 * (found_particle * passed + ABSORBING);
        // Every rank takes from at most two, and adds; the last piece climbs the tree.
        let below = if ranks == 2 { 1.0 } else { 2.0 };
        let each = below * (passed + ADDING.recip());
        parts.sums = classes * (sums * each + (depth - 1.0) * (PIECE * each + site.latency));
        if shape.halves == 2 {
            parts.sums += sums * passed;
        }
        parts.state = depth * ((state + classes * map) * passed + site.latency) + map * passed;
    }
    parts
}

fn seconds(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn efficiency(job: &Job, site: &Site, ranks: usize) -> f64 {
    iteration(job, site, 1).total() / (ranks as f64 * iteration(job, site, ranks).total())
}

fn table(job: &Job) -> String {
    let names = ["ranks", "E-step", "found", "sums", "state", "maps", "rank 0", "iteration, s", "efficiency", "10 GbE"];
    let mut table = head(&names);
    for ranks in [1, 2, 4, 8, 16, 64, 256, 512, 1024] {
        let parts = iteration(job, &INFINIBAND, ranks);
        let mut cells = vec![ranks.to_string()];
        let Parts { expectation, found, sums, state, maps, alone } = parts;
        cells.extend([expectation, found, sums, state, maps, alone, parts.total()].map(seconds));
        cells.extend([&INFINIBAND, &ETHERNET].map(|site| percent(efficiency(job, site, ranks))));
        table += &row(&cells);
    }
    table
}

#[test]
fn the_models_tables_are_those_of_the_page() {
    are_in_the_page(&[&SMALL, &CORES, &GPUS].map(table));
}

#[test]
fn replayed_steps_are_those_of_the_page() {
    let names = ["expectation step", "64 GPUs", "busy", "512 GPUs", "busy", "leader, 512"];
    let mut table = head(&names);
    let cached = Job { cached: true, ..GPUS };
    let heavy = Job { particle: 20e-3, ..cached };
    let small = |job: Job| Job { block_particles: 16, ..job };
    let plain = |job: &Job, ranks| Step { references: 0.0, ..step(job, &INFINIBAND, ranks) };
    let slow = |job: &Job, ranks| Step { slow: Some((8..16, 1.5)), ..plain(job, ranks) };
    let pause = |job: &Job, ranks| Step { pause: Some((9, 10.0)), ..plain(job, ranks) };
    let cases: [(&str, &dyn Fn(usize) -> Step); 9] = [
        ("2 ms a particle, images in memory", &|ranks| plain(&cached, ranks)),
        ("+ references made by every rank", &|ranks| step(&cached, &INFINIBAND, ranks)),
        ("blocks of 16", &|ranks| plain(&small(cached), ranks)),
        ("a node of 8 GPUs 1.5 times slower", &|ranks| slow(&cached, ranks)),
        ("one rank stands still for 10 s", &|ranks| pause(&cached, ranks)),
        ("images from 20 GB/s of file system", &|ranks| plain(&GPUS, ranks)),
        ("20 ms a particle, images in memory", &|ranks| plain(&heavy, ranks)),
        ("20 ms, blocks of 16", &|ranks| plain(&small(heavy), ranks)),
        ("20 ms, blocks of 16, a slow node", &|ranks| slow(&small(heavy), ranks)),
    ];
    for (name, make) in cases {
        let [few, many]: [Went; 2] = [64, 512].map(|ranks| replay(&make(ranks)));
        let leader = format!("{:.2} %", 100.0 * many.leader);
        let cells = [seconds(few.seconds) + " s", percent(few.computing), seconds(many.seconds) + " s"];
        table += &row(&[vec![name.to_owned()], cells.to_vec(), vec![percent(many.computing), leader]].concat());
    }
    are_in_the_page(&[table]);
}

/// Everything that one node takes in while the others wait.
#[test]
fn what_rank_0_receives_is_that_of_the_page() {
    let mut table = head(&[
        "GPUs",
        "requests and signs of life a second",
        "found at rank 0",
        "sums through a rank",
        "images a second",
    ]);
    for ranks in [64, 512, 1024] {
        let sent = sent(&LARGE);
        let step = step(&Job { cached: true, ..GPUS }, &INFINIBAND, ranks);
        let batches = ranks as f64 / (4.0 * step.block) + ranks as f64;
        let found = sent.found_particle * LARGE.particles as f64 + sent.found * 2.0 * ranks as f64;
        let images = ranks as f64 / GPUS.particle * (LARGE.box_pixels.pow(2) * 4) as f64;
        let cells = [format!("{batches:.0}"), bytes(found), bytes(4.0 * sent.sums), bytes(images)];
        table += &row(&[vec![ranks.to_string()], cells.to_vec()].concat());
    }
    are_in_the_page(&[table]);
}

/// The ends of the range, by hand.
#[test]
fn the_model_knows_its_ends() {
    let alone = iteration(&CORES, &INFINIBAND, 1);
    assert!((alone.expectation / 30_000.0 - 1.0).abs() < 0.05, "{alone:?}");
    assert!(alone.found == 0.0 && alone.sums == 0.0 && alone.state == 0.0);
    assert!(efficiency(&CORES, &INFINIBAND, 64) > 0.85, "{}", efficiency(&CORES, &INFINIBAND, 64));
    for (job, site) in [(&CORES, &INFINIBAND), (&GPUS, &INFINIBAND), (&GPUS, &ETHERNET)] {
        let shares = [2, 8, 64, 512].map(|ranks| efficiency(job, site, ranks));
        assert!(shares.is_sorted_by(|a, b| a > b) && shares[0] <= 1.01, "{shares:?}");
    }
}
