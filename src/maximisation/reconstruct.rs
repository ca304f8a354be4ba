//! Weighted sums -> map: division by the (regularised) weights, inverse transform, correction for interpolation.

use num_complex::Complex;
use rayon::prelude::*;

use crate::imaging::Geometry;
use crate::imaging::gridding::GriddingCorrection;
use crate::imaging::mask;
use crate::imaging::padded::PaddedTransform;
use crate::model::Volume;
use crate::units;

use super::gridding;
use super::resolution::LOWEST_SHELL;
use super::sweep;

/// Weights below this share of their shell's mean are raised to it.
const WEIGHT_FLOOR: f64 = 1e-3;
/// Width in pixels of the soft edge of the sphere of radius box/2 outside which the map is its mean.
const EDGE_PIXELS: f64 = 3.0;
/// RELION's stand-in for an unknown prior variance: 1 / (0.001 weight).
const PARITY_PRIOR_SHARE: f64 = 0.001;
/// Weights below this are none.
const PARITY_SMALLEST_WEIGHT: f64 = 1e-20;

/// Prior on the signal: Gaussian with variance `tau2_fudge * tau2[shell]` per real component (Scheres 2012).
#[derive(Clone, Copy, Debug)]
pub struct Prior<'a> {
    /// Per shell, box/2 + 1 entries; 0 where nothing is known, and nothing is regularised there.
    pub tau2: &'a [f64],
    pub tau2_fudge: f64,
    /// RELION adds 1/(0.001 weight) where tau2 is 0.
    pub parity: bool,
}

impl Prior<'_> {
    /// What the prior adds to the weight of a voxel in this shell.
    #[inline]
    fn weight(&self, shell: usize, data_weight: f64, padding3: f64) -> f64 {
        if shell < LOWEST_SHELL {
            return 0.0;
        }
        let tau2 = self.tau2[shell];
        if tau2 > 0.0 {
            1.0 / (padding3 * self.tau2_fudge * tau2)
        } else if self.parity && data_weight > PARITY_SMALLEST_WEIGHT {
            1.0 / (PARITY_PRIOR_SHARE * data_weight)
        } else {
            0.0
        }
    }
}

/// How data are divided by weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Division {
    /// Voxel by voxel, with a floor of a thousandth of the shell's mean weight.
    Direct,
    /// By weights that iterations make flat after convolution with a blob (Pipe & Menon 1999);
    /// `mass` is the class's posterior mass.
    Gridding { mass: f64 },
}

/// Map of symmetrised sums, in the model's grey scale: its projections have the scale of the data.
///
/// `data` (geometry.rows order) is destroyed; `weight` is kept. Without a prior the map is unregularised.
/// Takes box^3 doubles and [`work_len`] complex numbers of memory besides; [`Division::Gridding`] takes a padded
/// cube instead of the latter. The same bits on any number of threads of the current rayon pool.
pub fn reconstruct(
    geometry: &Geometry,
    data: &mut [Complex<f64>],
    weight: &[f64],
    prior: Option<&Prior>,
    division: Division,
    pixel_size_angstrom: f64,
) -> Volume {
    match division {
        Division::Direct => divide(geometry, data, weight, prior),
        Division::Gridding { mass } => {
            gridding::divide(geometry, data, |index, shell| regularised(geometry, weight, prior, index, shell) / mass);
            let scale = 1.0 / mass;
            data.par_iter_mut().for_each(|v| *v *= scale);
        }
    }
    real_space(geometry, data, pixel_size_angstrom)
}

/// Complex numbers of working memory of [`reconstruct`].
pub fn work_len(geometry: &Geometry) -> usize {
    PaddedTransform::<f64>::new(geometry).work_len()
}

#[inline]
fn regularised(geometry: &Geometry, weight: &[f64], prior: Option<&Prior>, index: usize, shell: usize) -> f64 {
    let w = weight[index];
    w + prior.map_or(0.0, |p| p.weight(shell, w, geometry.padding.powi(3)))
}

/// data /= max(weight + prior, floor of the shell), inside the sphere.
fn divide(geometry: &Geometry, data: &mut [Complex<f64>], weight: &[f64], prior: Option<&Prior>) {
    assert_eq!(weight.len(), geometry.rows.len(), "a volume in the geometry's rows");
    let radius2 = sweep::radius_square(geometry);
    let nearest = sweep::nearest_shells(geometry);
    let below: Vec<u16> = (0..=radius2).map(|square| ((square as f64).sqrt() / geometry.padding) as u16).collect();
    let total = |index: usize, square: u64| {
        // The prior ends before the sphere's last voxels, as RELION's does.
        let prior = if square < radius2 { prior } else { None };
        regularised(geometry, weight, prior, index, usize::from(nearest[square as usize]))
    };
    let end = units::round_half_away((geometry.r_max as f64 * geometry.padding).powi(2)) as u64;
    let last = geometry.r_max.max(1) - 1;
    let means = sweep::shell_sums(geometry, last + 1, end.min(radius2 + 1), |index, square, sums: &mut [[f64; 2]]| {
        let bin = &mut sums[usize::from(below[square as usize]).min(last)];
        bin[0] += total(index, square);
        bin[1] += 1.0;
    });
    let floors: Vec<f64> = means.iter().map(|[sum, count]| WEIGHT_FLOOR * sum / count.max(1.0)).collect();
    let rows = &geometry.rows;
    sweep::planes_mut(rows, data).into_par_iter().for_each(|(z, plane)| {
        let start = sweep::plane_start(rows, z);
        sweep::for_each_in_plane(rows, z, radius2 + 1, |index, square| {
            let floor = floors[usize::from(below[square as usize]).min(last)];
            let divisor = total(index, square).max(floor);
            if divisor > 0.0 {
                plane[index - start] /= divisor;
            }
        });
    });
}

/// Inverse transform, crop, soft sphere and correction for interpolation.
fn real_space(geometry: &Geometry, sphere: &[Complex<f64>], pixel_size_angstrom: f64) -> Volume {
    let n = geometry.box_pixels;
    let transform = PaddedTransform::new(geometry);
    let mut work = vec![Complex::default(); transform.work_len()];
    let mut voxels = vec![0.0; n.pow(3)];
    transform.inverse(sphere, &mut work, &mut voxels);
    drop(work);
    mask::fill_outside_sphere(&mut voxels, n, (n / 2) as f64, EDGE_PIXELS);
    let attenuation = GriddingCorrection::new(n, geometry.padded_pixels);
    let scale = 1.0 / (geometry.padding.powi(3) * n as f64);
    let mut map = Volume::zeros(n, pixel_size_angstrom);
    map.data.par_chunks_exact_mut(n * n).zip(voxels.par_chunks_exact(n * n)).enumerate().for_each(
        |(z, (out, values))| {
            for (i, (out, value)) in out.iter_mut().zip(values).enumerate() {
                *out = (value * scale / attenuation.at(i % n, i / n, z)) as f32;
            }
        },
    );
    map
}
