//! The state before the first iteration.

use crate::dataset::ImageName;
use crate::error::Error;
use crate::error::Result;
use crate::imaging::mask::CircularMask;
use crate::imaging::mtf;
use crate::maximisation::initial;
use crate::maximisation::initial::InitialNoise;
use crate::maximisation::resolution;
use crate::maximisation::sampling_update;
use crate::model::ClassModel;
use crate::model::Convergence;
use crate::model::GroupModel;
use crate::model::HalfModel;
use crate::model::PriorMode;
use crate::model::SamplingState;
use crate::model::Sizes;
use crate::model::State;
use crate::model::Volume;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::rotation::healpix;
use crate::sampling::Orientations;

use super::images::Images;
use super::inputs::Inputs;
use super::spread;
use super::spread::Tried;

/// Shares of bad images above which the run stops.
const MOST_BAD: f64 = 0.1;

/// What is known before the first iteration.
pub struct Start {
    /// The state of iteration 0.
    pub state: State,
    /// Usual spread of the pixels per optics group.
    pub usual_spread: Vec<f64>,
    pub warnings: Vec<String>,
}

/// Looks at the first images.
pub fn start(plan: &Plan, inputs: &Inputs, images: &Images<'_>) -> Result<Start> {
    let dataset = &inputs.dataset;
    let tried = spread::of_first(dataset, images, |particle| Some(dataset.particles[particle as usize].image))?;
    let (noise, warnings) = noise(plan, inputs, images, &tried)?;
    Ok(Start { state: with_noise(plan, inputs, &noise)?, usual_spread: tried.usual, warnings })
}

/// The state of iteration 0 for known noise spectra, one an optics group.
pub fn with_noise(plan: &Plan, inputs: &Inputs, noise: &[Vec<f64>]) -> Result<State> {
    let (box_pixels, pixel) = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    let dataset = &inputs.dataset;
    let sampling = sampling(plan, pixel);
    let directions = match plan.skip_align {
        true => 1,
        false => Orientations::new(&sampling, &inputs.group, None, plan.parity)?.direction_count(),
    };
    let maps: Vec<Volume> = (0..plan.classes)
        .map(|k| {
            let mut map = inputs.references[k.min(inputs.references.len() - 1)].clone();
            if let Some(resolution) = plan.ini_high_angstrom {
                initial::low_pass(&mut map, resolution);
            }
            map
        })
        .collect();
    let halves: Vec<u8> = match plan.kind {
        JobKind::Refine3d => vec![1, 2],
        JobKind::Class3d => vec![0],
    };
    let half_of: Vec<u8> = match plan.kind {
        JobKind::Refine3d => dataset.particles.iter().map(|p| p.half).collect(),
        JobKind::Class3d => vec![0; dataset.particles.len()],
    };
    let shells = box_pixels / 2 + 1;
    let halves = halves
        .into_iter()
        .map(|half| {
            let members = || dataset.particles.iter().zip(&half_of).filter(move |(_, h)| **h == half).map(|(p, _)| p);
            let share = 1.0 / plan.classes as f64;
            let classes = maps
                .iter()
                .map(|map| {
                    let tau2 = initial::tau2_of_map(map, plan.tau2_fudge);
                    ClassModel {
                        map: map.clone(),
                        share,
                        directions: vec![share / directions as f64; directions],
                        ssnr: initial::data_versus_prior(&tau2, noise, members().count() as f64 * share),
                        tau2,
                        sigma2: vec![0.0; shells],
                        fsc: vec![0.0; shells],
                        coverage: vec![0.0; shells],
                        orientability: Vec::new(),
                        accuracy_degrees: 999.0,
                        accuracy_angstrom: 999.0,
                    }
                })
                .collect();
            let groups = dataset.groups.iter().enumerate().map(|(g, name)| GroupModel {
                name: name.clone(),
                particle_count: members().filter(|p| p.group as usize == g).count(),
                scale: 1.0,
            });
            HalfModel {
                classes,
                noise: noise.to_vec(),
                groups: groups.collect(),
                average_norm: 1.0,
                sigma_offset_angstrom: plan.sigma_offset_angstrom,
                log_likelihood: 0.0,
                average_max_probability: 0.0,
            }
        })
        .collect::<Vec<_>>();
    let mut sizes = Sizes::start();
    let mut convergence = Convergence::start();
    let shell = match plan.ini_high_angstrom {
        Some(resolution) => resolution::shell_of_initial_filter(resolution, box_pixels, pixel),
        None => resolution::resolved_shell(halves[0].classes.iter().map(|c| c.ssnr.as_slice()), false).shell,
    };
    resolution::record(shell, box_pixels, pixel, &mut sizes, &mut convergence);
    let assignments = dataset.assignments.clone();
    Ok(State { iteration: 0, halves, assignments, half_of, sampling, sizes, convergence })
}

