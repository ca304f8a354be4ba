//! Maps, one MRC file a class and half.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Result;
use crate::formats::mrc;
use crate::model::Volume;

use super::header::Snapshot;
use super::names::Moment;
use super::names::Names;

/// Writes the map of every class of every half.
///
/// # Errors
/// A file cannot be written.
pub fn write_maps(names: &Names, snapshot: &Snapshot) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (half, model) in snapshot.state.halves.iter().enumerate() {
        for (k, class) in model.classes.iter().enumerate() {
            let path = names.path(&snapshot.moment.map(snapshot.half_name(half), k + 1));
            write_map(&path, &class.map)?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Writes a half map (`half` 1 or 2) that was reconstructed without the prior, from which the FSC is computed.
///
/// # Errors
/// The file cannot be written.
pub fn write_unfiltered_map(names: &Names, moment: Moment, half: usize, class: usize, map: &Volume) -> Result<PathBuf> {
    let path = names.path(&moment.unfiltered_map(half, class));
    write_map(&path, map)?;
    Ok(path)
}

fn write_map(path: &Path, map: &Volume) -> Result<()> {
    let n = map.box_pixels;
    mrc::write_volume(path, [n; 3], map.pixel_size_angstrom, &map.data)
}
