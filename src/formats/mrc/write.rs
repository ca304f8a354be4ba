//! Writing maps and stacks: mode 2, little-endian, whole or not at all.

use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::atomic::AtomicFile;
use crate::formats::mrc::ByteOrder;
use crate::formats::mrc::HEADER_BYTES;
use crate::formats::mrc::Header;
use crate::formats::mrc::Map;
use crate::formats::mrc::Mode;
use crate::formats::mrc::Statistics;

/// Bytes handed to the file at once.
const PIECE: usize = 1 << 20;

/// Writes a map (or one image).
///
/// # Errors
/// `CannotCreate` or `Io`; the file that was there before stays.
///
/// # Panics
/// When `data` is not nx * ny * nz long, or empty.
pub fn write_map(path: &Path, map: &Map) -> Result<()> {
    write_volume(path, [map.nx, map.ny, map.nz], map.pixel_size_angstrom, &map.data)
}

/// As [`write_map`], from voxels that somebody else owns.
///
/// # Errors
/// As [`write_map`].
///
/// # Panics
/// As [`write_map`].
pub fn write_volume(path: &Path, [nx, ny, nz]: [usize; 3], pixel_size_angstrom: f64, data: &[f32]) -> Result<()> {
    assert_eq!(data.len(), nx * ny * nz, "a map of {nx} x {ny} x {nz} voxels");
    let mut writer = StackWriter::create(path, nx, ny, pixel_size_angstrom)?;
    data.chunks(nx * ny).try_for_each(|section| writer.push(section))?;
    writer.commit(nz > 1)
}

/// Writes images of nx * ny pixels, one after the other in `pixels`.
///
/// # Errors
/// As [`write_map`].
///
/// # Panics
/// When `pixels` is not a whole number of images, or empty.
pub fn write_stack(path: &Path, nx: usize, ny: usize, pixel_size_angstrom: f64, pixels: &[f32]) -> Result<()> {
    assert!(pixels.len().is_multiple_of(nx * ny), "whole images of {nx} x {ny} pixels");
    let mut writer = StackWriter::create(path, nx, ny, pixel_size_angstrom)?;
    pixels.chunks(nx * ny).try_for_each(|image| writer.push(image))?;
    writer.finish()
}

/// A stack that is written image by image. It appears under its name when it is finished, and not at all otherwise.
#[derive(Debug)]
pub struct StackWriter {
    file: AtomicFile,
    header: Header,
    statistics: Statistics,
    bytes: Vec<u8>,
}

impl StackWriter {
    /// Starts a stack of nx * ny pixels an image; a pixel size of 0 means unknown.
    ///
    /// # Errors
    /// `CannotCreate` or `Io`.
    ///
    /// # Panics
    /// When an edge is 0 or does not fit the format.
    pub fn create(path: &Path, nx: usize, ny: usize, pixel_size_angstrom: f64) -> Result<Self> {
        let fits = 1..=usize::from(u16::MAX);
        assert!(fits.contains(&nx) && fits.contains(&ny), "images of {nx} x {ny} pixels");
        let header = Header {
            nx,
            ny,
            nz: 0,
            mode: Mode::Float32,
            byte_order: ByteOrder::Little,
            pixel_size_angstrom,
            extended_bytes: 0,
        };
        let bytes = vec![0; HEADER_BYTES];
        Ok(Self { file: AtomicFile::create(path)?, header, statistics: Statistics::default(), bytes })
    }

    /// Images written so far.
    pub fn count(&self) -> usize {
        self.header.nz
    }

    /// Appends one image.
    ///
    /// # Errors
    /// `Io`, for a full disk say.
    ///
    /// # Panics
    /// When it has not nx * ny pixels.
    pub fn push(&mut self, image: &[f32]) -> Result<()> {
        assert_eq!(image.len(), self.header.section_pixels(), "an image of {} x {}", self.header.nx, self.header.ny);
        self.header.nz += 1;
        self.statistics.add(image);
        for piece in image.chunks(PIECE) {
            self.bytes.extend(piece.iter().flat_map(|v| v.to_le_bytes()));
            if self.bytes.len() >= PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes the header, syncs, and gives the stack its name.
    ///
    /// # Errors
    /// `Io` or `CannotCreate`.
    ///
    /// # Panics
    /// When no image was written.
    pub fn finish(self) -> Result<()> {
        self.commit(false)
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.file().write_all(&self.bytes);
        written.map_err(|cause| Error::writing(self.file.path(), &cause))?;
        self.bytes.clear();
        Ok(())
    }

    fn commit(mut self, is_map: bool) -> Result<()> {
        assert!(self.header.nz > 0 && i32::try_from(self.header.nz).is_ok(), "{} sections", self.header.nz);
        self.flush()?;
        let header = self.header.to_bytes(is_map, &self.statistics);
        let file = self.file.file();
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header));
        written.map_err(|cause| Error::writing(self.file.path(), &cause))?;
        self.file.commit()
    }
}