fn sampling(plan: &Plan, pixel: f64) -> SamplingState {
    let order = plan.healpix_order;
    let psi_step_degrees = healpix::angular_step_degrees(order);
    let (range, step) = (plan.offset_range_pixels * pixel, plan.offset_step_pixels * pixel);
    let mut sampling = SamplingState {
        healpix_order: order,
        psi_step_degrees,
        offset_range_angstrom: range,
        offset_step_angstrom: step,
        oversampling: plan.oversampling,
        perturbation: 0.0,
        perturbation_factor: plan.perturb,
        prior: PriorMode::Global,
        original_healpix_order: order,
        original_psi_step_degrees: psi_step_degrees,
        original_offset_range_angstrom: range,
        original_offset_step_angstrom: step,
    };
    if let Some(sigma) = plan.sigma_angles_degrees {
        sampling.prior = PriorMode::Local { sigma_degrees: [sigma; 3] };
    } else if plan.kind == JobKind::Refine3d && order >= plan.local_search_order {
        sampling.prior = sampling_update::local_prior(&sampling);
    }
    sampling
}

/// Noise spectra from the first particles in canonical order, and which of them were of no use.
fn noise(plan: &Plan, inputs: &Inputs, images: &Images<'_>, tried: &Tried) -> Result<(Vec<Vec<f64>>, Vec<String>)> {
    let dataset = &inputs.dataset;
    let model = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    let masks: Vec<CircularMask<f64>> = dataset
        .optics
        .iter()
        .map(|o| {
            let radius = plan.diameter_angstrom / (2.0 * o.pixel_size_angstrom);
            CircularMask::new(o.box_pixels, radius, plan.mask_edge_pixels)
        })
        .collect();
    let group_of = |particle: u32| dataset.particles[particle as usize].optics as usize;
    let (mut warnings, mut good) = (Vec::new(), Vec::new());
    for (particle, image, spread) in &tried.images {
        dataset.refuse_wild(*image, *spread, tried.usual[group_of(*particle)])?;
        let what = match *spread {
            s if s.is_nan() => "holds values that are not numbers",
            0.0 => "is constant",
            _ => {
                good.push((group_of(*particle), *image));
                continue;
            }
        };
        warnings.push(format!("{} {what}: not used for the noise", dataset.image_name(*image)));
    }
    let mut estimate = InitialNoise::new(model.0, dataset.optics.len());
    let names: Vec<ImageName> = good.iter().map(|(_, image)| *image).collect();
    images.for_each(&names, |i, pixels| {
        let group = good[i].0;
        let optics = &dataset.optics[group];
        let mut image: Vec<f64> = pixels.iter().map(|v| f64::from(*v)).collect();
        if plan.zero_mask {
            masks[group].fill_with_mean(&mut image);
        }
        let from = (optics.box_pixels, optics.pixel_size_angstrom);
        let image = if from == model { image } else { initial::resample(&image, from, model) };
        estimate.add(group, &image);
        Ok(())
    })?;
    let (bad, tried) = (warnings.len(), tried.images.len());
    if bad as f64 > MOST_BAD * tried as f64 {
        return Err(Error::bad_data(
            plan.particles.display().to_string(),
            format!("{bad} of the first {tried} images cannot be used; the first: {}", warnings[0]),
            "Extract the particles again, or remove the bad ones (`relion-rs check --images` lists them).",
        ));
    }
    let mut spectra = estimate.finish();
    let (mtfs, edge) = (&inputs.options.mtfs, model.0 as f64 * model.1);
    let frequencies: Vec<f64> = (0..=model.0 / 2).map(|shell| shell as f64 / edge).collect();
    if let Some(gains) = mtf::relative_corrections(&mtfs.iter().collect::<Vec<_>>(), &frequencies) {
        // The expectation step sees corrected images.
        for (spectrum, gains) in spectra.iter_mut().zip(gains) {
            spectrum.iter_mut().zip(gains).for_each(|(sigma2, gain)| *sigma2 *= gain * gain);
        }
    }
    Ok((spectra, warnings))
}
