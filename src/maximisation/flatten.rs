//! Solvent flattening: references are multiplied by a soft mask.

use crate::error::Error;
use crate::error::Result;
use crate::fourier;
use crate::imaging::mask;
use crate::model::Volume;
use crate::units;

/// Mask values may leave [0, 1] by this much (rounding of the program that wrote the file).
const SLACK: f32 = 1e-4;
/// Pixel sizes closer than this, relatively, are the same: they come from files in single precision.
const SAME_PIXEL_SIZE: f64 = 1e-4;

/// What is outside the particle.
#[derive(Clone, Copy, Debug)]
pub enum Solvent<'a> {
    /// Outside a sphere of the particle's diameter, with a soft edge beyond it.
    Sphere { diameter_angstrom: f64, edge_pixels: f64 },
    /// Where a mask of the model's box is 0; see [`prepare_mask`].
    Mask(&'a [f32]),
}

/// Multiplies a map by the mask.
pub fn flatten(map: &mut Volume, solvent: Solvent) {
    match solvent {
        Solvent::Sphere { diameter_angstrom, edge_pixels } => {
            let radius = diameter_angstrom / (2.0 * map.pixel_size_angstrom);
            mask::multiply_by_sphere(&mut map.data, map.box_pixels, radius, edge_pixels);
        }
        Solvent::Mask(mask) => {
            assert_eq!(mask.len(), map.data.len(), "a mask of the model's box");
            map.data.iter_mut().zip(mask).for_each(|(v, m)| *v *= m);
        }
    }
}

/// A user's mask in the model's box and pixel size: resampled and cropped or padded (with 0) where it differs.
///
/// # Errors
/// Values outside [0, 1]; `name` stands for the file.
pub fn prepare_mask(name: &str, mask: &Volume, box_pixels: usize, pixel_size_angstrom: f64) -> Result<Vec<f32>> {
    if let Some(value) = mask.data.iter().find(|v| !(-SLACK..=1.0 + SLACK).contains(*v)) {
        return Err(Error::bad_data(
            name,
            format!("a mask must have values between 0 and 1, and this one has {value}"),
            "Make a mask from a map first, with a threshold and a soft edge.",
        ));
    }
    let n = mask.box_pixels;
    let ratio = mask.pixel_size_angstrom / pixel_size_angstrom;
    let scaled_box = if (ratio - 1.0).abs() < SAME_PIXEL_SIZE {
        n
    } else {
        2 * units::round_half_away(0.5 * n as f64 * ratio) as usize
    };
    let scaled = fourier::resize_volume(&mask.data, n, scaled_box);
    let mut out = vec![0.0; box_pixels.pow(3)];
    let at = |i: usize| (i + scaled_box / 2).checked_sub(box_pixels / 2).filter(|i| *i < scaled_box);
    for z in 0..box_pixels {
        for y in 0..box_pixels {
            let (Some(sz), Some(sy)) = (at(z), at(y)) else { continue };
            for x in 0..box_pixels {
                if let Some(sx) = at(x) {
                    // Resampling overshoots at edges.
                    let value: f32 = scaled[(sz * scaled_box + sy) * scaled_box + sx];
                    out[(z * box_pixels + y) * box_pixels + x] = value.clamp(0.0, 1.0);
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(n: usize, pixel: f64, radius: f64) -> Volume {
        let c = (n / 2) as f64;
        let data = (0..n.pow(3)).map(|i| {
            let d = [i % n, i / n % n, i / n / n].map(|v| (v as f64 - c) * pixel);
            let r = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt();
            (1.0 - mask::outside_weight(r, radius, 8.0)) as f32
        });
        Volume { box_pixels: n, pixel_size_angstrom: pixel, data: data.collect() }
    }

    #[test]
    fn masks_are_brought_to_the_model() {
        let wanted = ball(20, 2.0, 8.0);
        for mask in [ball(20, 2.0, 8.0), ball(40, 1.0, 8.0), ball(28, 2.0, 8.0), ball(60, 1.0, 8.0)] {
            let found = prepare_mask("mask.mrc", &mask, 20, 2.0).expect("a mask");
            let worst = found.iter().zip(&wanted.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // An edge of four pixels loses little to resampling.
            assert!(worst < 0.03, "{}: {worst}", mask.box_pixels);
        }
    }

    #[test]
    fn values_outside_the_unit_interval_are_refused() {
        let mut mask = ball(8, 1.0, 2.0);
        mask.data[7] = 1.5;
        let error = prepare_mask("mask.mrc", &mask, 8, 1.0).expect_err("1.5");
        assert!(error.to_string().contains("1.5") && error.place == "mask.mrc");
        mask.data[7] = f32::NAN;
        assert!(prepare_mask("mask.mrc", &mask, 8, 1.0).is_err());
    }

    #[test]
    fn solvent_becomes_zero() {
        let full = Volume { box_pixels: 16, pixel_size_angstrom: 2.0, data: vec![2.0; 4096] };
        let mut by_sphere = full.clone();
        flatten(&mut by_sphere, Solvent::Sphere { diameter_angstrom: 12.0, edge_pixels: 2.0 });
        assert_eq!((by_sphere.data[0], by_sphere.data[(8 * 16 + 8) * 16 + 8]), (0.0, 2.0));
        let mut by_mask = full.clone();
        flatten(&mut by_mask, Solvent::Mask(&vec![0.25; 4096]));
        assert!(by_mask.data.iter().all(|v| *v == 0.5));
    }
}
