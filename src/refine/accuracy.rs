//! Expected accuracies of the poses, before the sampling of an iteration is decided.

use crate::error::Result;
use crate::imaging::Ctf;
use crate::imaging::PixelList;
use crate::imaging::Projector;
use crate::imaging::ReferenceScale;
use crate::maximisation::accuracy;
use crate::maximisation::accuracy::Trial;
use crate::model::State;

use super::Job;

/// Particles that are tried.
const TRIALS: usize = 100;
/// Share below which a class's accuracy is unknown.
const SMALLEST_SHARE: f64 = 0.01;

/// Estimates the accuracies of every class of the first half, evenly spread over its particles, and copies them to
/// the other half.
pub fn estimate(job: &Job<'_>, state: &mut State) -> Result<()> {
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
    let estimates: Vec<accuracy::Accuracy> = model
        .classes
        .iter()
        .map(|class| {
            let padding = job.inputs.options.padding;
            let projector = Projector::<f32>::new(&class.map.data, box_pixels, padding, state.sizes.current_size);
            let trials = if class.share >= SMALLEST_SHARE { trials.as_slice() } else { &[] };
            accuracy::estimate(&projector.geometry, &projector.data, trials)
        })
        .collect();
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
