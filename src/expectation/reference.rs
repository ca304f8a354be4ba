//! The plain expectation step: one particle, one pose, one pixel at a time, in f64. It is slow and it is the
//! definition of right: the product engine is tested against it, and it against RELION's numbers.

use num_complex::Complex;

use crate::dataset::ImageName;
use crate::error::Result;
use crate::imaging::Projector;
use crate::imaging::backproject;
use crate::imaging::shift;
use crate::rotation::Euler;

use super::SumVoxel;
use super::Sums;
use super::group::Group;
use super::prepare::{self, Prepared, Workspace};
use super::prior::OffsetPrior;
use super::task::{Comparison, Outcome, Task};

/// Reads an image into a buffer of its box.
pub type ReadImage<'a> = dyn Fn(ImageName, &mut [f32]) -> Result<()> + 'a;

/// One pose of one class that is tried.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    class: u32,
    orientation: u32,
    /// Child of the orientation; `None`: the orientation itself.
    child: Option<u32>,
    translation: u32,
    translation_child: Option<u32>,
    /// Prior probability, up to a constant of the pass.
    prior: f64,
}

/// What particles are added to.
struct Target<'t, 'v> {
    sums: Sums,
    volumes: &'t mut [&'v mut [SumVoxel]],
}

/// One particle and everything it is compared with.
struct Search<'a> {
    task: &'a Task<'a>,
    group: &'a Group,
    projectors: &'a [Projector<f64>],
    particle: &'a Prepared,
    offsets: OffsetPrior,
}

/// Runs the step, and adds to the volumes, one a class in the rows of [`Task::geometry`].
pub fn expect(task: &Task<'_>, read: &ReadImage<'_>, volumes: &mut [&mut [SumVoxel]]) -> Result<Outcome> {
    let (n, padding) = (task.box_pixels(), task.options.padding);
    let projectors: Vec<Projector<f64>> =
        task.model.classes.iter().map(|class| Projector::new(&class.map.data, n, padding, task.current_size)).collect();
    let geometry = &projectors[0].geometry;
    let groups: Vec<Group> = (0..task.dataset.optics.len()).map(|optics| Group::new(task, geometry, optics)).collect();
    let mut target = Target { sums: Sums::zeros(task), volumes };
    let mut assignments = Vec::with_capacity(task.particles.len());
    let mut most_significant = 0;
    let mut prepared = Prepared::default();
    for (position, &index) in task.particles.iter().enumerate() {
        let record = &task.dataset.particles[index as usize];
        let group = &groups[record.optics as usize];
        let mut work = Workspace::new(group);
        let mut pixels = vec![0.0; group.box_pixels * group.box_pixels];
        read(record.image, &mut pixels)?;
        let mut replacement = None;
        if let Some(image) = record.reconstruct_image.filter(|_| task.reconstruct_images) {
            let mut pixels = pixels.clone();
            read(image, &mut pixels)?;
            replacement = Some(pixels);
        }
        prepare::prepare(task, group, index, &pixels, replacement.as_deref(), &mut work, &mut prepared)?;
        let offsets = OffsetPrior::new(task, group, index, prepared.offset_pixels);
        let search = Search { task, group, projectors: &projectors, particle: &prepared, offsets };
        let (assignment, kept) = search.run(index, position, &mut target)?;
        most_significant = most_significant.max(kept);
        assignments.push(assignment);
    }
    let Target { mut sums, .. } = target;
    sums.particle_count = task.particles.len();
    let coarse_samples = task.model.classes.len() * task.orientations.count() * task.translations.count();
    let reference_power = projectors.into_iter().map(|p| p.power).collect();
    Ok(Outcome { sums, assignments, most_significant, coarse_samples, reference_power, set_aside: Vec::new() })
}

