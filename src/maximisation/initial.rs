//! What is known before the first iteration: a filtered reference, noise spectra of the images, and priors.

use num_complex::Complex;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Result;
use crate::fourier;
use crate::fourier::RealFft2;
use crate::fourier::RealFft3;
use crate::fourier::Scratch;
use crate::model::ClassModel;
use crate::model::Volume;
use crate::units;

/// Half the width of the initial filter, in shells.
const LOW_PASS_HALF_WIDTH: f64 = 1.0;

/// Filters a map to a resolution: a raised cosine two shells wide about the unrounded shell N a / d. For what happens
/// before the first iteration: the transform takes memory of its own.
pub fn low_pass(map: &mut Volume, resolution_angstrom: f64) {
    let mut half = vec![Complex::default(); fourier::half_volume_len(map.box_pixels)];
    low_pass_in(map, resolution_angstrom, &mut half);
}

fn low_pass_in(map: &mut Volume, resolution_angstrom: f64, half: &mut [Complex<f64>]) {
    let n = map.box_pixels;
    let plan = RealFft3::<f64>::new(n);
    plan.pack(map.data.iter().map(|v| f64::from(*v)), half);
    plan.forward_in_place(half);
    fourier::low_pass_3d(half, n, n as f64 * map.pixel_size_angstrom / resolution_angstrom);
    plan.inverse_in_place(half);
    for (voxel, value) in map.data.iter_mut().zip(plan.unpack(half)) {
        *voxel = value as f32;
    }
}

/// Filters a class: its map, by a transform in `frame`, and the power spectra that go with it.
pub fn low_pass_class(class: &mut ClassModel, resolution_angstrom: f64, frame: &mut Frame<'_>) -> Result<()> {
    let n = class.map.box_pixels;
    frame.child(Kind::Tile, |tile| {
        low_pass_in(&mut class.map, resolution_angstrom, buffer(n, tile)?);
        Result::Ok(())
    })?;
    let centre = n as f64 * class.map.pixel_size_angstrom / resolution_angstrom;
    for spectrum in [&mut class.tau2, &mut class.ssnr] {
        for (shell, value) in spectrum.iter_mut().enumerate() {
            *value *= fourier::low_pass_weight(shell as f64, centre, LOW_PASS_HALF_WIDTH).powi(2);
        }
    }
    Ok(())
}

/// The allocations of [`low_pass_class`] for maps of edge `n`.
pub fn count_low_pass(n: usize, frame: &mut Frame<'_>) -> Result<()> {
    frame.child(Kind::Tile, |tile| buffer(n, tile).map(|_| ()))
}

fn buffer<'f>(n: usize, frame: &mut Frame<'f>) -> Result<&'f mut [Complex<f64>]> {
    frame.alloc("transform of a map", fourier::half_volume_len(n))
}

/// Collects the power spectra of images, per optics group.
pub struct InitialNoise {
    plan: RealFft2<f64>,
    scratch: Scratch<f64>,
    half: Vec<Complex<f64>>,
    /// Sum of the transforms of all images.
    sum: Vec<Complex<f64>>,
    spectra: Vec<Vec<f64>>,
    counts: Vec<usize>,
}

impl InitialNoise {
    /// For images of the model's box; see [`resample`] for others.
    pub fn new(box_pixels: usize, optics_groups: usize) -> Self {
        let plan = RealFft2::new(box_pixels);
        let zero = vec![Complex::default(); plan.half_len()];
        Self {
            scratch: plan.scratch(),
            half: zero.clone(),
            sum: zero,
            spectra: vec![vec![0.0; box_pixels / 2 + 1]; optics_groups],
            counts: vec![0; optics_groups],
            plan,
        }
    }

    /// Adds an image (as read, masked if references are compared with masked images) of an optics group.
    pub fn add(&mut self, group: usize, image: &[f64]) {
        self.plan.forward(image, &mut self.half, &mut self.scratch);
        for (sum, f) in self.sum.iter_mut().zip(&self.half) {
            *sum += f;
        }
        let power = fourier::power_spectrum(&self.half, self.plan.edge());
        for (sum, p) in self.spectra[group].iter_mut().zip(power) {
            *sum += p;
        }
        self.counts[group] += 1;
    }

    /// Images of a group so far.
    pub fn count(&self, group: usize) -> usize {
        self.counts[group]
    }

    /// Noise variance per group and shell: half the mean power of the group's images less that of the average of all
    /// images. A shell left without a positive value takes its lower neighbour's, or else the next positive one.
    /// Zeros for groups without images.
    pub fn finish(self) -> Vec<Vec<f64>> {
        let n = self.plan.edge();
        let total = self.counts.iter().sum::<usize>().max(1) as f64;
        let of_mean: Vec<f64> = fourier::power_spectrum(&self.sum, n).iter().map(|p| p / (total * total)).collect();
        let spectrum = |(sum, count): (&Vec<f64>, &usize)| {
            if *count == 0 {
                return vec![0.0; n / 2 + 1];
            }
            let difference = sum.iter().zip(&of_mean).map(|(p, m)| 0.5 * (p / *count as f64 - m));
            fill_gaps(difference.collect())
        };
        self.spectra.iter().zip(&self.counts).map(spectrum).collect()
    }
}

fn fill_gaps(mut spectrum: Vec<f64>) -> Vec<f64> {
    for s in 0..spectrum.len() {
        if spectrum[s] <= 0.0 {
            let before = s.checked_sub(1).map(|p| spectrum[p]).filter(|v| *v > 0.0);
            let after = spectrum[s + 1..].iter().copied().find(|v| *v > 0.0);
            spectrum[s] = before.or(after).unwrap_or(0.0);
        }
    }
    spectrum
}

