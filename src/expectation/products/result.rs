//! From per-particle records and integer sums to the outcome of the step.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;

use crate::arena;
use crate::dataset::Assignment;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::Sums;
use crate::expectation::group::Group;
use crate::expectation::reference::WELL_RESOLVED;
use crate::expectation::task::{Comparison, Outcome, Task};
use crate::product::Voxel;

use super::batch::Record;
use super::batch::Setting;
use super::finished::{Contribution, Finished, OriginTerm};
use super::maximise::SHELL_UNITS;
use super::posterior::MASS_UNITS;
use super::work::Work;

/// Results of the batches so far.
pub struct Totals {
    assignments: Vec<Assignment>,
    contributions: Vec<Contribution>,
    /// Per optics group and image shell: residuals in units of the noise, as integers.
    residuals: Vec<Vec<i128>>,
    ctf2: Vec<Vec<i128>>,
    directions: Vec<Vec<i64>>,
    /// Per particle and class.
    origin_terms: Vec<OriginTerm>,
    set_aside: Vec<(u32, String)>,
    most_significant: usize,
    /// Per optics group one flag a block.
    blocks: Vec<Vec<u8>>,
    block_particles: usize,
    pub particles_done: usize,
    pub work: Work,
}

/// Voxels turned from integers into numbers at a time.
const PIECE: usize = 1 << 16;
/// Units of the residuals' integers.
const RESIDUAL_UNITS: f64 = (1_u64 << 32) as f64;

impl Totals {
    /// Nothing is finished yet. `members`: the particles of each optics group, by position among the task's.
    pub fn new(task: &Task<'_>, groups: &[Group], members: &[Vec<(usize, u32)>], block_particles: usize) -> Self {
        let shells = |group: &Group| vec![0_i128; group.box_pixels / 2 + 1];
        Self {
            blocks: members.iter().map(|of_group| vec![0; of_group.len().div_ceil(block_particles)]).collect(),
            block_particles,
            particles_done: 0,
            assignments: task.particles.iter().map(|p| task.assignments[*p as usize]).collect(),
            contributions: vec![Contribution::default(); task.particles.len()],
            residuals: groups.iter().map(shells).collect(),
            ctf2: groups.iter().map(shells).collect(),
            directions: vec![vec![0; task.orientations.direction_count()]; task.model.classes.len()],
            origin_terms: Vec::with_capacity(task.particles.len() * task.model.classes.len()),
            set_aside: Vec::new(),
            most_significant: 0,
            work: Work::default(),
        }
    }

    /// Takes over the records of a finished batch.
    pub fn add(&mut self, setting: &Setting<'_>, records: &[Record]) {
        for record in records {
            match &record.set_aside {
                Some(cause) => self.set_aside.push((record.index, cause.clone())),
                None => self.add_particle(setting, record),
            }
        }
    }

