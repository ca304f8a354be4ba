//! Maps, one MRC file a class and half.

use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Result;
use crate::model::Volume;

use super::atomic::atomic;
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
    let n = map.box_pixels as i32;
    let mut h = vec![0u8; 1024];
    let mut put = |w: usize, b: [u8; 4]| h[4 * w..4 * w + 4].copy_from_slice(&b);
    for w in [0, 1, 2, 7, 8, 9] {
        put(w, n.to_le_bytes());
    }
    put(3, 2i32.to_le_bytes());
    for w in [10, 11, 12] {
        put(w, (n as f32 * map.pixel_size_angstrom as f32).to_le_bytes());
    }
    for w in [13, 14, 15] {
        put(w, 90f32.to_le_bytes());
    }
    for (w, v) in [(16, 1i32), (17, 2), (18, 3)] {
        put(w, v.to_le_bytes());
    }
    put(52, *b"MAP ");
    put(53, [0x44, 0x44, 0, 0]);
    atomic(path, |f| {
        f.write_all(&h)?;
        for v in &map.data {
            f.write_all(&v.to_le_bytes())?;
        }
        Ok(())
    })
}
