//! Where the images come from.

use crate::dataset::ImageName;
use crate::error::Result;
use crate::formats::mrc::PixelFormat;

/// The images of a data set, which keep the number type of their files until they are used.
pub trait ImageSource: Sync {
    /// Reads images into places of `stride` bytes, one after the other in the order asked for. Images that lie near
    /// each other in a file are read together through `request`, which holds one at least.
    ///
    /// # Errors
    /// Whatever is wrong with the file, with the name of the image.
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()>;

    /// How the pixels of an image are stored in its place.
    fn format(&self, image: ImageName) -> PixelFormat;

    /// The pixels of an image whose place was filled by [`Self::read`].
    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]);
}
