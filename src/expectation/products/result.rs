//! From per-particle records and integer sums to the outcome of the step.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;

use crate::arena;
use crate::dataset::Assignment;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::Sums;
use crate::expectation::group::Group;
use crate::expectation::reference::WELL_RESOLVED;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::{Comparison, Outcome, Task};
use crate::imaging::Geometry;
use crate::product::Voxel;

use super::batch::{Context, Record};
use super::maximise::SHELL_UNITS;
use super::posterior::MASS_UNITS;
use super::shape::Shape;

/// One particle's contribution to what is summed in canonical order.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    norm: f64,
    offset2: f64,
    mass: f64,
    xa: f64,
    aa: f64,
    used: bool,
}

/// Results of the batches so far.
pub struct Totals {
    assignments: Vec<Assignment>,
    parts: Vec<Part>,
    /// Per optics group and image shell: residuals in units of the noise, as integers.
    residuals: Vec<Vec<i128>>,
    ctf2: Vec<Vec<i128>>,
    directions: Vec<Vec<i64>>,
    /// Per particle and class: data and weight at the zero frequency, which lies on the origin in every pose.
    origin_terms: Vec<(usize, usize, [f64; 2])>,
    set_aside: Vec<(u32, String)>,
    most_significant: usize,
}

/// Voxels turned from integers into numbers at a time.
const PIECE: usize = 1 << 16;
/// Units of the residuals' integers.
const RESIDUAL_UNITS: f64 = (1_u64 << 32) as f64;

impl Totals {
    pub fn new(task: &Task<'_>, groups: &[Group]) -> Self {
        let shells = |group: &Group| vec![0_i128; group.box_pixels / 2 + 1];
        Self {
            assignments: task.particles.iter().map(|p| task.assignments[*p as usize]).collect(),
            parts: vec![Part::default(); task.particles.len()],
            residuals: groups.iter().map(shells).collect(),
            ctf2: groups.iter().map(shells).collect(),
            directions: vec![vec![0; task.orientations.direction_count()]; task.model.classes.len()],
            origin_terms: Vec::with_capacity(task.particles.len() * task.model.classes.len()),
            set_aside: Vec::new(),
            most_significant: 0,
        }
    }

    /// Takes over the records of a finished batch.
    pub fn add<T: Scalar>(&mut self, task: &Task<'_>, context: &Context<'_, T>, records: &[Record]) {
        for record in records {
            match &record.set_aside {
                Some(cause) => self.set_aside.push((record.index, cause.clone())),
                None => self.add_particle(task, context, record),
            }
        }
    }

    fn add_particle<T: Scalar>(&mut self, task: &Task<'_>, context: &Context<'_, T>, record: &Record) {
        let (group, shape) = (context.group, &context.shape);
        let before = &task.assignments[record.index as usize];
        let mass: f64 = record.mass.iter().sum();
        let likelihood = task.comparison == Comparison::Likelihood;
        let mut norm2 = 0.0;
        for shell in 0..shape.shells {
            // Sums of squares are in units of 1/v; where the noise is unknown they stay as they are.
            let v = group.inverse_sigma2[shell];
            let unit = if v > 0.0 { v } else { 1.0 };
            let power = unit * record.power[shell];
            let residual = if shell == 0 {
                let miss = |class: usize| context.reference_dc(class) * record.ctf_dc - record.masked_dc;
                record.mass.iter().enumerate().map(|(class, m)| m * unit * miss(class).powi(2)).sum()
            } else if shell > group.size / 2 {
                power
            } else {
                (record.own[shell] as f64 - 2.0 * record.cross[shell] as f64) / SHELL_UNITS + power * mass
            };
            if likelihood {
                self.residuals[group.optics][shell] += (residual * RESIDUAL_UNITS).round_ties_even() as i128;
            }
            norm2 += residual / unit;
        }
        let optics = &task.dataset.optics[group.optics];
        if optics.ctf_premultiplied {
            self.add_ctf2(group, record, mass);
        }
        for (class, m) in record.mass.iter().enumerate() {
            let v0 = group.inverse_sigma2[0] * m;
            let (data, weight) = if optics.ctf_premultiplied {
                (record.group_scale, record.ctf_dc * record.group_scale)
            } else {
                (record.ctf_dc, record.ctf_dc * record.ctf_dc)
            };
            self.origin_terms.push((record.position, class, [v0 * data * record.unmasked_dc, v0 * weight]));
        }
        let old = before.norm_correction / task.model.average_norm;
        let norm = if likelihood { old * (2.0 * norm2.max(0.0)).sqrt() } else { before.norm_correction };
        let strongest = group.strongest_weight;
        let mut resolved = record.resolved.map(|units| units as f64 / SHELL_UNITS / strongest);
        for (class, m) in record.mass.iter().enumerate() {
            if task.model.classes[class].ssnr.get(group.model_shell[0]).is_some_and(|r| *r > WELL_RESOLVED) {
                let dc = context.reference_dc(class) * record.ctf_dc;
                resolved[0] += m * dc * record.masked_dc;
                resolved[1] += m * dc * dc;
            }
        }
        self.parts[record.position] = Part {
            norm,
            offset2: record.offset2,
            mass,
            xa: resolved[0] / record.group_scale,
            aa: resolved[1] / (record.group_scale * record.group_scale),
            used: true,
        };
        self.most_significant = self.most_significant.max(record.coarse_kept);
        let assignment = &mut self.assignments[record.position];
        if task.options.norm_correction && likelihood {
            assignment.norm_correction = norm;
        }
        assignment.significant_samples = record.coarse_kept as u32;
        assignment.max_probability = 1.0 / record.total;
        assignment.log_likelihood = if likelihood {
            record.total.ln() - record.min_energy - record.constant - record.log_prior_sum - group.log_normaliser
        } else {
            -record.min_energy
        };
        if let Some((pose, translation, child)) = record.best_pose {
            let (class, orientation) = context.split(pose);
            let (turn, step) = (child as usize / shape.steps, child as usize % shape.steps);
            assignment.class = class as u32 + 1;
            assignment.euler = task.orientations.child_euler(orientation, turn);
            let by = task.translations.child(translation as usize, step);
            assignment.offset_angstrom =
                std::array::from_fn(|a| record.offset_pixels[a] * group.pixel_size_angstrom + by[a]);
        }
    }

