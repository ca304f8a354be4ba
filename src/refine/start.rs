//! The state before the first iteration.

use crate::dataset::WILD_FACTOR;
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

/// Most particles that the initial noise is estimated from.
const NOISE_PARTICLES: usize = 1000;
/// Shares of bad images above which the run stops.
const MOST_BAD: f64 = 0.1;

/// The state of iteration 0, and warnings.
pub fn state(plan: &Plan, inputs: &Inputs, images: &Images<'_>) -> Result<(State, Vec<String>)> {
    let (noise, warnings) = noise(plan, inputs, images)?;
    Ok((with_noise(plan, inputs, &noise)?, warnings))
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

/// Noise spectra from the first particles in canonical order.
fn noise(plan: &Plan, inputs: &Inputs, images: &Images<'_>) -> Result<(Vec<Vec<f64>>, Vec<String>)> {
    let dataset = &inputs.dataset;
    let model = (inputs.box_pixels(), inputs.pixel_size_angstrom());
    let mut estimate = InitialNoise::new(model.0, dataset.optics.len());
    let masks: Vec<CircularMask<f64>> = dataset
        .optics
        .iter()
        .map(|o| {
            let radius = plan.diameter_angstrom / (2.0 * o.pixel_size_angstrom);
            CircularMask::new(o.box_pixels, radius, plan.mask_edge_pixels)
        })
        .collect();
    let mut warnings = Vec::new();
    let Tried { images: tried, usual } = deviations(inputs, images)?;
    for (index, deviation) in &tried {
        let (index, group) = (*index, dataset.particles[*index as usize].optics as usize);
        let what = match deviation {
            Deviation::NotFinite => Some("holds values that are not numbers".to_owned()),
            Deviation::Of(0.0) => Some("is constant".to_owned()),
            Deviation::Of(d) if *d > WILD_FACTOR * usual[group] => {
                return Err(Error::bad_data(
                    images.name(index),
                    format!("the pixels spread {:.3e} times as wide as those of most images", d / usual[group]),
                    "Normalise the images, or remove this one: alone it would outweigh all others in the map.",
                ));
            }
            Deviation::Of(_) => None,
        };
        if let Some(what) = what {
            warnings.push(format!("{} {what}: not used for the noise", images.name(index)));
            continue;
        }
        let optics = &dataset.optics[group];
        let n = optics.box_pixels;
        let mut pixels = vec![0.0_f32; n * n];
        images.read(index, &mut pixels)?;
        let mut image: Vec<f64> = pixels.iter().map(|v| f64::from(*v)).collect();
        if plan.zero_mask {
            masks[group].fill_with_mean(&mut image);
        }
        let from = (n, optics.pixel_size_angstrom);
        let image = if from == model { image } else { initial::resample(&image, from, model) };
        estimate.add(group, &image);
    }
    let (bad, tried) = (warnings.len(), tried.len());
    if bad as f64 > MOST_BAD * tried as f64 {
        return Err(Error::bad_data(
            plan.particles.display().to_string(),
            format!("{bad} of the first {tried} images cannot be used; the first: {}", warnings[0]),
            "Extract the particles again, or remove the bad ones (`relion-rs check` lists them).",
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

/// Spread of the pixels of an image.
enum Deviation {
    NotFinite,
    /// Standard deviation.
    Of(f64),
}

/// The images that the noise may be estimated from.
struct Tried {
    /// Particles with the spread of their pixels.
    images: Vec<(u32, Deviation)>,
    /// Median standard deviation of each optics group.
    usual: Vec<f64>,
}

/// The first particles of every optics group.
fn deviations(inputs: &Inputs, images: &Images<'_>) -> Result<Tried> {
    let dataset = &inputs.dataset;
    let mut all = Vec::new();
    let mut of_group: Vec<Vec<f64>> = vec![Vec::new(); dataset.optics.len()];
    for (index, particle) in (0_u32..).zip(&dataset.particles) {
        let group = particle.optics as usize;
        if of_group[group].len() >= NOISE_PARTICLES {
            continue;
        }
        let n = dataset.optics[group].box_pixels;
        let mut pixels = vec![0.0_f32; n * n];
        images.read(index, &mut pixels)?;
        let deviation = if pixels.iter().any(|v| !v.is_finite()) {
            Deviation::NotFinite
        } else if pixels.iter().all(|v| *v == pixels[0]) {
            Deviation::Of(0.0)
        } else {
            let count = pixels.len() as f64;
            let mean = pixels.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
            let spread = (pixels.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count).sqrt();
            of_group[group].push(spread);
            Deviation::Of(spread)
        };
        all.push((index, deviation));
    }
    let median = |spreads: &mut Vec<f64>| {
        spreads.sort_by(f64::total_cmp);
        spreads.get(spreads.len() / 2).copied().unwrap_or(0.0)
    };
    Ok(Tried { images: all, usual: of_group.iter_mut().map(median).collect() })
}
