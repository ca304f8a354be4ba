//! Noise of the simulated images.

use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::StarFile;
use crate::fourier;
use crate::model::Volume;

use super::Truth;

/// What noise to add.
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    None,
    /// White noise; the ratio is mean signal variance / noise variance, over the whole box.
    White {
        signal_to_noise: f64,
    },
    /// Radial spectra; with a ratio they are scaled to it, else taken as they are.
    Spectra {
        spectra: NoiseSpectra,
        signal_to_noise: Option<f64>,
    },
}

/// Noise spectra of a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSpectra {
    /// One spectrum per optics group (RELION 4 and later), or per micrograph group.
    per_optics_group: bool,
    /// Rows of (1/Angstrom, variance of a real component * area of the box in Angstrom^2): independent of box and
    /// pixel size.
    spectra: Vec<Vec<[f64; 2]>>,
}

/// Noise ready for one box.
pub(super) enum Resolved {
    None,
    White { sigma: f64 },
    Coloured { per_optics_group: bool, sigma2: Vec<Vec<f64>> },
}

impl NoiseSpectra {
    /// The same density at every frequency: variance of a pixel * its area, in Angstrom^2.
    pub fn flat(density_angstrom2: f64) -> Self {
        Self { per_optics_group: true, spectra: vec![vec![[0.0, 0.5 * density_angstrom2]]] }
    }

    /// Reads the spectra of a RELION model.star.
    ///
    /// # Errors
    /// Not a model file, or no group with a spectrum.
    pub fn read(path: &Path) -> Result<Self> {
        let file = StarFile::read(path)?;
        let general = file.require("model_general")?;
        let pixel = general.require("rlnPixelSize")?.f64(0)?;
        let edge = general.require("rlnOriginalImageSize")?.f64(0)?;
        let area = (pixel * edge).powi(2);
        let per_optics_group = file.blocks.iter().any(|b| b.name.starts_with("model_optics_group_"));
        let prefix = if per_optics_group { "model_optics_group_" } else { "model_group_" };
        let mut numbered: Vec<(u32, Vec<[f64; 2]>)> = Vec::new();
        for block in &file.blocks {
            let Some(Ok(number)) = block.name.strip_prefix(prefix).map(str::parse) else { continue };
            let resolution = block.require("rlnResolution")?.f64s()?;
            let sigma2 = block.require("rlnSigma2Noise")?.f64s()?;
            // Groups without particles have zeros.
            if sigma2.iter().any(|v| *v > 0.0) {
                numbered.push((number, resolution.iter().zip(&sigma2).map(|(f, s)| [*f, s * area]).collect()));
            }
        }
        // RELION writes group 10 before group 2.
        numbered.sort_by_key(|(number, _)| *number);
        let spectra: Vec<_> = numbered.into_iter().map(|(_, spectrum)| spectrum).collect();
        if spectra.is_empty() {
            return Err(Error::bad_data(
                path.display().to_string(),
                "no noise spectrum (rlnSigma2Noise) that is not zero",
                "Name the model.star of a finished iteration.",
            ));
        }
        Ok(Self { per_optics_group, spectra })
    }

    /// Variances of a real component per shell 0..=n/2 of a box.
    fn resample(&self, n: usize, pixel_size_angstrom: f64) -> Vec<Vec<f64>> {
        let length = n as f64 * pixel_size_angstrom;
        let at = |table: &[[f64; 2]], f: f64| {
            let next = table.partition_point(|row| row[0] <= f);
            match next {
                0 => table[0][1],
                _ if next == table.len() => table[next - 1][1],
                _ => {
                    let ([f0, a], [f1, b]) = (table[next - 1], table[next]);
                    a + (b - a) * (f - f0) / (f1 - f0)
                }
            }
        };
        let area = length * length;
        self.spectra.iter().map(|t| (0..=n / 2).map(|s| at(t, s as f64 / length) / area).collect()).collect()
    }
}

impl Noise {
    pub(super) fn resolve(&self, map: &Volume, signal_variance: f64) -> Result<Resolved> {
        let noise_variance = |ratio: f64| {
            if ratio.is_finite() && ratio > 0.0 && signal_variance > 0.0 {
                Ok(signal_variance / ratio)
            } else {
                Err(Error::usage(
                    format!("a signal-to-noise ratio of {ratio} for a signal variance of {signal_variance}"),
                    "Use a positive ratio and a map that is not empty.",
                ))
            }
        };
        Ok(match self {
            Self::None => Resolved::None,
            Self::White { signal_to_noise } => Resolved::White { sigma: noise_variance(*signal_to_noise)?.sqrt() },
            Self::Spectra { spectra, signal_to_noise } => {
                let n = map.box_pixels;
                let mut sigma2 = spectra.resample(n, map.pixel_size_angstrom);
                if let Some(ratio) = signal_to_noise {
                    let mean = sigma2.iter().map(|s| variance(s, n)).sum::<f64>() / sigma2.len() as f64;
                    let factor = noise_variance(*ratio)? / mean;
                    sigma2.iter_mut().flatten().for_each(|v| *v *= factor);
                }
                Resolved::Coloured { per_optics_group: spectra.per_optics_group, sigma2 }
            }
        })
    }
}

