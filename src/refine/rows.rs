//! The rows that the coarse pass of a job's first iteration multiplies, for measurements.

use crate::arena::Arena;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::Comparison;
use crate::expectation::Scalar;
use crate::expectation::Task;
use crate::expectation::products;
use crate::expectation::products::CoarseRows;
use crate::imaging::Geometry;
use crate::imaging::padded;
use crate::plan::Plan;
use crate::product::Isa;
use crate::sampling::Search;

use super::grid;
use super::images::Images;
use super::inputs::Inputs;
use super::start;

/// Memory beside the reference and what builds it: rows of one thread, one image.
const BESIDE_BYTES: usize = 1 << 30;
/// Finest sampling that is tried for enough poses.
const FINEST_ORDER: u32 = 6;

/// Rows of a job, over the whole window of its images.
pub struct JobRows<T> {
    pub rows: CoarseRows<T>,
    pub box_pixels: usize,
    pub isa: Isa,
}

/// Slices of the job's first reference in so many poses, spread evenly, and its first particles under all translations,
/// as the first iteration prepares both; all of one optics group. The reference keeps all its frequencies.
///
/// # Errors
/// Those of the inputs; `Usage` where there are fewer particles or poses.
pub fn coarse_rows<T: Scalar>(plan: &Plan, particles: usize, poses: usize) -> Result<JobRows<T>> {
    let plan = &Plan { ini_high_angstrom: None, ..plan.clone() };
    let inputs = Inputs::load(plan)?;
    let (images, _) = Images::of_run(&inputs)?;
    let mut state = start::start(plan, &inputs, &images)?.state;
    let mut orientations = grid::orientations(plan, &inputs, &state)?;
    while orientations.count() < poses && state.sampling.healpix_order < FINEST_ORDER && !plan.skip_align {
        state.sampling.healpix_order += 1;
        state.sampling.psi_step_degrees /= 2.0;
        orientations = grid::orientations(plan, &inputs, &state)?;
    }
    let translations = grid::translations(plan, &state)?;
    let optics = inputs.dataset.particles.first().map(|particle| particle.optics);
    let of_group = |p: &u32| Some(inputs.dataset.particles[*p as usize].optics) == optics;
    let members: Vec<u32> = (0..inputs.dataset.particles.len() as u32).filter(of_group).take(particles).collect();
    if members.len() < particles || orientations.count() < poses {
        return Err(Error::usage(
            format!(
                "the job offers {} particles of one optics group and {} poses",
                members.len(),
                orientations.count()
            ),
            format!(
                "Ask for no more than that with --particles and --poses, or name another run than with {particles} \
                     and {poses}."
            ),
        ));
    }
    let directions = orientations.direction_count();
    let model = &mut state.halves[0];
    model.classes[0].directions = vec![1.0 / directions as f64; directions];
    model.classes.truncate(1);
    let box_pixels = inputs.box_pixels();
    let task = Task {
        dataset: &inputs.dataset,
        particles: &members,
        assignments: &state.assignments,
        model,
        orientations: &orientations,
        translations: &translations,
        longest_list: 0,
        search: Search::Everywhere,
        options: &inputs.options,
        comparison: Comparison::Likelihood,
        current_size: box_pixels,
        coarse_size: box_pixels,
        reconstruct_images: false,
        usual_spread: [&[]; 2],
        only_class: None,
        iteration: 1,
    };
    let positions: Vec<usize> = (0..members.len()).collect();
    let chosen: Vec<u32> = (0..poses).map(|i| (i * orientations.count() / poses) as u32).collect();
    let mut arena = Arena::reserve(bytes::<T>(&task.geometry()))?;
    let rows = arena.run(|frame| products::coarse_rows(&task, &images, inputs.isa, &positions, &chosen, frame))?;
    Ok(JobRows { rows, box_pixels, isa: inputs.isa })
}

/// The reference, what builds it, and the rest.
fn bytes<T: Scalar>(geometry: &Geometry) -> usize {
    let values = geometry.rows.len() + padded::work_len(geometry, rayon::current_num_threads().max(1));
    values * 2 * size_of::<T>() + BESIDE_BYTES
}
