//! Signal and noise in the reconstruction, shell by shell.
//!
//! Voxels strictly inside the sphere count, in the shell nearest to their radius; variances are per real component
//! and on the scale of slices.

use serde::Deserialize;
use serde::Serialize;

use crate::expectation::SumVoxel;
use crate::imaging::Geometry;

use super::sweep;

/// Bounds of an FSC that is turned into a signal-to-noise ratio.
const SMALLEST_FSC: f64 = 0.001;
const LARGEST_FSC: f64 = 0.999;
/// RELION's prior weight where the signal's variance is unknown: 1 / (0.001 weight).
const PARITY_PRIOR_SHARE: f64 = 0.001;

/// What a shell knows; box/2 + 1 entries each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectra {
    /// Variance of the noise.
    pub sigma2: Vec<f64>,
    /// Variance of the signal.
    pub tau2: Vec<f64>,
    /// Data-versus-prior ratio.
    pub ssnr: Vec<f64>,
    /// Share of the voxels where data outweigh the prior.
    pub coverage: Vec<f64>,
}

/// Spectra from the FSC of two halves: ssnr = T f/(1-f), tau2 = f/(1-f) sigma2, f clamped to [0.001, 0.999]
/// (Scheres & Chen 2012). With `joined` halves f becomes that of their sum, sqrt(2f/(f+1)) (Rosenthal & Henderson
/// 2003).
///
/// `volume` holds symmetrised sums, those that will be reconstructed. With `parity` T enters tau2 too, and therefore
/// the reconstruction twice.
pub fn gold_standard(
    geometry: &Geometry,
    volume: &[SumVoxel],
    fsc: &[f64],
    joined: bool,
    tau2_fudge: f64,
    parity: bool,
) -> Spectra {
    let (sigma2, _) = noise(geometry, volume);
    let ratio = fsc.iter().map(|f| {
        let f = f.max(SMALLEST_FSC);
        let f = if joined { (2.0 * f / (f + 1.0)).sqrt() } else { f }.min(LARGEST_FSC);
        f / (1.0 - f)
    });
    let ratio: Vec<f64> = ratio.collect();
    let in_tau2 = if parity { tau2_fudge } else { 1.0 };
    let tau2: Vec<f64> = ratio.iter().zip(&sigma2).map(|(r, s)| in_tau2 * r * s).collect();
    let coverage = coverage(geometry, volume, &tau2, tau2_fudge);
    Spectra { sigma2, tau2, ssnr: ratio.iter().map(|r| tau2_fudge * r).collect(), coverage }
}

/// Spectra without halves: tau2 is given (the power of the references, see
/// [`crate::imaging::projector::build_into`]) and ssnr is the mean of weight * T tau2 (Scheres 2012).
///
/// `mean_ctf2` is for data multiplied by their CTF: tau2 is divided by it.
pub fn from_reference(
    geometry: &Geometry,
    volume: &[SumVoxel],
    tau2: &[f64],
    mean_ctf2: Option<&[f64]>,
    tau2_fudge: f64,
    parity: bool,
) -> Spectra {
    let tau2: Vec<f64> = match mean_ctf2 {
        Some(ctf2) => tau2.iter().zip(ctf2).map(|(t, c)| if *c > 0.0 { t / c } else { *t }).collect(),
        None => tau2.to_vec(),
    };
    let (sigma2, counts) = noise(geometry, volume);
    let ssnr = (0..sigma2.len())
        .map(|s| {
            if tau2[s] > 0.0 && sigma2[s] > 0.0 {
                // The mean of padding^3 weight T tau2.
                tau2_fudge * tau2[s] / sigma2[s]
            } else if parity && tau2[s] <= 0.0 && counts[s] > 0.0 {
                parity_ratio_without_prior(geometry, volume, s) / counts[s]
            } else {
                0.0
            }
        })
        .collect();
    let coverage = coverage(geometry, volume, &tau2, tau2_fudge);
    Spectra { sigma2, tau2, ssnr, coverage }
}

/// Sum over shell `wanted` of weight / prior weight with RELION's prior weight of an unknown signal.
fn parity_ratio_without_prior(geometry: &Geometry, volume: &[SumVoxel], wanted: usize) -> f64 {
    let nearest = sweep::nearest_shells(geometry);
    let sums = sweep::shell_sums::<1>(geometry, 1, sweep::radius_square(geometry), |i, square, sums| {
        if usize::from(nearest[square as usize]) == wanted {
            sums[0][0] += PARITY_PRIOR_SHARE * volume[i][2].powi(2);
        }
    });
    sums[0][0]
}

/// Variance of the noise per shell, count / (padding^3 sum of weights), and the number of voxels.
fn noise(geometry: &Geometry, volume: &[SumVoxel]) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(volume.len(), geometry.rows.len(), "a volume in the geometry's rows");
    let nearest = sweep::nearest_shells(geometry);
    let bins = geometry.box_pixels / 2 + 1;
    let sums = sweep::shell_sums(geometry, bins, sweep::radius_square(geometry), |i, square, sums| {
        let [sum, count] = &mut sums[usize::from(nearest[square as usize])];
        *sum += volume[i][2];
        *count += 1.0;
    });
    let padding3 = geometry.padding.powi(3);
    let sigma2 = sums.iter().map(|[sum, count]| if *sum > 0.0 { count / (padding3 * sum) } else { 0.0 }).collect();
    (sigma2, sums.iter().map(|s| s[1]).collect())
}

