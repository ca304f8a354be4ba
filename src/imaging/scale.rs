//! Images whose box, pixel size or magnification differ from the reference's.

use crate::dataset::OpticsGroup;
use crate::rotation::Matrix3;
use crate::units;

/// Ratios closer to one than this are one: pixel sizes come from files in single precision.
const SAME: f64 = 1e-6;

/// How the frequencies of one optics group's images map to those of the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReferenceScale {
    /// (image box * image pixel size) / (reference box * reference pixel size).
    pub ratio: f64,
    /// Anisotropic magnification of the group.
    pub magnification: [[f64; 2]; 2],
    /// Edge of the images.
    pub image_pixels: usize,
}

impl ReferenceScale {
    pub fn new(optics: &OpticsGroup, reference_pixels: usize, reference_pixel_size_angstrom: f64) -> Self {
        let ratio = (optics.box_pixels as f64 * optics.pixel_size_angstrom)
            / (reference_pixels as f64 * reference_pixel_size_angstrom);
        Self {
            ratio: if (ratio - 1.0).abs() < SAME { 1.0 } else { ratio },
            magnification: optics.magnification,
            image_pixels: optics.box_pixels,
        }
    }

    /// The matrix that takes image frequencies to reference frequencies, for a pose given as the
    /// rotation from object to image coordinates: R^-1 diag(M, 1) / ratio.
    pub fn inverse(&self, rotation: &Matrix3) -> Matrix3 {
        let m = self.magnification;
        let s = 1.0 / self.ratio;
        let image = Matrix3([[s * m[0][0], s * m[0][1], 0.0], [s * m[1][0], s * m[1][1], 0.0], [0.0, 0.0, s]]);
        rotation.transpose() * image
    }

    /// Shell of the reference that holds a shell of the image.
    pub fn reference_shell(&self, image_shell: usize) -> usize {
        units::round_half_away(image_shell as f64 / self.ratio) as usize
    }

    /// Window of the image that holds the reference's window of `size`.
    pub fn image_size(&self, size: usize) -> usize {
        self.image_pixels.min(2 * (0.5 * self.ratio * size as f64).ceil() as usize)
    }
}