impl Resolved {
    /// Spectrum of a particle; `None` without coloured noise.
    pub fn spectrum(&self, optics: u32, micrograph: u32) -> Option<&[f64]> {
        match self {
            Self::Coloured { per_optics_group, sigma2 } => {
                let group = if *per_optics_group { optics } else { micrograph };
                Some(&sigma2[group as usize % sigma2.len()])
            }
            _ => None,
        }
    }

    /// Variance of a pixel, averaged over the particles.
    pub fn mean_variance(&self, truth: &Truth) -> f64 {
        match self {
            Self::None => 0.0,
            Self::White { sigma } => sigma * sigma,
            Self::Coloured { sigma2, .. } => {
                let variances: Vec<f64> = sigma2.iter().map(|s| variance(s, truth.optics[0].box_pixels)).collect();
                let of = |p: &super::TrueParticle| {
                    let spectrum = self.spectrum(p.optics, p.micrograph).expect("coloured noise has spectra");
                    let i = sigma2.iter().position(|s| s.as_slice() == spectrum).expect("one of them");
                    variances[i]
                };
                truth.particles.iter().map(of).sum::<f64>() / truth.particles.len() as f64
            }
        }
    }
}

/// Variance of a pixel: twice the component variance over both half planes.
fn variance(sigma2: &[f64], n: usize) -> f64 {
    let counts = fourier::half_plane_counts(n);
    sigma2.iter().zip(&counts).map(|(s, count)| 4.0 * s * *count as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spectrum_means_the_same_noise_density_in_any_box() {
        let spectra = NoiseSpectra { per_optics_group: true, spectra: vec![vec![[0.0, 2.0], [0.1, 4.0], [0.2, 4.0]]] };
        let small = spectra.resample(20, 1.0);
        let large = spectra.resample(40, 1.0);
        assert_eq!(small[0].len(), 11);
        // Shell 1 of the small box and shell 2 of the large one are both 0.05 per Angstrom.
        assert!((small[0][1] * 400.0 - 3.0).abs() < 1e-12 && (large[0][2] * 1600.0 - 3.0).abs() < 1e-12);
        assert!((small[0][10] * 400.0 - 4.0).abs() < 1e-12);
    }

    #[test]
    fn spectra_of_a_model_file_come_in_the_order_of_their_groups() {
        let table = |name: &str, rows: &str| {
            format!("data_{name}\n\nloop_\n_rlnSpectralIndex #1\n_rlnResolution #2\n_rlnSigma2Noise #3\n{rows}\n\n")
        };
        let text = format!(
            "data_model_general\n\n_rlnOriginalImageSize 10\n_rlnPixelSize 2.0\n\n{}{}{}",
            table("model_group_10", "0 0.0 0.5\n1 0.05 0.25"),
            table("model_group_2", "0 0.0 1.0\n1 0.05 2.0"),
            table("model_group_3", "0 0.0 0.0\n1 0.05 0.0"),
        );
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run_model.star");
        std::fs::write(&path, text).expect("a file");
        let spectra = NoiseSpectra::read(&path).expect("a model file");
        assert!(!spectra.per_optics_group);
        assert_eq!(spectra.spectra, [[[0.0, 400.0], [0.05, 800.0]], [[0.0, 200.0], [0.05, 100.0]]]);
        assert_eq!(spectra.resample(10, 2.0), [[1.0, 2.0, 2.0, 2.0, 2.0, 2.0], [0.5, 0.25, 0.25, 0.25, 0.25, 0.25]]);
    }

    #[test]
    fn white_spectra_have_the_variance_of_white_noise() {
        // White noise of variance 1 has component variance 1 / (2 n^2); shells to n/2 hold pi/4 of the square.
        let n = 64;
        let total = variance(&vec![0.5 / (n * n) as f64; n / 2 + 1], n);
        assert!((total - std::f64::consts::FRAC_PI_4).abs() < 0.03, "{total}");
    }
}
