//! The oversampled Fourier volume and its central slices (Scheres 2012).

use num_complex::Complex;
use rayon::prelude::*;

use crate::fourier::Real;
use crate::rotation::Matrix3;

use super::Geometry;
use super::gridding::GriddingCorrection;
use super::padded;
use super::padded::PaddedTransform;

/// Fills `data` (geometry.rows order) with the oversampled transform of a map, and returns the map's power
/// spectrum: the mean of |F|^2 / 2 per shell 0..=box/2.
///
/// `voxels` is a cube of edge geometry.box_pixels, x fastest, centred on box/2. It is divided by sinc^2(r / padded) to undo the interpolation, and scaled so that a slice has the
/// scale of the forward transform (divided by box^2) of the projected image. `work` holds
/// [`padded::work_len`] numbers and may be dropped afterwards.
pub fn build_into<T: Real>(
    voxels: &[f32],
    geometry: &Geometry,
    data: &mut [Complex<T>],
    work: &mut [Complex<T>],
) -> Vec<f64> {
    let n = geometry.box_pixels;
    assert_eq!(voxels.len(), n.pow(3), "a volume of edge {n}");
    let attenuation = GriddingCorrection::new(n, geometry.padded_pixels);
    let value = |x: usize, y: usize, z: usize| T::of(f64::from(voxels[(z * n + y) * n + x]) / attenuation.at(x, y, z));
    // padding^3 n for the volume, 1 / padded^3 for the transform.
    PaddedTransform::new(geometry).forward(value, 1.0 / (n * n) as f64, data, work);
    power_spectrum(geometry, data)
}

/// Mean of |F|^2 / 2 per unpadded shell over the stored voxels of the sphere; 0 for shells without any.
pub fn power_spectrum<T: Real>(geometry: &Geometry, data: &[Complex<T>]) -> Vec<f64> {
    let rows = &geometry.rows;
    let radius2 = rows.radius().pow(2) as u64;
    let shells: Vec<u16> = (0..=radius2).map(|square| geometry.shell(square) as u16).collect();
    let bins = geometry.box_pixels / 2 + 1;
    let edge = rows.edge();
    // One partial sum a plane, added in order: the same bits on any number of threads.
    let planes: Vec<Vec<(f64, u64)>> = (-edge..=edge)
        .into_par_iter()
        .map(|z| {
            let mut sums = vec![(0.0, 0); bins];
            for y in -edge..=edge {
                let base = (i64::from(z).pow(2) + i64::from(y).pow(2)) as u64;
                for (x, f) in data[rows.row(z, y)].iter().enumerate() {
                    let square = base + (x * x) as u64;
                    if square <= radius2
                        && let Some(bin) = sums.get_mut(usize::from(shells[square as usize]))
                    {
                        bin.0 += f.re.widen().powi(2) + f.im.widen().powi(2);
                        bin.1 += 1;
                    }
                }
            }
            sums
        })
        .collect();
    (0..bins)
        .map(|s| {
            let (sum, count) = planes.iter().fold((0.0, 0), |(a, n), p| (a + p[s].0, n + p[s].1));
            if count > 0 { 0.5 * sum / count as f64 } else { 0.0 }
        })
        .collect()
}

/// Central slice at pixels (kx, ky): trilinear interpolation at inverse * (kx, ky, 0); 0 outside the sphere.
///
/// `inverse` comes from [`super::ReferenceScale::inverse`], or is the transpose of the rotation when image and
/// reference share box and pixel size. Restrict the list to `PixelList::inside` for windows smaller than the sphere.
pub fn slice_into<T: Real>(
    geometry: &Geometry,
    data: &[Complex<T>],
    inverse: &Matrix3,
    kx: &[i16],
    ky: &[i16],
    out: &mut [Complex<T>],
) {
    assert!(data.len() == geometry.rows.len() && out.len() == kx.len(), "buffers of the geometry's sizes");
    out.fill(Complex::new(T::zero(), T::zero()));
    geometry.for_each_cell(inverse, kx, ky, |i, cell| {
        let [fx, fy, fz] = cell.fraction.map(T::of);
        let along_x = |corner: usize| {
            let (a, b) = (data[corner], data[corner + 1]);
            a + (b - a) * fx
        };
        let [c00, c10, c01, c11] = cell.corners.map(along_x);
        let (low, high) = (c00 + (c10 - c00) * fy, c01 + (c11 - c01) * fy);
        let value = low + (high - low) * fz;
        out[i] = if cell.conjugate { value.conj() } else { value };
    });
}

/// A projector that owns its memory, for programs beside the engine and for tests.
#[derive(Clone, Debug)]
pub struct Projector<T> {
    pub geometry: Geometry,
    pub data: Vec<Complex<T>>,
    /// Mean of |F|^2 / 2 per shell of the (corrected) map.
    pub power: Vec<f64>,
}

impl<T: Real> Projector<T> {
    /// Projector of a cubic map up to shell current_size/2.
    pub fn new(voxels: &[f32], box_pixels: usize, padding: f64, current_size: usize) -> Self {
        let geometry = Geometry::new(box_pixels, padding, current_size);
        let zero = Complex::new(T::zero(), T::zero());
        let mut data = vec![zero; geometry.rows.len()];
        let mut work = vec![zero; padded::work_len(&geometry, rayon::current_num_threads())];
        let power = build_into(voxels, &geometry, &mut data, &mut work);
        Self { geometry, data, power }
    }

    /// See [`slice_into`].
    pub fn slice(&self, inverse: &Matrix3, kx: &[i16], ky: &[i16], out: &mut [Complex<T>]) {
        slice_into(&self.geometry, &self.data, inverse, kx, ky, out);
    }
}
