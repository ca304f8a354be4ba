//! How widely the pixels of an image spread: images are normalised alike, and one that is not would outweigh the others.

use crate::dataset::Dataset;
use crate::dataset::ImageName;
use crate::error::Error;
use crate::error::Result;

/// An image whose standard deviation is more than so many times that of most images is not normalised like them.
/// Normalised images differ by less than 2, raw ones of uneven ice and dose by a few.
pub const WILD_FACTOR: f64 = 10.0;

/// Standard deviation of the pixels of an image; 0 for a constant one, NaN when a pixel is not a finite number.
pub fn spread(pixels: &[f32]) -> f64 {
    if pixels.iter().all(|value| *value == pixels[0]) && pixels[0].is_finite() {
        return 0.0;
    }
    let count = pixels.len() as f64;
    let mean = pixels.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    (pixels.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

impl Dataset {
    /// What messages call an image: `stack.mrcs, image 17`.
    pub fn image_name(&self, image: ImageName) -> String {
        format!("{}, image {}", self.stacks[image.stack as usize], u64::from(image.index) + 1)
    }

    /// Refuses an image that spreads far more widely than is usual in its optics group; 0 is unknown.
    ///
    /// # Errors
    /// `BadData` with the name of the image.
    pub fn refuse_wild(&self, image: ImageName, spread: f64, usual: f64) -> Result<()> {
        if usual > 0.0 && spread > WILD_FACTOR * usual {
            return Err(Error::bad_data(
                self.image_name(image),
                format!("the pixels spread {:.3e} times as wide as those of most images", spread / usual),
                "Normalise the images, or remove this one: alone it would outweigh all others in the map.",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_a_standard_deviation() {
        assert_eq!(spread(&[1.0, 3.0, 1.0, 3.0]), 1.0);
        assert_eq!(spread(&[0.1; 7]), 0.0);
        assert!(spread(&[0.0, f32::NAN]).is_nan() && spread(&[f32::INFINITY; 2]).is_nan());
        assert!(spread(&[1e30, 0.0]).is_finite());
    }
}
