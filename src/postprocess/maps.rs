//! What maps must be like.

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::Map;

/// Rounding of masks written in single precision by filters of other programs.
const MASK_SLACK: f32 = 1e-4;

/// The edge of an even cube of finite values.
pub fn check_cube(map: &Map, place: &str) -> Result<usize> {
    let Map { nx, ny, nz, .. } = *map;
    if nx != ny || nx != nz {
        let fix = "Pad or crop the map to a cube (relion_image_handler --new_box).";
        return Err(Error::bad_data(place, format!("{nx} x {ny} x {nz} voxels are not a cube"), fix));
    }
    if !nx.is_multiple_of(2) || nx < 4 {
        let fix = "Pad or crop the map to an even box of at least 4 (relion_image_handler --new_box).";
        return Err(Error::bad_data(place, format!("a box of {nx} voxels"), fix));
    }
    check_finite(map, place)?;
    Ok(nx)
}

pub fn check_finite(map: &Map, place: &str) -> Result<()> {
    match map.data.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => Err(Error::bad_data(
            place,
            format!("voxel ({}, {}, {}) is {}", i % map.nx, i / map.nx % map.ny, i / map.nx / map.ny, map.data[i]),
            "Repair the map; every value must be a finite number.",
        )),
    }
}

/// Two maps of one box and known pixel size that are not the same map; returns the box.
pub fn check_half_maps(half1: &Map, half2: &Map) -> Result<usize> {
    let n = check_cube(half1, "half map 1")?;
    let m = check_cube(half2, "half map 2")?;
    if n != m {
        let fix = "Name the two halves of one refinement.";
        return Err(Error::bad_data("half map 2", format!("a box of {m} voxels, but half map 1 has {n}"), fix));
    }
    if !(half1.pixel_size_angstrom > 0.0 && half1.pixel_size_angstrom.is_finite()) {
        return Err(Error::bad_data("half map 1", "the header has no pixel size", "Give the pixel size in Angstrom."));
    }
    if half1.data == half2.data {
        let fix = "Name the two halves of one refinement; a map correlates with itself at any resolution.";
        return Err(Error::bad_data("half map 2", "identical to half map 1", fix));
    }
    Ok(n)
}

pub fn check_mask(mask: &Map, n: usize, place: &str) -> Result<()> {
    let m = check_cube(mask, place)?;
    if m != n {
        let fix = "Make the mask from a map of this refinement (`relion-rs mask`).";
        return Err(Error::bad_data(place, format!("a box of {m} voxels, but the half maps have {n}"), fix));
    }
    let is_allowed = |v: &f32| (-MASK_SLACK..=1.0 + MASK_SLACK).contains(v);
    if let Some(value) = mask.data.iter().find(|v| !is_allowed(v)) {
        let fix =
            "A mask is 1 in the particle, 0 in the solvent, and between in its edge (`relion-rs mask` makes one).";
        return Err(Error::bad_data(place, format!("holds a value of {value}"), fix));
    }
    if !mask.data.iter().any(|v| *v > 0.5) {
        let fix = "Make the mask again with a lower threshold.";
        return Err(Error::bad_data(place, "no voxel is above 0.5: the mask leaves nothing", fix));
    }
    Ok(())
}