    fn add_particle(&mut self, setting: &Setting<'_>, record: &Record) {
        let (task, group, shape) = (setting.task, setting.group, &setting.shape);
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
                let miss = |class: usize| setting.reference_dc[class] * record.ctf_dc - record.masked_dc;
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
            self.origin_terms.push(OriginTerm {
                position: record.position as u32,
                class: class as u32,
                data: v0 * data * record.unmasked_dc,
                weight: v0 * weight,
            });
        }
        let old = before.norm_correction / task.model.average_norm;
        let norm = if likelihood { old * (2.0 * norm2.max(0.0)).sqrt() } else { before.norm_correction };
        let strongest = group.strongest_weight;
        let mut resolved = record.resolved.map(|units| units as f64 / SHELL_UNITS / strongest);
        for (class, m) in record.mass.iter().enumerate() {
            if task.model.classes[class].ssnr.get(group.model_shell[0]).is_some_and(|r| *r > WELL_RESOLVED) {
                let dc = setting.reference_dc[class] * record.ctf_dc;
                resolved[0] += m * dc * record.masked_dc;
                resolved[1] += m * dc * dc;
            }
        }
        self.contributions[record.position] = Contribution {
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
            let (class, orientation) = setting.split(pose);
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

    /// Takes over the direction masses of an optics group, which begin anew.
    pub fn take_directions(&mut self, mass: &[AtomicI64], directions: usize) {
        for (class, masses) in self.directions.iter_mut().zip(mass.chunks_exact(directions)) {
            for (sum, part) in class.iter_mut().zip(masses) {
                *sum += part.swap(0, Relaxed);
            }
        }
    }

    /// The same of a device: masses by class and direction.
    pub fn add_directions(&mut self, masses: &[i64]) {
        for (sum, part) in self.directions.iter_mut().flatten().zip(masses) {
            *sum += part;
        }
    }

    /// The blocks of a batch of an optics group's `members` are finished.
    pub fn finish_blocks(&mut self, optics: usize, members: &[(usize, u32)], batch: &[(usize, u32)]) {
        for block in batch.chunks(self.block_particles) {
            let place = members.partition_point(|(position, _)| *position < block[0].0);
            self.blocks[optics][place / self.block_particles] = 1;
            self.particles_done += block.len();
        }
    }

    /// The members of an optics group whose blocks are finished, in canonical order.
    fn finished_members(&self, optics: usize, members: &[(usize, u32)]) -> Vec<(usize, u32)> {
        let blocks = members.chunks(self.block_particles).zip(&self.blocks[optics]);
        blocks.filter(|(_, flag)| **flag > 0).flat_map(|(block, _)| block).copied().collect()
    }

    /// Per optics group the numbers of its unfinished blocks, the last first.
    pub fn unfinished(&self) -> Vec<Vec<u32>> {
        let numbers = |flags: &Vec<u8>| (0..flags.len() as u32).rev().filter(|b| flags[*b as usize] == 0).collect();
        self.blocks.iter().map(numbers).collect()
    }

    /// What is known of the finished blocks. `members`: those of each optics group.
    pub fn finished(&self, members: &[Vec<(usize, u32)>], scale: [f64; 2]) -> Finished {
        let of_group = members.iter().enumerate().flat_map(|(optics, of)| self.finished_members(optics, of));
        let mut positions: Vec<u32> = of_group.map(|(position, _)| position as u32).collect();
        positions.sort_unstable();
        Finished {
            contributions: positions.iter().map(|p| self.contributions[*p as usize]).collect(),
            assignments: positions.iter().map(|p| self.assignments[*p as usize]).collect(),
            positions,
            origin_terms: self.origin_terms.clone(),
            set_aside: self.set_aside.clone(),
            ..self.without_particles(scale)
        }
    }

    fn without_particles(&self, scale: [f64; 2]) -> Finished {
        Finished {
            blocks: self.blocks.clone(),
            scale: scale.to_vec(),
            positions: Vec::new(),
            contributions: Vec::new(),
            assignments: Vec::new(),
            origin_terms: Vec::new(),
            set_aside: Vec::new(),
            residuals: self.residuals.clone(),
            ctf2: self.ctf2.clone(),
            directions: self.directions.clone(),
            most_significant: self.most_significant,
        }
    }

    /// Adds what another process finished, earlier or beside this one. Everything in it is a number of one particle or
    /// an integer, so that the order does not matter.
    ///
    /// # Errors
    /// It is not of this step, or blocks were done twice.
    pub fn absorb(&mut self, scale: [f64; 2], other: Finished) -> Result<()> {
        // Rank 0 takes over hundreds of these: particles are not looked at again for each.
        other.belongs_to(&self.without_particles(scale), self.assignments.len())?;
        let flags = || self.blocks.iter().flatten().zip(other.blocks.iter().flatten());
        if flags().any(|(ours, theirs)| *ours > 0 && *theirs > 0) {
            return Err(Error::internal("a block of particles was done twice"));
        }
        for (ours, theirs) in self.blocks.iter_mut().flatten().zip(other.blocks.iter().flatten()) {
            *ours |= theirs;
        }
        let found = other.contributions.into_iter().zip(other.assignments);
        for (position, (contribution, assignment)) in other.positions.iter().zip(found) {
            self.contributions[*position as usize] = contribution;
            self.assignments[*position as usize] = assignment;
        }
        self.particles_done += other.positions.len();
        self.origin_terms.extend(other.origin_terms);
        self.set_aside.extend(other.set_aside);
        add(&mut self.residuals, &other.residuals);
        add(&mut self.ctf2, &other.ctf2);
        add(&mut self.directions, &other.directions);
        self.most_significant = self.most_significant.max(other.most_significant);
        Ok(())
    }

    /// Everything summed up. The integers of each class that `is_mine` names become its volume, in place.
    pub fn finish(
        mut self,
        task: &Task<'_>,
        groups: &[Group],
        volumes: &mut [&mut [SumVoxel]],
        is_mine: &dyn Fn(usize) -> bool,
        scale: [f64; 2],
        reference_power: Vec<Vec<f64>>,
    ) -> Outcome {
        let mut sums = Sums::zeros(task);
        let geometry = task.geometry();
        volumes.iter_mut().enumerate().filter(|(c, _)| is_mine(*c)).for_each(|(_, volume)| numbers(volume, scale));
        for (of_class, directions) in sums.directions.iter_mut().zip(&self.directions) {
            for (sum, units) in of_class.iter_mut().zip(directions) {
                *sum = *units as f64 / MASS_UNITS;
            }
        }
        // In canonical order, whatever the optics groups and batches were.
        self.origin_terms.sort_unstable_by_key(|term| (term.position, term.class));
        let origin = geometry.rows.index(0, 0, 0).expect("the origin is stored");
        for term in self.origin_terms.iter().filter(|term| is_mine(term.class as usize)) {
            volumes[term.class as usize][origin][0] += term.data;
            volumes[term.class as usize][origin][2] += term.weight;
        }
        for (position, part) in self.contributions.iter().enumerate().filter(|(_, part)| part.used) {
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
        self.set_aside.sort_unstable();
        Outcome {
            sums,
            assignments: self.assignments,
            most_significant: self.most_significant,
            coarse_samples,
            reference_power,
            set_aside: self.set_aside,
            work: self.work,
        }
    }
}

fn add<N: Copy + std::ops::AddAssign>(sums: &mut [Vec<N>], parts: &[Vec<N>]) {
    for (sum, part) in sums.iter_mut().flatten().zip(parts.iter().flatten()) {
        *sum += *part;
    }
}

/// Adds the further copies of each class's integers to its first, and leaves zeros in them.
pub fn merge_copies(volumes: &[Mutex<&mut [Voxel]>], copies: usize) {
    for of_class in volumes.chunks_exact(copies) {
        let mut of_class: Vec<_> = of_class.iter().map(|v| v.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        let (first, others) = of_class.split_first_mut().expect("one copy at least");
        for other in others {
            let pieces = first.par_chunks_mut(PIECE).zip(other.par_chunks_mut(PIECE));
            pieces.for_each(|(sums, parts)| {
                for (sum, part) in sums.as_flattened_mut().iter_mut().zip(parts.as_flattened_mut()) {
                    *sum = sum.wrapping_add(std::mem::take(part));
                }
            });
        }
    }
}

/// A class's integers become numbers in units of 1.
fn numbers(volume: &mut [SumVoxel], scale: [f64; 2]) {
    arena::recast::<SumVoxel, Voxel>(volume).par_chunks_mut(PIECE).for_each(|voxels| {
        for voxel in voxels {
            let [re, im, weight] = voxel.map(|v| v as f64);
            *voxel = [re / scale[0], im / scale[0], weight / scale[1]].map(|v| v.to_bits() as i64);
        }
    });
}
