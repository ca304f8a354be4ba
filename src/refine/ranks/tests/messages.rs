//! What ranks send, packed as they pack it.

use crate::comm::pack;
use crate::dataset::Assignment;
use crate::expectation::SumVoxel;
use crate::expectation::products::Contribution;
use crate::expectation::products::Finished;
use crate::expectation::products::OriginTerm;
use crate::imaging::Geometry;
use crate::model::ClassModel;
use crate::model::Convergence;
use crate::model::GroupModel;
use crate::model::HalfModel;
use crate::model::PriorMode;
use crate::model::SamplingState;
use crate::model::Sizes;
use crate::model::State;
use crate::model::Volume;
use crate::refine::ranks::message::Beat;
use crate::refine::ranks::message::Found;
use crate::refine::ranks::message::Grant;
use crate::refine::ranks::message::Request;
use crate::rotation::Euler;

use super::are_in_the_page;
use super::bytes;
use super::head;
use super::row;

/// What a job sends.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub request: f64,
    pub grant: f64,
    pub beat: f64,
    /// What a rank found: beside particles, and for each of its own.
    pub found: f64,
    pub found_particle: f64,
    /// The state without maps.
    pub state: f64,
    /// A map, and the sums of one class of one half set.
    pub map: f64,
    pub sums: f64,
}

const NUMBER: f64 = 0.123_456_789;
/// Micrographs of a job, as many particles each.
const PER_MICROGRAPH: usize = 100;

fn assignment() -> Assignment {
    Assignment {
        euler: Euler { rot: NUMBER, tilt: NUMBER, psi: NUMBER },
        offset_angstrom: [NUMBER; 2],
        class: 1,
        norm_correction: NUMBER,
        log_likelihood: NUMBER,
        max_probability: NUMBER,
        significant_samples: 500,
    }
}

/// What one of `ranks` ranks finished of a half set of `particles`.
fn finished(particles: usize, ranks: usize, job: &Shape) -> Finished {
    let own: Vec<u32> = (0..(particles / ranks) as u32).map(|p| p * ranks as u32).collect();
    Finished {
        blocks: vec![vec![0; particles.div_ceil(64)]],
        scale: vec![NUMBER; 2],
        contributions: vec![Contribution { norm: NUMBER, used: true, ..Contribution::default() }; own.len()],
        assignments: vec![assignment(); own.len()],
        origin_terms: own.iter().map(|p| OriginTerm { position: *p, class: 0, data: NUMBER, weight: NUMBER }).collect(),
        set_aside: Vec::new(),
        residuals: vec![vec![1 << 60; job.box_pixels / 2 + 1]],
        ctf2: vec![vec![1 << 50; job.box_pixels / 2 + 1]],
        // Every direction has mass while everything is searched.
        directions: vec![vec![1 << 40; job.directions]; job.classes],
        positions: own,
        most_significant: 10_000,
    }
}

fn state(job: &Shape) -> State {
    let shells = || vec![NUMBER; job.box_pixels / 2 + 1];
    let class = || ClassModel {
        map: Volume { box_pixels: job.box_pixels, pixel_size_angstrom: 1.0, data: Vec::new() },
        share: NUMBER,
        directions: vec![NUMBER; job.directions],
        tau2: shells(),
        sigma2: shells(),
        ssnr: shells(),
        fsc: shells(),
        coverage: shells(),
        orientability: shells(),
        accuracy_degrees: NUMBER,
        accuracy_angstrom: NUMBER,
    };
    let group = |number| GroupModel {
        name: format!("MotionCorr/job002/movies/20260101_{number:05}.mrc"),
        particle_count: PER_MICROGRAPH,
        scale: NUMBER,
    };
    let half = || HalfModel {
        classes: (0..job.classes).map(|_| class()).collect(),
        noise: vec![shells()],
        groups: (0..job.particles / PER_MICROGRAPH).map(group).collect(),
        average_norm: NUMBER,
        sigma_offset_angstrom: NUMBER,
        log_likelihood: NUMBER,
        average_max_probability: NUMBER,
    };
    State {
        iteration: 10,
        halves: (0..job.halves).map(|_| half()).collect(),
        assignments: vec![assignment(); job.particles],
        half_of: vec![1; job.particles],
        sampling: SamplingState {
            healpix_order: 4,
            psi_step_degrees: NUMBER,
            offset_range_angstrom: NUMBER,
            offset_step_angstrom: NUMBER,
            oversampling: 1,
            perturbation: NUMBER,
            perturbation_factor: NUMBER,
            prior: PriorMode::Global,
            original_healpix_order: 2,
            original_psi_step_degrees: NUMBER,
            original_offset_range_angstrom: NUMBER,
            original_offset_step_angstrom: NUMBER,
        },
        sizes: Sizes {
            current_resolution_per_angstrom: NUMBER,
            best_resolution_per_angstrom: NUMBER,
            current_size: job.box_pixels,
            coarse_size: job.box_pixels,
            increment: 10,
            has_high_fsc_at_limit: false,
        },
        convergence: Convergence {
            iterations_without_resolution_gain: 0,
            iterations_without_large_changes: 0,
            change_degrees: NUMBER,
            change_angstrom: NUMBER,
            change_classes: NUMBER,
            smallest_change_degrees: NUMBER,
            smallest_change_angstrom: NUMBER,
            smallest_change_classes: NUMBER,
            accuracy_degrees: NUMBER,
            accuracy_angstrom: NUMBER,
            has_fine_enough_sampling: false,
            has_converged: false,
        },
    }
}

