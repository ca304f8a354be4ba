//! Weighted sums -> map: division by the (regularised) weights, inverse transform, correction for interpolation.

use num_complex::Complex;
use rayon::prelude::*;

use crate::arena::Frame;
use crate::arena::Kind;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::imaging::Geometry;
use crate::imaging::gridding::GriddingCorrection;
use crate::imaging::mask;
use crate::imaging::padded;
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
/// The sums are only read; without a prior the map is unregularised. Takes box^3 doubles and [`padded::work_len`]
/// complex numbers from `frame`; [`Division::Gridding`] takes a weight a voxel and, before the others, a padded cube
/// besides. The same bits on any number of threads of the current rayon pool.
pub fn reconstruct(
    geometry: &Geometry,
    sums: &[SumVoxel],
    prior: Option<&Prior>,
    division: Division,
    map: &mut Volume,
    threads: usize,
    frame: &mut Frame<'_>,
) -> Result<()> {
    assert_eq!(sums.len(), geometry.rows.len(), "a volume in the geometry's rows");
    let data = |index: usize| Complex::new(sums[index][0], sums[index][1]);
    frame.child(Kind::Tile, |tile| match division {
        Division::Direct => {
            let divisors = Divisors::new(geometry, sums, prior);
            let divided = |index, square| match divisors.at(index, square) {
                divisor if divisor > 0.0 => data(index) / divisor,
                _ => data(index),
            };
            real_space(geometry, divided, map, buffers(geometry, threads, tile)?);
            Ok(())
        }
        Division::Gridding { mass } => {
            let density = |index, shell| regularised(geometry, sums, prior, index, shell) / mass;
            let weights = gridding::weights(geometry, density, tile)?;
            let scale = 1.0 / mass;
            let weighed = |index: usize, _| data(index) * weights[index] * scale;
            real_space(geometry, weighed, map, buffers(geometry, threads, tile)?);
            Ok(())
        }
    })
}

/// The allocations of [`reconstruct`].
pub fn count(geometry: &Geometry, gridding: bool, threads: usize, frame: &mut Frame<'_>) -> Result<()> {
    frame.child(Kind::Tile, |tile| {
        if gridding {
            gridding::count(geometry, tile)?;
        }
        buffers(geometry, threads, tile).map(|_| ())
    })
}

/// What the way into real space needs.
struct Buffers<'f> {
    work: &'f mut [Complex<f64>],
    voxels: &'f mut [f64],
}

fn buffers<'f>(geometry: &Geometry, threads: usize, frame: &mut Frame<'f>) -> Result<Buffers<'f>> {
    Ok(Buffers {
        work: frame.alloc("transform work", padded::work_len(geometry, threads))?,
        voxels: frame.alloc("voxels", geometry.box_pixels.pow(3))?,
    })
}

#[inline]
fn regularised(geometry: &Geometry, sums: &[SumVoxel], prior: Option<&Prior>, index: usize, shell: usize) -> f64 {
    let w = sums[index][2];
    w + prior.map_or(0.0, |p| p.weight(shell, w, geometry.padding.powi(3)))
}

/// What the data of a voxel are divided by: max(weight + prior, floor of the shell), inside the sphere.
struct Divisors<'a> {
    geometry: &'a Geometry,
    sums: &'a [SumVoxel],
    prior: Option<&'a Prior<'a>>,
    /// By squared radius: the nearest shell, and the next one towards the origin.
    nearest: Vec<u16>,
    below: Vec<u16>,
    floors: Vec<f64>,
}

impl<'a> Divisors<'a> {
    fn new(geometry: &'a Geometry, sums: &'a [SumVoxel], prior: Option<&'a Prior<'a>>) -> Self {
        let radius2 = sweep::radius_square(geometry);
        let nearest = sweep::nearest_shells(geometry);
        let last = geometry.r_max.max(1) - 1;
        let below = |square: u64| (((square as f64).sqrt() / geometry.padding) as u16).min(last as u16);
        let below = (0..=radius2).map(below).collect();
        let mut divisors = Self { geometry, sums, prior, nearest, below, floors: Vec::new() };
        let end = units::round_half_away((geometry.r_max as f64 * geometry.padding).powi(2)) as u64;
        let means =
            sweep::shell_sums(geometry, last + 1, end.min(radius2 + 1), |index, square, sums: &mut [[f64; 2]]| {
                let bin = &mut sums[usize::from(divisors.below[square as usize])];
                bin[0] += divisors.total(index, square);
                bin[1] += 1.0;
            });
        divisors.floors = means.iter().map(|[sum, count]| WEIGHT_FLOOR * sum / count.max(1.0)).collect();
        divisors
    }

    fn total(&self, index: usize, square: u64) -> f64 {
        // The prior ends before the sphere's last voxels, as RELION's does.
        let prior = if square < sweep::radius_square(self.geometry) { self.prior } else { None };
        regularised(self.geometry, self.sums, prior, index, usize::from(self.nearest[square as usize]))
    }

    fn at(&self, index: usize, square: u64) -> f64 {
        self.total(index, square).max(self.floors[usize::from(self.below[square as usize])])
    }
}

/// Inverse transform, crop, soft sphere and correction for interpolation.
fn real_space(
    geometry: &Geometry,
    value: impl Fn(usize, u64) -> Complex<f64> + Sync,
    map: &mut Volume,
    buffers: Buffers<'_>,
) {
    let n = geometry.box_pixels;
    assert_eq!(map.box_pixels, n, "a map of the geometry's box");
    let Buffers { work, voxels } = buffers;
    PaddedTransform::new(geometry).inverse(value, work, voxels);
    mask::fill_outside_sphere(voxels, n, (n / 2) as f64, EDGE_PIXELS);
    let attenuation = GriddingCorrection::new(n, geometry.padded_pixels);
    let scale = 1.0 / (geometry.padding.powi(3) * n as f64);
    map.data.par_chunks_exact_mut(n * n).zip(voxels.par_chunks_exact(n * n)).enumerate().for_each(
        |(z, (out, values))| {
            for (i, (out, value)) in out.iter_mut().zip(values).enumerate() {
                *out = (value * scale / attenuation.at(i % n, i / n, z)) as f32;
            }
        },
    );
}
