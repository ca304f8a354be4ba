//! Maps and particles from files, with the checks every verb wants.

use std::path::Path;

use crate::dataset::Dataset;
use crate::dataset::ImageShape;
use crate::dataset::ReadOptions;
use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::image_size;
use crate::formats::mrc::read_map;
use crate::model::Volume;

/// Reads a cubic map with an even edge, a pixel size and finite values that are not all the same.
///
/// # Errors
/// `NoInput` when it cannot be opened; `BadData` for anything else.
pub fn read_volume(path: &Path) -> Result<Volume> {
    let map = read_map(path)?;
    let bad = |problem: String, fix: &str| Err(Error::bad_data(path.display().to_string(), problem, fix));
    if map.nx != map.ny || map.nx != map.nz || map.nx < 8 || map.nx % 2 == 1 {
        let size = format!("{} x {} x {} voxels", map.nx, map.ny, map.nz);
        return bad(size, "Use a cubic map with an even edge of at least 8 voxels: crop or pad it.");
    }
    let pixel = map.pixel_size_angstrom;
    if !(pixel.is_finite() && pixel > 0.0) {
        return bad(format!("the pixel size is {pixel} A"), "Write the pixel size into the header.");
    }
    if let Some(at) = map.data.iter().position(|value| !value.is_finite()) {
        let (x, y, z) = (at % map.nx, at / map.nx % map.nx, at / (map.nx * map.nx));
        return bad(format!("voxel ({x}, {y}, {z}) is {}", map.data[at]), "Make the map anew.");
    }
    if map.data.iter().all(|value| *value == map.data[0]) {
        return bad(format!("all voxels are {}", map.data[0]), "Name a map with a particle in it.");
    }
    Ok(Volume { box_pixels: map.nx, pixel_size_angstrom: pixel, data: map.data })
}

/// Reads a particle table, and the headers of its stacks if the options say so.
pub fn read_particles(path: &Path, options: &ReadOptions) -> Result<Dataset> {
    Dataset::read_with(path, options, &|stack| {
        let (columns, rows, sections, _) = image_size(stack)?;
        Ok(ImageShape { columns, rows, sections })
    })
}

/// Refuses two maps of different boxes or pixel sizes.
pub fn same_box(a: (&Path, &Volume), b: (&Path, &Volume)) -> Result<()> {
    let is_same_pixel = (a.1.pixel_size_angstrom / b.1.pixel_size_angstrom - 1.0).abs() < PIXEL_TOLERANCE;
    if a.1.box_pixels == b.1.box_pixels && is_same_pixel {
        return Ok(());
    }
    let told = |map: &Volume| format!("{} voxels of {:.4} A", map.box_pixels, map.pixel_size_angstrom);
    Err(Error::bad_data(
        b.0.display().to_string(),
        format!("has {}, {} has {}", told(b.1), a.0.display(), told(a.1)),
        "Use maps of one box and one pixel size.",
    ))
}

/// Relative; headers hold pixel sizes as edge length in 32-bit floats, and people type three digits.
const PIXEL_TOLERANCE: f64 = 1e-3;