/// An image of another box or pixel size in the model's: resampled in Fourier space, then cropped about its centre
/// or padded with its mean.
pub fn resample(image: &[f64], from: (usize, f64), to: (usize, f64)) -> Vec<f64> {
    let ((n, pixel), (wanted, wanted_pixel)) = (from, to);
    let same_scale = 2 * units::round_half_away(0.5 * n as f64 * pixel / wanted_pixel) as usize;
    let scaled = if same_scale == n {
        image.to_vec()
    } else {
        let (plan, small) = (RealFft2::<f64>::new(n), RealFft2::<f64>::new(same_scale));
        let mut half = vec![Complex::default(); plan.half_len()];
        plan.forward(image, &mut half, &mut plan.scratch());
        let mut window = vec![Complex::default(); small.half_len()];
        fourier::window_2d(&half, n, &mut window, same_scale);
        let mut scaled = vec![0.0; same_scale * same_scale];
        small.inverse(&mut window, &mut scaled, &mut small.scratch());
        scaled
    };
    if same_scale == wanted {
        return scaled;
    }
    let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
    let mut out = vec![mean; wanted * wanted];
    let at = |i: usize| (i + same_scale / 2).checked_sub(wanted / 2).filter(|i| *i < same_scale);
    for y in 0..wanted {
        for x in 0..wanted {
            if let (Some(sx), Some(sy)) = (at(x), at(y)) {
                out[y * wanted + x] = scaled[sy * same_scale + sx];
            }
        }
    }
    out
}

/// Variance of the signal per shell from the power of a reference: T |F|^2 N^2 / 2, on the scale of slices.
pub fn tau2_of_map(map: &Volume, tau2_fudge: f64) -> Vec<f64> {
    let n = map.box_pixels;
    let half = RealFft3::<f64>::new(n).forward(map.data.iter().map(|v| f64::from(*v)));
    let scale = 0.5 * tau2_fudge * (n * n) as f64;
    fourier::power_spectrum(&half, n).iter().map(|p| scale * p).collect()
}

/// Expected data-versus-prior ratio: particles / sigma2 / (2 s) * tau2, as if `particles` slices met shell s evenly.
/// `noise` is averaged over the groups that have images.
pub fn data_versus_prior(tau2: &[f64], noise: &[Vec<f64>], particles: f64) -> Vec<f64> {
    let seen: Vec<&Vec<f64>> = noise.iter().filter(|g| g.iter().any(|v| *v > 0.0)).collect();
    let mean = |s: usize| seen.iter().map(|g| g[s]).sum::<f64>() / seen.len().max(1) as f64;
    let ratio = |(s, t): (usize, &f64)| {
        let sigma2 = mean(s);
        if sigma2 > 0.0 { particles / sigma2 / (2 * s).max(1) as f64 * t } else { 0.0 }
    };
    tau2.iter().enumerate().map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::random::Stream;

    #[test]
    fn white_noise_has_a_flat_spectrum_and_the_common_signal_is_removed() {
        let n = 32;
        let mut noise = InitialNoise::new(n, 2);
        let mut stream = Stream::new(3, 0, 0);
        for _ in 0..200 {
            let image: Vec<f64> = (0..n * n).map(|i| 2.0 * stream.gaussian() + (i % n) as f64).collect();
            noise.add(0, &image);
        }
        let spectra = noise.finish();
        // Variance 4 over 32^2 pixels, half of it a component; 200 images of 100 pixels a shell give 1 %.
        for (s, v) in spectra[0].iter().enumerate().skip(4) {
            assert!((v * 512.0 - 1.0).abs() < 0.05, "shell {s}: {}", v * 512.0);
        }
        assert!(spectra[1].iter().all(|v| *v == 0.0));
    }

    #[test]
    fn gaps_take_the_neighbours() {
        assert_eq!(fill_gaps(vec![-1.0, 0.0, 3.0, -2.0, 5.0]), [3.0, 3.0, 3.0, 3.0, 5.0]);
    }

    #[test]
    fn images_of_other_boxes_keep_their_centre() {
        let blob = |n: usize, sigma: f64| -> Vec<f64> {
            let c = (n / 2) as f64;
            let d2 = |i: usize| ((i % n) as f64 - c).powi(2) + ((i / n) as f64 - c).powi(2);
            (0..n * n).map(|i| (-0.5 * d2(i) / sigma.powi(2)).exp()).collect()
        };
        // 40 pixels of 1.5 A are 30 of 2 A.
        for wanted in [24, 30, 36] {
            let out = resample(&blob(40, 4.0), (40, 1.5), (wanted, 2.0));
            let worst = out.iter().zip(blob(wanted, 3.0)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // The mean of the blob is 6 % and its tail at the border 2e-5; the padding is the mean.
            assert!(worst < if wanted > 30 { 0.07 } else { 1e-3 }, "{wanted}: {worst}");
        }
    }

    #[test]
    fn a_constant_map_has_its_power_at_zero_frequency() {
        let map = Volume { box_pixels: 8, pixel_size_angstrom: 1.0, data: vec![3.0; 512] };
        let tau2 = tau2_of_map(&map, 2.0);
        assert!((tau2[0] - 9.0 * 64.0).abs() < 1e-10 && tau2[1..].iter().all(|v| v.abs() < 1e-20));
        assert_eq!(data_versus_prior(&[4.0, 4.0, 4.0], &[vec![2.0; 3], vec![0.0; 3]], 10.0), [20.0, 10.0, 5.0]);
    }
}
