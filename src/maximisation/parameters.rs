//! Everything but maps: normalisation, scales, priors and noise of one half, from its sums.

use crate::error::Error;
use crate::error::Result;
use crate::expectation::Sums;
use crate::fourier;
use crate::model::GroupModel;
use crate::model::HalfModel;

/// Scales stay within this factor of their median.
const SCALE_RANGE: f64 = 5.0;
/// Smallest variance of the offsets, in Angstrom^2.
const SMALLEST_OFFSET_VARIANCE: f64 = 2.0;
/// RELION's smallest noise variance; below it a shell takes its neighbour's.
const PARITY_SMALLEST_NOISE: f64 = 1e-14;
/// The same for data multiplied by their CTF, where it is a floor.
const PARITY_SMALLEST_NOISE_PREMULTIPLIED: f64 = 1e-15;

/// What is estimated, and how.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    pub box_pixels: usize,
    /// Poses came from cross-correlation: scales and noise stay as they are.
    pub cross_correlation: bool,
    /// Images are brought to one norm; otherwise the average norm stays as it is.
    pub norm: bool,
    /// Correct the scale of micrograph groups (needs two groups or more).
    pub scale: bool,
    /// Per optics group: images were multiplied by their CTF.
    pub premultiplied: &'a [bool],
    pub parity: bool,
}

/// Updates the model of one half with the sums of its particles.
///
/// # Errors
/// Sums without any posterior mass, and references whose contrast is opposite to the images'.
pub fn update(model: &mut HalfModel, sums: &Sums, options: &Options) -> Result<()> {
    let masses = sums.masses();
    let mass: f64 = masses.iter().sum();
    if !(mass > 0.0 && mass.is_finite()) {
        return Err(Error::internal(format!("the posterior mass of {} particles is {mass}", sums.particle_count)));
    }
    if options.norm {
        model.average_norm = sums.norm / mass;
    }
    if options.scale && !options.cross_correlation {
        update_scales(&mut model.groups, &sums.scale_xa, &sums.scale_aa)?;
    }
    for ((class, new), class_mass) in model.classes.iter_mut().zip(&sums.directions).zip(&masses) {
        class.share = class_mass / mass;
        class.directions = new.iter().map(|d| d / mass).collect();
    }
    model.sigma_offset_angstrom = (sums.offset2_angstrom2 / (2.0 * mass)).max(SMALLEST_OFFSET_VARIANCE).sqrt();
    if !options.cross_correlation {
        let counts = fourier::half_plane_counts(options.box_pixels);
        for (g, noise) in model.noise.iter_mut().enumerate() {
            if sums.noise_mass[g] > 0.0 {
                let premultiplied = options.premultiplied.get(g).copied().unwrap_or(false);
                *noise = noise_spectrum(&sums.noise[g], sums.noise_mass[g], &counts, premultiplied, options.parity);
            }
        }
    }
    // RELION reports the mean per particle for correlations.
    model.log_likelihood = if options.cross_correlation { sums.log_likelihood / mass } else { sums.log_likelihood };
    model.average_max_probability = sums.max_probability / mass;
    Ok(())
}

/// Scale of each group: XA / AA, within a factor of the median, with a mean of 1 over the particles.
/// Groups without particles in this half have scale 1 and no say.
fn update_scales(groups: &mut [GroupModel], xa: &[f64], aa: &[f64]) -> Result<()> {
    let total: usize = groups.iter().map(|g| g.particle_count).sum();
    if groups.len() < 2 || total == 0 {
        return Ok(());
    }
    let raw: Vec<f64> = xa.iter().zip(aa).map(|(x, a)| if *a > 0.0 { x / a } else { 1.0 }).collect();
    let mut sorted: Vec<f64> =
        raw.iter().zip(groups.iter()).filter(|(_, g)| g.particle_count > 0).map(|(s, _)| *s).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    let median = 0.5 * (low + high);
    if median.is_nan() || median <= 0.0 {
        return Err(Error::bad_data(
            "scale correction of micrograph groups",
            format!("the median scale is {median}: images and references have opposite contrast"),
            "Invert the contrast of the images or of the reference, or switch scale correction off.",
        ));
    }
    let clipped: Vec<f64> = raw.iter().map(|s| s.clamp(median / SCALE_RANGE, median * SCALE_RANGE)).collect();
    let weighted: f64 = clipped.iter().zip(groups.iter()).map(|(s, g)| s * g.particle_count as f64).sum();
    let mean = weighted / total as f64;
    for (group, scale) in groups.iter_mut().zip(clipped) {
        group.scale = if group.particle_count > 0 { scale / mean } else { 1.0 };
    }
    Ok(())
}

/// sum / (2 mass pixels) per shell. A shell without a positive value takes its lower neighbour's.
fn noise_spectrum(sum: &[f64], mass: f64, pixels: &[usize], premultiplied: bool, parity: bool) -> Vec<f64> {
    let smallest = if parity { PARITY_SMALLEST_NOISE } else { f64::MIN_POSITIVE };
    let mut spectrum: Vec<f64> = sum.iter().zip(pixels).map(|(s, n)| s / (2.0 * mass * *n as f64)).collect();
    for s in 0..spectrum.len() {
        if premultiplied && parity {
            spectrum[s] = spectrum[s].max(PARITY_SMALLEST_NOISE_PREMULTIPLIED);
        } else if spectrum[s] < smallest && s > 0 {
            spectrum[s] = spectrum[s - 1];
        }
    }
    spectrum
}