/// Share of each shell's voxels with padding^3 weight T tau2 of at least 1.
fn coverage(geometry: &Geometry, volume: &[SumVoxel], tau2: &[f64], tau2_fudge: f64) -> Vec<f64> {
    let nearest = sweep::nearest_shells(geometry);
    let scale = geometry.padding.powi(3) * tau2_fudge;
    let sums = sweep::shell_sums(geometry, tau2.len(), sweep::radius_square(geometry), |i, square, sums| {
        let s = usize::from(nearest[square as usize]);
        let [covered, count] = &mut sums[s];
        *covered += f64::from(u8::from(volume[i][2] * scale * tau2[s] >= 1.0));
        *count += 1.0;
    });
    sums.iter().map(|[covered, count]| if *count > 0.0 { covered / count } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding of sums over a shell.
    const TOLERANCE: f64 = 1e-12;

    fn geometry() -> Geometry {
        Geometry::new(32, 2.0, 20)
    }

    /// Sums with this weight everywhere.
    fn flat(geometry: &Geometry, weight: f64) -> Vec<SumVoxel> {
        vec![[0.0, 0.0, weight]; geometry.rows.len()]
    }

    #[test]
    fn flat_weights_give_flat_noise() {
        let geometry = geometry();
        let volume = flat(&geometry, 0.25);
        let fsc: Vec<f64> = (0..17).map(|s| 1.0 - f64::from(s) / 10.0).collect();
        let spectra = gold_standard(&geometry, &volume, &fsc, false, 1.0, false);
        assert_eq!(spectra.sigma2.len(), 17);
        for s in 0..=10 {
            assert!((spectra.sigma2[s] - 0.5).abs() < TOLERANCE, "1 / (8 * 0.25)");
        }
        assert!(spectra.sigma2[11..].iter().all(|v| *v == 0.0));
        assert!((spectra.ssnr[0] - 999.0).abs() < 1e-9 && (spectra.ssnr[12] - 0.001 / 0.999).abs() < TOLERANCE);
        assert!((spectra.ssnr[5] - 1.0).abs() < TOLERANCE && (spectra.tau2[5] - 0.5).abs() < TOLERANCE);
        assert_eq!((spectra.coverage[4], spectra.coverage[6]), (1.0, 0.0));
    }

    #[test]
    fn joined_halves_and_the_place_of_the_fudge() {
        let geometry = geometry();
        let volume = flat(&geometry, 1.0);
        let fsc = vec![0.5; 17];
        let joined = gold_standard(&geometry, &volume, &fsc, true, 1.0, false);
        let f = (2.0_f64 / 3.0).sqrt();
        assert!((joined.ssnr[3] - f / (1.0 - f)).abs() < TOLERANCE);
        let sane = gold_standard(&geometry, &volume, &fsc, false, 4.0, false);
        let parity = gold_standard(&geometry, &volume, &fsc, false, 4.0, true);
        assert_eq!((sane.ssnr[3], parity.ssnr[3]), (4.0, 4.0));
        assert_eq!((sane.tau2[3], parity.tau2[3]), (0.125, 0.5));
    }

    #[test]
    fn ratio_of_given_power_is_the_mean_over_voxels() {
        let geometry = geometry();
        let mut volume = flat(&geometry, 0.0);
        geometry.rows.for_each(|i, _, _, z| volume[i][2] = if z > 0 { 3.0 } else { 1.0 });
        let mut tau2 = vec![0.02; 17];
        tau2[9] = 0.0;
        let spectra = from_reference(&geometry, &volume, &tau2, None, 4.0, false);
        let mean = 1.0 / (8.0 * spectra.sigma2[6]);
        assert!(mean > 1.8 && mean < 2.0, "half of the voxels and fewer have 3: {mean}");
        assert!((spectra.ssnr[6] - mean * 8.0 * 4.0 * 0.02).abs() < TOLERANCE);
        // 8 * 4 * 0.02 = 0.64: only voxels of weight 3 are covered.
        assert!((spectra.coverage[6] - (mean - 1.0) / 2.0).abs() < TOLERANCE);
        assert_eq!((spectra.ssnr[9], spectra.coverage[9], spectra.ssnr[11]), (0.0, 0.0, 0.0));
        let parity = from_reference(&geometry, &volume, &tau2, None, 4.0, true);
        assert!(parity.ssnr[9] > 0.001 && parity.ssnr[9] < 0.009, "between 0.001 w^2 of the two weights");
        let divided = from_reference(&geometry, &volume, &tau2, Some(&[0.5; 17]), 4.0, false);
        assert!((divided.tau2[6] - 0.04).abs() < TOLERANCE);
    }
}