    fn add_ctf2(&mut self, group: &Group, record: &Record, mass: f64) {
        for (shell, sum) in self.ctf2[group.optics].iter_mut().enumerate() {
            *sum += (mass * record.ctf2.get(shell).copied().unwrap_or(0.0) * RESIDUAL_UNITS).round_ties_even() as i128;
        }
    }

    /// Takes over the direction masses of an optics group.
    pub fn add_directions(&mut self, mass: &[AtomicI64], shape: &Shape) {
        for (class, masses) in self.directions.iter_mut().zip(mass.chunks_exact(shape.directions)) {
            for (sum, part) in class.iter_mut().zip(masses) {
                *sum += part.load(Relaxed);
            }
        }
    }

    /// Everything summed up. The first copy of each class's integers becomes its volume, in place.
    pub fn finish(
        mut self,
        task: &Task<'_>,
        geometry: &Geometry,
        groups: &[Group],
        volumes: Vec<Mutex<&mut [Voxel]>>,
        copies: usize,
        scale: [f64; 2],
        reference_power: Vec<Vec<f64>>,
    ) -> Result<Outcome> {
        let mut sums = Sums::zeros(task);
        let mut copies_of: Vec<&mut [Voxel]> =
            volumes.into_iter().map(|v| v.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        let mut volumes: Vec<&mut [SumVoxel]> =
            copies_of.chunks_exact_mut(copies).map(|of_class| numbers(of_class, scale)).collect();
        for (of_class, directions) in sums.directions.iter_mut().zip(&self.directions) {
            for (sum, units) in of_class.iter_mut().zip(directions) {
                *sum = *units as f64 / MASS_UNITS;
            }
        }
        // In canonical order, whatever the optics groups and batches were.
        self.origin_terms.sort_unstable_by_key(|(position, class, _)| (*position, *class));
        let origin = geometry.rows.index(0, 0, 0).expect("the origin is stored");
        for (_, class, [data, weight]) in &self.origin_terms {
            volumes[*class][origin][0] += data;
            volumes[*class][origin][2] += weight;
        }
        for (position, part) in self.parts.iter().enumerate().filter(|(_, p)| p.used) {
            let record = &task.dataset.particles[task.particles[position] as usize];
            sums.norm += part.norm;
            sums.offset2_angstrom2 += part.offset2;
            sums.noise_mass[record.optics as usize] += part.mass;
            sums.scale_xa[record.group as usize] += part.xa;
            sums.scale_aa[record.group as usize] += part.aa;
            sums.log_likelihood += self.assignments[position].log_likelihood;
            sums.max_probability += self.assignments[position].max_probability;
            sums.particle_count += 1;
        }
        for group in groups {
            for (shell, units) in self.residuals[group.optics].iter().enumerate() {
                let v = group.inverse_sigma2[shell];
                let unit = if v > 0.0 { v } else { 1.0 };
                if let Some(place) = sums.noise[group.optics].get_mut(group.model_shell[shell]) {
                    *place += *units as f64 / RESIDUAL_UNITS / unit;
                }
                if let Some(place) = sums.ctf2[group.optics].get_mut(group.model_shell[shell]) {
                    *place += self.ctf2[group.optics][shell] as f64 / RESIDUAL_UNITS;
                }
            }
        }
        let coarse_samples = task.model.classes.len() * task.orientations.count() * task.translations.count();
        Ok(Outcome {
            sums,
            assignments: self.assignments,
            most_significant: self.most_significant,
            coarse_samples,
            reference_power,
            set_aside: self.set_aside,
        })
    }
}

/// Adds the copies of a class's integers to the first, which becomes numbers in units of 1.
fn numbers<'v>(copies: &'v mut [&mut [Voxel]], scale: [f64; 2]) -> &'v mut [SumVoxel] {
    let (first, others) = copies.split_first_mut().expect("one copy at least");
    let others: Vec<&[Voxel]> = others.iter().map(|v| &**v).collect();
    first.par_chunks_mut(PIECE).enumerate().for_each(|(piece, voxels)| {
        for (i, voxel) in voxels.iter_mut().enumerate() {
            for other in &others {
                for (sum, part) in voxel.iter_mut().zip(other[piece * PIECE + i]) {
                    *sum = sum.wrapping_add(part);
                }
            }
            let [re, im, weight] = voxel.map(|v| v as f64);
            *voxel = [re / scale[0], im / scale[0], weight / scale[1]].map(|v| v.to_bits() as i64);
        }
    });
    arena::recast(first)
}
