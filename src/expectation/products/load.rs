//! Batch phase 1: images are read and prepared, and multiplied by what the products need.

use crate::dataset::spread;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::prepare;
use crate::expectation::prior::OffsetPrior;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::expectation::task::Task;

use super::ahead;
use super::ahead::Batch;
use super::batch::{Loader, Record, Setting, scalar};
use super::shape::Shape;

/// The rows of one particle.
pub struct ParticleRows<'r, T> {
    pub masked: &'r mut [T],
    pub unmasked: &'r mut [T],
    pub power: &'r mut [T],
    pub weight: &'r mut [T],
    pub log_offsets: &'r mut [T],
}

/// Largest coefficients that the integer sums are scaled for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub data: f64,
    pub weight: f64,
}

/// Prepares the particle of `record`, the one at place `p` of the batch.
pub fn load<T: Scalar>(
    setting: &Setting<'_>,
    limits: Limits,
    images: Batch<'_>,
    p: usize,
    record: &mut Record,
    loader: &mut Loader,
    rows: ParticleRows<'_, T>,
) -> Result<()> {
    let (task, group) = (setting.task, setting.group);
    let particle = &task.dataset.particles[record.index as usize];
    let names = [particle.image, ahead::reconstruct_image(task.dataset, record.index)];
    for (which, pixels) in loader.pixels.iter_mut().enumerate() {
        images.decode(p, which, names[which], pixels);
        if let Some(at) = pixels.iter().position(|v| !v.is_finite()) {
            record.set_aside = Some(not_finite(group, pixels[at], at));
            return Ok(());
        }
        if let Some(usual) = task.usual_spread[which].get(group.optics) {
            task.dataset.refuse_wild(names[which], spread(pixels), *usual)?;
        }
    }
    let prepared = &mut loader.prepared;
    let (pixels, replacement) = (&loader.pixels[0], loader.pixels.get(1).map(Vec::as_slice));
    prepare::prepare(task, group, record.index, pixels, replacement, &mut loader.workspace, prepared)?;
    let premultiplied = task.dataset.optics[group.optics].ctf_premultiplied;
    let weigh = task.comparison == Comparison::Likelihood;
    let mut inside = 0.0;
    let mut largest = [0.0_f64; 2];
    record.correlation_power = 0.0;
    for i in 0..group.count() {
        let (c, v) = (prepared.ctf[i], group.noise_weight[i]);
        let in_products = if weigh { v } else { 1.0 };
        let masked = prepared.masked[i] * (in_products * c);
        rows.masked[2 * i] = scalar(masked.re);
        rows.masked[2 * i + 1] = scalar(masked.im);
        rows.power[i] = scalar(in_products * c * c);
        let data_factor = if premultiplied { prepared.group_scale } else { c };
        let unmasked = prepared.unmasked[i] * (v * data_factor);
        rows.unmasked[2 * i] = scalar(unmasked.re);
        rows.unmasked[2 * i + 1] = scalar(unmasked.im);
        let weight = v * if premultiplied { c * prepared.group_scale } else { c * c };
        rows.weight[i] = scalar(weight);
        inside += v * prepared.masked[i].norm_sqr();
        record.correlation_power += prepared.masked[i].norm_sqr();
        largest = [largest[0].max(unmasked.norm_sqr()), largest[1].max(weight)];
    }
    if premultiplied {
        record.ctf2.resize(setting.shape.shells, 0.0);
        for (shell, c) in group.shell.iter().zip(&prepared.ctf) {
            record.ctf2[usize::from(*shell)] += c;
        }
    }
    record.set_aside = unusable(limits, largest, prepared.weighted_power);
    if record.set_aside.is_some() {
        return Ok(());
    }
    debug_assert!(inside <= prepared.weighted_power * (1.0 + 1e-9));
    record.constant = 0.5 * (prepared.weighted_power + power_beyond(group, &prepared.power));
    record.offset_pixels = prepared.offset_pixels;
    record.group_scale = prepared.group_scale;
    (record.masked_dc, record.unmasked_dc, record.ctf_dc) = (prepared.masked_dc, prepared.unmasked_dc, prepared.ctf_dc);
    record.power.clone_from(&prepared.power);

    record.log_prior_sum = fill_offset_priors(task, group, &setting.shape, record, rows.log_offsets);
    Ok(())
}

/// Why an image is left out whose pixel `at` is no finite number.
pub fn not_finite(group: &Group, value: f32, at: usize) -> String {
    format!("the image holds {value} at pixel ({}, {})", at % group.box_pixels, at / group.box_pixels)
}

/// Why a particle is left out, if it is: by its largest squared data and weight, and its weighted power.
pub fn unusable(limits: Limits, largest: [f64; 2], weighted_power: f64) -> Option<String> {
    if weighted_power == 0.0 {
        return Some("the image has no signal and no noise".to_owned());
    }
    let data = largest[0].sqrt();
    (data > limits.data || largest[1] > limits.weight)
        .then(|| format!("the image is {:.0} times stronger than the noise model allows", data / limits.data * 4096.0))
}

/// sum 1/sigma2 |F|^2 of the shells beyond the window.
pub fn power_beyond(group: &Group, power: &[f64]) -> f64 {
    let beyond = group.size / 2 + 1;
    power[beyond..].iter().zip(&group.inverse_sigma2[beyond..]).map(|(p, v)| p * v).sum()
}

/// Log priors of the translations of a particle whose offset is known, then of their children; returns the log of the
/// sum of all priors of its fine search.
pub fn fill_offset_priors<T: Scalar>(
    task: &Task<'_>,
    group: &Group,
    shape: &Shape,
    record: &Record,
    log_offsets: &mut [T],
) -> f64 {
    let list = task.translations;
    let prior = OffsetPrior::new(task, group, record.index, record.offset_pixels);
    let (coarse, fine) = log_offsets.split_at_mut(list.count());
    let mut sum = 0.0;
    for t in 0..list.count() {
        let parent = prior.coarse(list, t);
        coarse[t] = scalar(parent.ln());
        for step in 0..list.child_count() {
            let density = parent * prior.child_ratio(list, t, step);
            sum += density;
            fine[t * list.child_count() + step] = scalar(density.ln());
        }
    }
    // Orientation priors sum to 1 over the list; a global prior is per direction, shared by its psis.
    let psis = if shape.local { 1.0 } else { task.orientations.psi_count() as f64 };
    (sum * psis * shape.turns as f64).ln()
}
