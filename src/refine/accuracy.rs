//! Expected accuracies of the poses, before the sampling of an iteration is decided.

use num_complex::Complex;

use crate::arena::Arena;
use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Result;
use crate::expectation::products;
use crate::imaging::Ctf;
use crate::imaging::Geometry;
use crate::imaging::PixelList;
use crate::imaging::ReferenceScale;
use crate::imaging::projector;
use crate::maximisation::accuracy;
use crate::maximisation::accuracy::Trial;
use crate::model::ClassModel;
use crate::model::State;

use super::Job;
use super::step::Engine;

/// Particles that are tried.
const TRIALS: usize = 100;
/// Share below which a class's accuracy is unknown.
const SMALLEST_SHARE: f64 = 0.01;

/// Estimates the accuracies of every class of the first half, evenly spread over its particles, and copies them to
/// the other half. One reference at a time lies in the engine's arena.
pub fn estimate(job: &Job<'_>, engine: &mut Engine, state: &mut State) -> Result<()> {
    let dataset = &job.inputs.dataset;
    let wanted = if state.halves.len() > 1 { 1 } else { 0 };
    let members: Vec<usize> = (0..state.half_of.len()).filter(|i| state.half_of[*i] == wanted).collect();
    let stride = members.len().div_ceil(TRIALS).max(1);
    let model = &state.halves[0];
    let (box_pixels, pixel) = (job.inputs.box_pixels(), job.inputs.pixel_size_angstrom());
    let scales: Vec<ReferenceScale> =
        dataset.optics.iter().map(|o| ReferenceScale::new(o, box_pixels, pixel)).collect();
    let lists: Vec<PixelList> = scales.iter().map(|s| PixelList::new(s.image_size(state.sizes.current_size))).collect();
    let chosen: Vec<usize> = members.iter().copied().step_by(stride).collect();
    let ctfs = chosen
        .iter()
        .map(|&i| {
            let particle = &dataset.particles[i];
            let optics = &dataset.optics[particle.optics as usize];
            let pixels = &lists[particle.optics as usize];
            let mut values = vec![1.0; pixels.len()];
            if let Some(options) = job.inputs.options.ctf.filter(|_| !optics.ctf_corrected) {
                Ctf::new(optics, &particle.ctf, options)?.fill(&pixels.kx, &pixels.ky, None, &mut values);
                if optics.ctf_premultiplied {
                    values.iter_mut().for_each(|c| *c *= *c);
                }
            }
            Ok(values)
        })
        .collect::<Result<Vec<_>>>()?;
    let trials: Vec<Trial<'_>> = chosen
        .iter()
        .zip(&ctfs)
        .map(|(&i, ctf)| {
            let optics = dataset.particles[i].optics as usize;
            Trial {
                euler: state.assignments[i].euler,
                scale: &scales[optics],
                pixels: &lists[optics],
                ctf,
                noise: &model.noise[optics],
                pixel_size_angstrom: dataset.optics[optics].pixel_size_angstrom,
            }
        })
        .collect();
    let geometry = Geometry::new(box_pixels, job.inputs.options.padding, state.sizes.current_size);
    let threads = job.plan.thread_count();
    let mut counting = Arena::counting();
    counting.run(|frame| buffers(&geometry, threads, frame).map(|_| ()))?;
    let of_class = |class: &ClassModel, frame: &mut Frame<'_>| {
        frame.child(Kind::Tile, |tile| {
            let (reference, work) = buffers(&geometry, threads, tile)?;
            projector::build_into(&class.map.data, &geometry, reference, work);
            let trials = if class.share >= SMALLEST_SHARE { trials.as_slice() } else { &[] };
            Ok(accuracy::estimate(&geometry, reference, trials))
        })
    };
    let estimates: Vec<accuracy::Accuracy> = engine
        .lend(counting.layout().peak, |frame| model.classes.iter().map(|class| of_class(class, frame)).collect())?;
    let shares: Vec<f64> = model.classes.iter().map(|c| c.share).collect();
    let (degrees, angstrom) = accuracy::best(shares.into_iter().zip(&estimates));
    state.convergence.accuracy_degrees = degrees;
    state.convergence.accuracy_angstrom = angstrom;
    for half in &mut state.halves {
        for (class, estimate) in half.classes.iter_mut().zip(&estimates) {
            class.accuracy_degrees = estimate.degrees;
            class.accuracy_angstrom = estimate.angstrom;
            class.orientability.clone_from(&estimate.orientability);
        }
    }
    Ok(())
}

/// Memory for a transform.
type Transform<'f> = &'f mut [Complex<f32>];

/// A reference, and what its building needs: less than the expectation step allocates for the same reference.
fn buffers<'f>(geometry: &Geometry, threads: usize, frame: &mut Frame<'f>) -> Result<(Transform<'f>, Transform<'f>)> {
    Ok((frame.alloc("reference", geometry.rows.len())?, products::projector_work::<f32>(frame, geometry, threads)?))
}
