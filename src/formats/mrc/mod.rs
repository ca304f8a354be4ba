//! MRC files (Cheng et al. 2015, MRC2014): maps and stacks of images.
//!
//! A 1024-byte header, an extended header that is skipped, then nz sections of ny rows of nx pixels, x fastest. Both
//! byte orders are read; the modes are those of [`Mode`]. Which axis is which, start and origin words and the
//! statistics are ignored on reading, as in RELION. Written files are mode 2, little-endian, and hold no label or date.
//!
//! The name tells what sections mean: `.mrcs` is a stack of nz images, `.mrc` one image or the map with nz sections.

mod header;
mod map;
mod pixels;
mod stack;
mod statistics;
mod write;

pub use header::ByteOrder;
pub use header::HEADER_BYTES;
pub use header::Header;
pub use header::Mode;
pub use map::Map;
pub use map::read_map;
pub use pixels::PixelFormat;
pub use stack::REQUEST_BYTES;
pub use stack::Stack;
pub use statistics::Statistics;
pub use write::StackWriter;
pub use write::write_map;
pub use write::write_stack;
pub use write::write_volume;

use std::path::Path;

use crate::error::Result;

/// Columns, rows, sections and pixel size (Angstrom; 0 when the header does not say) of a file, from its header
/// alone. The size of the file is checked against it.
///
/// # Errors
/// `NoInput` when it cannot be opened, `BadData` when it is not a whole MRC file of a mode we read.
pub fn image_size(path: &Path) -> Result<(usize, usize, usize, f64)> {
    let (_, header) = header::open(path)?;
    Ok((header.nx, header.ny, header.nz, header.pixel_size_angstrom))
}

/// Whether the name says that the sections are images (`.mrcs`), not the sections of one map.
pub fn is_stack_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mrcs"))
}