/// Mean of CTF^2 per shell of data multiplied by their CTF, over all optics groups.
pub fn mean_ctf2(sums: &Sums, box_pixels: usize) -> Vec<f64> {
    let mass: f64 = sums.noise_mass.iter().sum();
    let total = |s: usize| sums.ctf2.iter().map(|g| g[s]).sum::<f64>();
    let counts = fourier::half_plane_counts(box_pixels);
    counts.iter().enumerate().map(|(s, n)| if mass > 0.0 { total(s) / (mass * *n as f64) } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClassModel;
    use crate::model::Volume;

    fn group(particle_count: usize) -> GroupModel {
        GroupModel { name: String::new(), particle_count, scale: 1.0 }
    }

    #[test]
    fn scales_have_a_weighted_mean_of_one_and_stay_near_the_median() {
        let mut groups = [group(10), group(30), group(0), group(20)];
        update_scales(&mut groups, &[2.0, 1.0, 7.0, 40.0], &[1.0, 1.0, 1.0, 1.0]).expect("scales");
        // Median of 1, 2, 40 is 2; 40 is clipped to 10.
        let mean = (2.0 * 10.0 + 30.0 + 10.0 * 20.0) / 60.0;
        let scales = groups.map(|g| g.scale);
        for (found, wanted) in scales.iter().zip([2.0 / mean, 1.0 / mean, 1.0, 10.0 / mean]) {
            assert!((found - wanted).abs() < 1e-15, "{scales:?}");
        }
    }

    #[test]
    fn opposite_contrast_is_an_error_and_one_group_is_left_alone() {
        let error = update_scales(&mut [group(1), group(1)], &[-1.0, -2.0], &[1.0, 1.0]).expect_err("negative");
        assert!(error.to_string().contains("contrast"), "{error}");
        let mut one = [group(5)];
        update_scales(&mut one, &[3.0], &[1.0]).expect("one group");
        assert_eq!(one[0].scale, 1.0);
    }

    fn model(classes: usize) -> HalfModel {
        let class = ClassModel {
            map: Volume::zeros(4, 1.0),
            share: 0.5,
            directions: vec![0.0; 2],
            tau2: vec![],
            sigma2: vec![],
            ssnr: vec![],
            fsc: vec![],
            coverage: vec![],
            orientability: vec![],
            accuracy_degrees: 999.0,
            accuracy_angstrom: 999.0,
        };
        HalfModel {
            classes: vec![class; classes],
            noise: vec![vec![1.0; 3]],
            groups: vec![group(4), group(4)],
            average_norm: 1.0,
            sigma_offset_angstrom: 10.0,
            log_likelihood: 0.0,
            average_max_probability: 0.0,
        }
    }

    fn sums() -> Sums {
        Sums {
            current_size: 4,
            directions: vec![vec![1.0, 2.0], vec![3.0, 2.0]],
            noise: vec![vec![16.0, 64.0, 0.0]],
            noise_mass: vec![8.0],
            ctf2: vec![vec![4.0, 16.0, 0.0]],
            scale_xa: vec![2.0, 1.0],
            scale_aa: vec![1.0, 1.0],
            norm: 4.0,
            offset2_angstrom2: 400.0,
            log_likelihood: -80.0,
            max_probability: 6.0,
            particle_count: 8,
        }
    }

    #[test]
    fn sums_become_means_over_the_posterior_mass() {
        let options = Options {
            box_pixels: 4,
            cross_correlation: false,
            norm: true,
            scale: true,
            premultiplied: &[false],
            parity: false,
        };
        let mut half = model(2);
        update(&mut half, &sums(), &options).expect("an update");
        assert_eq!((half.average_norm, half.sigma_offset_angstrom, half.average_max_probability), (0.5, 5.0, 0.75));
        assert_eq!((half.classes[0].share, half.classes[1].share), (0.375, 0.625));
        assert_eq!(half.classes[1].directions, [0.375, 0.25]);
        // Shells of a box of 4 hold 1 and 4 pixels; the last one has no signal and takes its neighbour's.
        assert_eq!(half.noise[0], [1.0, 1.0, 1.0]);
        assert!((half.groups[0].scale - 4.0 / 3.0).abs() < 1e-15);
        assert_eq!(half.log_likelihood, -80.0);
        assert_eq!(mean_ctf2(&sums(), 4)[..2], [0.5, 0.5]);
    }

    #[test]
    fn cross_correlation_keeps_noise_and_scales() {
        let options = Options {
            box_pixels: 4,
            cross_correlation: true,
            norm: false,
            scale: true,
            premultiplied: &[false],
            parity: false,
        };
        let mut half = model(2);
        half.noise[0] = vec![7.0; 3];
        update(&mut half, &sums(), &options).expect("an update");
        assert_eq!((half.noise[0][1], half.groups[0].scale, half.log_likelihood), (7.0, 1.0, -10.0));
        assert_eq!(half.average_norm, 1.0, "not asked for");
    }

    #[test]
    fn no_mass_is_an_error_and_small_offsets_have_a_floor() {
        let options = Options {
            box_pixels: 4,
            cross_correlation: false,
            norm: true,
            scale: false,
            premultiplied: &[false],
            parity: false,
        };
        let mut empty = sums();
        empty.directions.iter_mut().for_each(|of_class| of_class.fill(0.0));
        assert!(update(&mut model(2), &empty, &options).is_err());
        let mut near = sums();
        near.offset2_angstrom2 = 1.0;
        let mut half = model(2);
        update(&mut half, &near, &options).expect("an update");
        assert_eq!(half.sigma_offset_angstrom, 2.0_f64.sqrt());
    }
}