impl Search<'_> {
    fn run(
        &self,
        index: u32,
        position: usize,
        target: &mut Target<'_, '_>,
    ) -> Result<(crate::dataset::Assignment, usize)> {
        let task = self.task;
        let before = task.assignments[index as usize];
        let coarse = self.coarse_candidates(index, position);
        let adaptive = task.translations.child_count() > 1;
        let coarse_count = if adaptive { self.group.coarse_count } else { self.group.count() };
        let coarse_scores = self.scores(&coarse, coarse_count);
        let mean = self.prior_mean(&coarse);
        let (weights, _) = self.weights(&coarse, &coarse_scores, mean);
        let (threshold, kept) = self.significant(&weights);
        let (fine, scores) = if adaptive {
            let fine: Vec<Candidate> = coarse
                .iter()
                .zip(&weights)
                .filter(|(_, w)| **w >= threshold)
                .flat_map(|(candidate, _)| self.children(candidate))
                .collect();
            let scores = self.scores(&fine, self.group.count());
            (fine, scores)
        } else {
            (coarse, coarse_scores)
        };
        let mean = if task.options.parity { mean } else { self.prior_sum() };
        let (weights, least) = self.weights(&fine, &scores, mean);
        let total: f64 = weights.iter().sum();
        let (threshold, _) = self.significant(&weights);
        let best = (0..fine.len()).fold(0, |best, i| if weights[i] > weights[best] { i } else { best });

        let posterior: Vec<(Candidate, f64)> = fine
            .iter()
            .zip(&weights)
            .filter(|(_, w)| **w >= threshold)
            .map(|(candidate, w)| (*candidate, w / total))
            .collect();
        let log_likelihood = match task.comparison {
            Comparison::CrossCorrelation => -least,
            Comparison::Likelihood => total.ln() - least - self.group.log_normaliser,
        };
        let max_probability = weights[best] / total;
        let norm = self.accumulate(index, &posterior, before.norm_correction, target);
        target.sums.log_likelihood += log_likelihood;
        target.sums.max_probability += max_probability;

        let winner = fine[best];
        let translation = self.translation(&winner);
        let offset: [f64; 2] = std::array::from_fn(|a| self.particle.offset_pixels[a] + translation[a]);
        let assignment = crate::dataset::Assignment {
            euler: self.euler(&winner),
            offset_angstrom: offset.map(|o| o * self.group.pixel_size_angstrom),
            class: winner.class + 1,
            norm_correction: if task.options.norm_correction { norm } else { before.norm_correction },
            log_likelihood,
            max_probability,
            significant_samples: kept as u32,
        };
        Ok((assignment, kept))
    }

    /// Every coarse pose with a prior above zero.
    fn coarse_candidates(&self, index: u32, position: usize) -> Vec<Candidate> {
        let task = self.task;
        let grid = task.orientations;
        let mut listed = Vec::new();
        task.search.list(index, task.assignments[index as usize].euler, &mut listed);
        let mut all = Vec::new();
        for (k, class) in task.model.classes.iter().enumerate() {
            if task.only_class.is_some_and(|only| only[position] as usize != k) || class.share <= 0.0 {
                continue;
            }
            let everywhere = || (0..grid.count()).map(|o| (o as u32, class.directions[grid.direction_of(o)]));
            let share = task.class_prior(class);
            let of_list = || listed.iter().map(|(o, prior)| (*o, prior * share)).collect();
            let poses: Vec<(u32, f64)> = if task.search.is_listed() { of_list() } else { everywhere().collect() };
            for (orientation, prior) in poses {
                for translation in 0..task.translations.count() {
                    let prior = prior * self.offsets.coarse(task.translations, translation);
                    if prior > 0.0 {
                        let class = k as u32;
                        all.push(Candidate {
                            class,
                            orientation,
                            child: None,
                            translation: translation as u32,
                            translation_child: None,
                            prior,
                        });
                    }
                }
            }
        }
        all
    }

    fn children<'c>(&'c self, parent: &'c Candidate) -> impl Iterator<Item = Candidate> + 'c {
        let (turns, steps) = (self.task.orientations.child_count(), self.task.translations.child_count());
        (0..turns).flat_map(move |child| {
            (0..steps).map(move |step| {
                let ratio = self.offsets.child_ratio(self.task.translations, parent.translation as usize, step);
                Candidate {
                    child: Some(child as u32),
                    translation_child: Some(step as u32),
                    prior: parent.prior * ratio,
                    ..*parent
                }
            })
        })
    }

    fn inverse(&self, candidate: &Candidate) -> crate::rotation::Matrix3 {
        let grid = self.task.orientations;
        let orientation = candidate.orientation as usize;
        let rotation = match candidate.child {
            Some(child) => grid.child_matrix(orientation, child as usize),
            None => grid.matrix(orientation),
        };
        self.group.scale.inverse(&rotation)
    }

    fn euler(&self, candidate: &Candidate) -> Euler {
        let grid = self.task.orientations;
        match candidate.child {
            Some(child) => grid.child_euler(candidate.orientation as usize, child as usize),
            None => grid.euler(candidate.orientation as usize),
        }
    }

    /// Translation in pixels, relative to the rounded old offset.
    fn translation(&self, candidate: &Candidate) -> [f64; 2] {
        let list = self.task.translations;
        self.group.pixels(match candidate.translation_child {
            Some(child) => list.child(candidate.translation as usize, child as usize),
            None => list.coarse(candidate.translation as usize),
        })
    }

    /// CTF times slice, for every pixel of the group.
    fn reference(&self, candidate: &Candidate) -> Vec<Complex<f64>> {
        let mut slice = vec![Complex::default(); self.group.count()];
        let projector = &self.projectors[candidate.class as usize];
        projector.slice(&self.inverse(candidate), &self.group.kx, &self.group.ky, &mut slice);
        slice.iter().zip(&self.particle.ctf).map(|(p, c)| p * c).collect()
    }

    /// The zero frequency of the same.
    fn reference_dc(&self, class: u32) -> f64 {
        let projector = &self.projectors[class as usize];
        let origin = projector.geometry.rows.index(0, 0, 0).expect("the origin is stored");
        projector.data[origin].re * self.particle.ctf_dc
    }

    fn shifted(&self, image: &[Complex<f64>], by: [f64; 2]) -> Vec<Complex<f64>> {
        let group = self.group;
        let mut phases = vec![Complex::default(); group.count()];
        shift::phase_factors(&group.kx, &group.ky, by[0], by[1], group.box_pixels, &mut phases);
        image.iter().zip(&phases).map(|(x, s)| x * s).collect()
    }

    /// Squared difference (or negative correlation) of every candidate over the first `count` pixels.
    fn scores(&self, candidates: &[Candidate], count: usize) -> Vec<f64> {
        let group = self.group;
        let v: Vec<f64> = group.shell.iter().map(|s| group.inverse_sigma2[usize::from(*s)]).collect();
        let inside: f64 = (0..count).map(|i| v[i] * self.particle.masked[i].norm_sqr()).sum();
        let beyond: f64 = self.particle.power[group.size / 2 + 1..]
            .iter()
            .zip(&group.inverse_sigma2[group.size / 2 + 1..])
            .map(|(p, v)| p * v)
            .sum();
        let beyond = if self.task.options.parity { self.particle.high_power } else { beyond };
        let constant = 0.5 * (self.particle.weighted_power - inside + beyond);
        let mut shifts = std::collections::HashMap::new();
        let mut last: Option<(Candidate, Vec<Complex<f64>>)> = None;
        let mut scores = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let same = |other: &Candidate| {
                (other.class, other.orientation, other.child)
                    == (candidate.class, candidate.orientation, candidate.child)
            };
            if !last.as_ref().is_some_and(|(other, _)| same(other)) {
                last = Some((*candidate, self.reference(candidate)));
            }
            let Some((_, reference)) = &last else { continue };
            let image: &Vec<Complex<f64>> = shifts
                .entry((candidate.translation, candidate.translation_child))
                .or_insert_with(|| self.shifted(&self.particle.masked, self.translation(candidate)));
            let score = match self.task.comparison {
                Comparison::Likelihood => {
                    let sum: f64 = (0..count).map(|i| v[i] * (reference[i] - image[i]).norm_sqr()).sum();
                    constant + 0.5 * sum
                }
                Comparison::CrossCorrelation => self.correlation(candidate.class, &reference[..count], image),
            };
            scores.push(score);
        }
        scores
    }

    /// Minus the normalised cross-correlation.
    fn correlation(&self, class: u32, reference: &[Complex<f64>], image: &[Complex<f64>]) -> f64 {
        let group = self.group;
        let size = if reference.len() < group.count() { group.coarse_size } else { group.size };
        let (mut both, mut own, mut image_power) = (0.0, 0.0, 0.0);
        for (i, r) in reference.iter().enumerate() {
            // RELION counts both Friedel mates of the column kx = 0, and the zero frequency.
            let twice =
                self.task.options.parity && group.kx[i] == 0 && usize::from(group.ky[i].unsigned_abs()) < size / 2;
            let times = if twice { 2.0 } else { 1.0 };
            both += times * (r * image[i].conj()).re;
            own += times * r.norm_sqr();
            image_power += times * image[i].norm_sqr();
        }
        if self.task.options.parity {
            let dc = self.reference_dc(class);
            both += dc * self.particle.masked_dc;
            own += dc * dc;
            image_power = self.particle.stored_power;
        }
        if own > 0.0 && image_power > 0.0 { -both / (own.sqrt() * image_power.sqrt()) } else { 0.0 }
    }

    /// Posterior weights, up to their sum; and the smallest score.
    fn weights(&self, candidates: &[Candidate], scores: &[f64], mean: f64) -> (Vec<f64>, f64) {
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let weights = match self.task.comparison {
            Comparison::CrossCorrelation => {
                let best = scores.iter().position(|s| *s == least);
                (0..scores.len()).map(|i| if Some(i) == best { 1.0 } else { 0.0 }).collect()
            }
            Comparison::Likelihood => {
                let weight = |(c, s): (&Candidate, &f64)| {
                    let exponent = s - least;
                    if exponent > LARGEST_EXPONENT { 0.0 } else { c.prior / mean * (-exponent).exp() }
                };
                candidates.iter().zip(scores).map(weight).collect()
            }
        };
        (weights, least)
    }

    /// RELION's constant: the product of the mean priors of the poses and of the offsets of the coarse search.
    fn prior_mean(&self, candidates: &[Candidate]) -> f64 {
        let (mut poses, mut pose_count, mut offsets, mut offset_count) = (0.0, 0.0, 0.0, 0.0);
        let mut seen_poses = std::collections::HashSet::new();
        let mut seen_offsets = std::collections::HashSet::new();
        for c in candidates {
            let offset = self.offsets.coarse(self.task.translations, c.translation as usize);
            if seen_poses.insert((c.class, c.orientation)) {
                poses += c.prior / offset;
                pose_count += 1.0;
            }
            if seen_offsets.insert(c.translation) {
                offsets += offset;
                offset_count += 1.0;
            }
        }
        poses / pose_count * offsets / offset_count
    }

    /// Sum of the priors of all fine samples: with it the log-likelihood does not depend on how fine the search is.
    fn prior_sum(&self) -> f64 {
        let (list, grid) = (self.task.translations, self.task.orientations);
        let offsets: f64 = (0..list.count())
            .flat_map(|t| (0..list.child_count()).map(move |step| (t, step)))
            .map(|(t, step)| self.offsets.of(list, t, Some(step as u32)))
            .sum();
        let psis = if self.task.search.is_listed() { 1.0 } else { grid.psi_count() as f64 };
        offsets * psis * grid.child_count() as f64
    }

    /// Smallest weight of the significant set, and the size of the set.
    fn significant(&self, weights: &[f64]) -> (f64, usize) {
        let mut sorted: Vec<f64> = weights.iter().copied().filter(|w| *w > 0.0).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let wanted = self.task.options.adaptive_fraction * sorted.iter().sum::<f64>();
        let most = self.task.options.max_significant.map_or(usize::MAX, |m| m as usize);
        let mut held = 0.0;
        for (i, w) in sorted.iter().enumerate() {
            held += w;
            if held > wanted || i + 1 >= most {
                return (*w, i + 1);
            }
        }
        (sorted.last().copied().unwrap_or(f64::INFINITY), sorted.len())
    }

    /// Adds the particle to the sums; returns its new norm correction.
    fn accumulate(
        &self,
        index: u32,
        posterior: &[(Candidate, f64)],
        old_norm: f64,
        target: &mut Target<'_, '_>,
    ) -> f64 {
        let group = self.group;
        let record = &self.task.dataset.particles[index as usize];
        let v: Vec<f64> = group.shell.iter().map(|s| group.inverse_sigma2[usize::from(*s)]).collect();
        let (mut xa, mut aa, mut mass) = (0.0, 0.0, 0.0);
        let mut residual = vec![0.0; group.box_pixels / 2 + 1];
        // A window pixel outside the circle meets a zero reference.
        let mut outside = self.particle.power[..=group.size / 2].to_vec();
        for i in 0..group.count() {
            outside[usize::from(group.shell[i])] -= self.particle.masked[i].norm_sqr();
        }
        outside[0] = 0.0;
        for run in posterior
            .chunk_by(|a, b| (a.0.class, a.0.orientation, a.0.child) == (b.0.class, b.0.orientation, b.0.child))
        {
            let first = &run[0].0;
            let class = &self.task.model.classes[first.class as usize];
            let reference = self.reference(first);
            let reference_dc = self.reference_dc(first.class);
            let mut data = vec![Complex::default(); group.count()];
            let mut run_mass = 0.0;
            for (candidate, w) in run {
                let by = self.translation(candidate);
                let image = self.shifted(&self.particle.masked, by);
                let whole = self.shifted(&self.particle.unmasked, by);
                for i in 0..group.count() {
                    let shell = usize::from(group.shell[i]);
                    residual[shell] += w * (reference[i] - image[i]).norm_sqr();
                    if class.ssnr.get(group.model_shell[shell]).is_some_and(|r| *r > WELL_RESOLVED) {
                        xa += w * (reference[i] * image[i].conj()).re;
                        aa += w * reference[i].norm_sqr();
                    }
                    data[i] += whole[i] * (w * v[i] * self.data_factor(self.particle.ctf[i]));
                }
                residual[0] += w * (reference_dc - self.particle.masked_dc).powi(2);
                if class.ssnr.get(group.model_shell[0]).is_some_and(|r| *r > WELL_RESOLVED) {
                    xa += w * reference_dc * self.particle.masked_dc;
                    aa += w * reference_dc * reference_dc;
                }
                for (shell, power) in outside.iter().enumerate() {
                    residual[shell] += w * power;
                }
                target.sums.offset2_angstrom2 += w * self.offsets.squared_angstrom(self.particle.offset_pixels, by);
                run_mass += w;
            }
            self.insert(first, &data, &v, run_mass, target);
            let direction = self.task.orientations.direction_of(first.orientation as usize);
            target.sums.directions[first.class as usize][direction] += run_mass;
            mass += run_mass;
        }
        for shell in group.size / 2 + 1..residual.len() {
            residual[shell] += self.particle.power[shell];
        }
        let sums = &mut target.sums;
        let noise = &mut sums.noise[group.optics];
        for (shell, r) in residual.iter().enumerate() {
            if let Some(place) = noise.get_mut(group.model_shell[shell]) {
                *place += r;
            }
        }
        sums.noise_mass[group.optics] += mass;
        if self.task.dataset.optics[group.optics].ctf_premultiplied {
            for i in 0..group.count() {
                let shell = group.model_shell[usize::from(group.shell[i])];
                if let Some(place) = sums.ctf2[group.optics].get_mut(shell) {
                    *place += mass * self.particle.ctf[i];
                }
            }
        }
        let scale = self.particle.group_scale;
        sums.scale_xa[record.group as usize] += xa / scale;
        sums.scale_aa[record.group as usize] += aa / (scale * scale);
        let norm = old_norm / self.task.model.average_norm * (2.0 * residual.iter().sum::<f64>()).sqrt();
        sums.norm += norm;
        norm
    }

    /// What multiplies the image in the back-projection: the CTF, or nothing where images carry it already.
    fn data_factor(&self, ctf: f64) -> f64 {
        if self.task.dataset.optics[self.group.optics].ctf_premultiplied { self.particle.group_scale } else { ctf }
    }

    /// What is summed as weight: the CTF squared; premultiplied images carry it once already.
    fn weight_factor(&self, ctf: f64) -> f64 {
        if self.task.dataset.optics[self.group.optics].ctf_premultiplied {
            ctf * self.particle.group_scale
        } else {
            ctf * ctf
        }
    }

    fn insert(&self, pose: &Candidate, data: &[Complex<f64>], v: &[f64], mass: f64, target: &mut Target<'_, '_>) {
        let group = self.group;
        let weight: Vec<f64> =
            self.particle.ctf.iter().zip(v).map(|(c, v)| mass * v * self.weight_factor(*c)).collect();
        let volume = &mut *target.volumes[pose.class as usize];
        let geometry = &self.projectors[0].geometry;
        let (inverse, pixels) = (self.inverse(pose), (group.kx.as_slice(), group.ky.as_slice()));
        backproject::insert(geometry, &inverse, pixels, (data, &weight), volume);
        // The zero frequency lies on the origin in every pose.
        let origin = geometry.rows.index(0, 0, 0).expect("the origin is stored");
        let v0 = mass * group.inverse_sigma2[0];
        volume[origin][0] += v0 * self.data_factor(self.particle.ctf_dc) * self.particle.unmasked_dc;
        volume[origin][2] += v0 * self.weight_factor(self.particle.ctf_dc);
    }
}

/// Weights below exp(-700) of the best are zero.
const LARGEST_EXPONENT: f64 = 700.0;

/// Shells whose data-versus-prior ratio exceeds this take part in the scale correction.
pub(super) const WELL_RESOLVED: f64 = 3.0;
