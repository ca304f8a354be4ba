//! Whole maps.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::header;
use crate::formats::mrc::is_stack_name;

/// Bytes read at once.
const PIECE: usize = 4 << 20;

/// A map, or one image (nz = 1): x fastest, then y, then z.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    pub nx: usize,
    pub ny: usize,
    pub nz: usize,
    /// 0 when the header does not say.
    pub pixel_size_angstrom: f64,
    pub data: Vec<f32>,
}

/// Reads a map of any mode, or one image.
///
/// # Errors
/// `NoInput` when it cannot be opened; `BadData` when it is not a whole MRC file of a mode we read, or a stack of
/// images by its name.
pub fn read_map(path: &Path) -> Result<Map> {
    let (file, header) = header::open(path)?;
    if is_stack_name(path) && header.nz > 1 {
        return Err(Error::bad_data(
            path.display().to_string(),
            format!("a stack of {} images where one map or image is wanted", header.nz),
            "Name a map; if this is one, give it the extension .mrc.",
        ));
    }
    // The file is known to hold so much.
    let mut data = vec![0.0_f32; header.section_pixels() * header.nz];
    let mut bytes = vec![0; PIECE.min(header.section_bytes() * header.nz)];
    let mut offset = header.data_offset();
    for out in data.chunks_mut(PIECE / header.mode.bytes()) {
        let bytes = &mut bytes[..out.len() * header.mode.bytes()];
        file.read_exact_at(bytes, offset).map_err(|cause| Error::reading(path, &cause))?;
        header.decode(bytes, out);
        offset += bytes.len() as u64;
    }
    Ok(Map { nx: header.nx, ny: header.ny, nz: header.nz, pixel_size_angstrom: header.pixel_size_angstrom, data })
}
