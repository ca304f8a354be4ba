//! The prior on offsets: an isotropic Gaussian around the prior centre of the particle.

use crate::sampling::Search;
use crate::sampling::Translations;

use super::group::Group;
use super::task::Task;

/// Below this variance every offset but the centre is impossible.
const SMALLEST_VARIANCE_ANGSTROM2: f64 = 0.0001;

/// Offset prior of one particle.
#[derive(Clone, Copy, Debug)]
pub struct OffsetPrior {
    /// Old offset, rounded to whole pixels.
    offset_pixels: [f64; 2],
    centre_pixels: [f64; 2],
    variance_angstrom2: f64,
    pixel_size_angstrom: f64,
    /// RELION adds translations in Angstrom to offsets in pixels, and uses the parent's prior for its children.
    parity: bool,
    /// There is no other offset to choose.
    certain: bool,
}

impl OffsetPrior {
    pub fn new(task: &Task<'_>, group: &Group, particle: u32, offset_pixels: [f64; 2]) -> Self {
        let given = task.dataset.particles[particle as usize].offset_priors_angstrom;
        Self {
            offset_pixels,
            centre_pixels: group.pixels(given.map(|p| p.unwrap_or(0.0))),
            variance_angstrom2: task.model.sigma_offset_angstrom.powi(2),
            pixel_size_angstrom: group.pixel_size_angstrom,
            parity: task.options.parity,
            certain: matches!(task.search, Search::OwnPose),
        }
    }

    fn density(&self, translation: [f64; 2]) -> f64 {
        if self.certain {
            return 1.0;
        }
        let from_centre: [f64; 2] =
            std::array::from_fn(|a| self.offset_pixels[a] + translation[a] - self.centre_pixels[a]);
        let squared = from_centre.iter().map(|d| d * d).sum::<f64>() * self.pixel_size_angstrom.powi(2);
        if self.variance_angstrom2 < SMALLEST_VARIANCE_ANGSTROM2 {
            return if squared == 0.0 { 1.0 } else { 0.0 };
        }
        (-squared / (2.0 * self.variance_angstrom2)).exp()
    }

    /// Density at a coarse translation, up to a constant.
    pub fn coarse(&self, list: &Translations, index: usize) -> f64 {
        if self.parity {
            self.density(list.unperturbed(index))
        } else {
            self.density(list.coarse(index).map(|t| t / self.pixel_size_angstrom))
        }
    }

    /// Density at a child of a translation, divided by its parent's.
    pub fn child_ratio(&self, list: &Translations, index: usize, child: usize) -> f64 {
        let parent = self.coarse(list, index);
        if self.parity || parent == 0.0 {
            return 1.0;
        }
        self.density(list.child(index, child).map(|t| t / self.pixel_size_angstrom)) / parent
    }

    /// Density at a translation or at one of its children.
    pub fn of(&self, list: &Translations, index: usize, child: Option<u32>) -> f64 {
        self.coarse(list, index) * child.map_or(1.0, |c| self.child_ratio(list, index, c as usize))
    }

    /// Squared distance in Angstrom^2 of (offset + translation, in pixels) from the prior's centre.
    pub fn squared_angstrom(&self, offset_pixels: [f64; 2], translation_pixels: [f64; 2]) -> f64 {
        let d: [f64; 2] = std::array::from_fn(|a| self.centre_pixels[a] - offset_pixels[a] - translation_pixels[a]);
        (d[0] * d[0] + d[1] * d[1]) * self.pixel_size_angstrom.powi(2)
    }
}