/// What decides the sizes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub particles: usize,
    pub box_pixels: usize,
    pub halves: usize,
    pub classes: usize,
    /// Directions of the grid: 12 times 4 to the power of the order.
    pub directions: usize,
}

fn packed(value: &impl serde::Serialize) -> f64 {
    pack(value).expect("bytes").len() as f64
}

pub fn sent(job: &Shape) -> Sent {
    let of_half = job.particles / job.halves;
    let found = |ranks| -> Found { vec![(0, Some(finished(of_half, ranks, job)))] };
    // With fewer than all particles the rest shows.
    let [two, one] = [2, 1].map(|ranks| packed(&found(ranks)));
    let found_particle = (one - two) / (of_half - of_half / 2) as f64;
    let sums = Geometry::new(job.box_pixels, 2.0, job.box_pixels).rows.len() * size_of::<SumVoxel>();
    Sent {
        request: packed(&Request { half: 1, blocks: Some((0, 4)), stop: None }),
        grant: packed(&Grant { blocks: vec![2000; 4], is_any: true, stop: false }),
        beat: packed(&Beat { deeds: 1000, allowance: 30, particles: 10_000 }),
        found: one - found_particle * of_half as f64,
        found_particle,
        state: packed(&state(job)),
        map: (job.box_pixels.pow(3) * size_of::<f32>()) as f64,
        sums: sums as f64,
    }
}

#[test]
fn sizes_of_messages_are_those_of_the_page() {
    let job = |box_pixels| Shape { particles: 300_000, box_pixels, halves: 2, classes: 1, directions: 3072 };
    let Sent { request, grant, beat, found, found_particle, state, .. } = sent(&job(360));
    let mut messages = head(&["message", "bytes", "when"]);
    for (name, size, when) in [
        ("request for blocks", request, "a batch"),
        ("answer with four blocks", grant, "a batch"),
        ("sign of life", beat, "a second and rank; the answer has 1 byte"),
        ("found, for each particle", found_particle, "an iteration"),
        ("found, beside particles", found, "an iteration, rank and half set"),
        ("state without maps", state, "an iteration, to all"),
    ] {
        messages += &row(&[name.to_owned(), bytes(size), when.to_owned()]);
    }
    let mut table = head(&["box", "a map (to all)", "sums of a class and half set (from all)"]);
    for box_pixels in [128, 256, 360, 512] {
        let Sent { map, sums, .. } = sent(&Shape { particles: 1000, ..job(box_pixels) });
        table += &row(&[box_pixels.to_string(), bytes(map), bytes(sums)]);
    }
    are_in_the_page(&[messages, table]);
}

/// `cargo test --release --lib ranks::tests::messages -- --ignored --nocapture`
#[test]
#[ignore = "measures this machine"]
fn time_of_what_was_found() {
    let job = Shape { particles: 300_000, box_pixels: 360, halves: 2, classes: 1, directions: 3072 };
    let found: Found = vec![(0, Some(finished(150_000, 2, &job)))];
    let begin = std::time::Instant::now();
    let packed = pack(&found).expect("bytes");
    let packing = begin.elapsed();
    let begin = std::time::Instant::now();
    let read: Found = crate::comm::unpack(&packed).expect("what was packed");
    println!("75,000 particles: packed in {packing:?}, unpacked in {:?}", begin.elapsed());
    assert_eq!(read, found);
}
