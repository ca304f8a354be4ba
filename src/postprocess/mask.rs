//! Masks from maps: threshold, extend or shrink, soft edge.

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::Map;
use crate::fourier::RealFft3;
use crate::fourier::low_pass_3d;
use crate::units::shell_of_angstrom;

use super::distance::NOWHERE;
use super::distance::squared_distances;
use super::maps;

/// How to make a mask.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskOptions {
    /// Voxels of at least this value are inside.
    pub threshold: f64,
    /// Voxels nearer than this to the inside become inside; negative: inside voxels nearer than this to the outside
    /// become outside.
    pub extend_pixels: f64,
    /// Width of the raised-cosine edge, added outside.
    pub soft_edge_pixels: f64,
    /// Low-pass the map before the threshold.
    pub low_pass_angstrom: Option<f64>,
}

impl Default for MaskOptions {
    fn default() -> Self {
        Self { threshold: 0.01, extend_pixels: 3.0, soft_edge_pixels: 6.0, low_pass_angstrom: None }
    }
}

/// A mask of values 0..1 with the size of `map`.
///
/// # Errors
/// `BadData` when the map is no even cube of finite values (a low-pass needs that) or no voxel reaches the threshold;
/// `Usage` when an option is out of range or shrinking leaves nothing.
pub fn create(map: &Map, options: &MaskOptions) -> Result<Map> {
    check(map, options)?;
    let filtered = options.low_pass_angstrom.map(|d| low_passed(map, d)).transpose()?;
    let mut is_inside: Vec<bool> = match &filtered {
        Some(voxels) => voxels.iter().map(|v| *v >= options.threshold).collect(),
        None => map.data.iter().map(|v| f64::from(*v) >= options.threshold).collect(),
    };
    if !is_inside.contains(&true) {
        let highest = map.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        return Err(Error::bad_data(
            "mask",
            format!("no voxel reaches the threshold of {} (highest of the map: {highest})", options.threshold),
            "Lower the threshold; a viewer shows which one encloses the particle.",
        ));
    }
    let size = [map.nx, map.ny, map.nz];
    let reach = options.extend_pixels.powi(2);
    if options.extend_pixels > 0.0 {
        let distances = squared_distances(&is_inside, size);
        is_inside = distances.iter().map(|d| f64::from(*d) < reach).collect();
    } else if options.extend_pixels < 0.0 {
        let is_outside: Vec<bool> = is_inside.iter().map(|inside| !inside).collect();
        is_inside =
            squared_distances(&is_outside, size).iter().map(|d| *d == NOWHERE || f64::from(*d) >= reach).collect();
    }
    if !is_inside.contains(&true) {
        return Err(Error::usage(
            format!("shrinking by {} pixels leaves nothing of the mask", -options.extend_pixels),
            "Shrink by less, or lower the threshold.",
        ));
    }
    let data = if options.soft_edge_pixels > 0.0 {
        let width = options.soft_edge_pixels;
        squared_distances(&is_inside, size).iter().map(|d| soft_edge(f64::from(*d).sqrt(), width)).collect()
    } else {
        is_inside.iter().map(|inside| if *inside { 1.0 } else { 0.0 }).collect()
    };
    Ok(Map { nx: map.nx, ny: map.ny, nz: map.nz, pixel_size_angstrom: map.pixel_size_angstrom, data })
}

/// 0.5 + 0.5 cos(pi d / w) for d < w, 0 beyond.
fn soft_edge(distance: f64, width: f64) -> f32 {
    if distance < width { (0.5 + 0.5 * (std::f64::consts::PI * distance / width).cos()) as f32 } else { 0.0 }
}

fn low_passed(map: &Map, resolution_angstrom: f64) -> Result<Vec<f64>> {
    let n = maps::check_cube(map, "map")?;
    let pixel_size = map.pixel_size_angstrom;
    if !(pixel_size > 0.0 && pixel_size.is_finite()) {
        return Err(Error::bad_data("map", "the header has no pixel size", "Give the pixel size in Angstrom."));
    }
    let plan = RealFft3::<f64>::new(n);
    let mut half = plan.forward(map.data.iter().map(|v| f64::from(*v)));
    low_pass_3d(&mut half, n, shell_of_angstrom(resolution_angstrom, n, pixel_size) as f64);
    Ok(plan.inverse(&mut half))
}

fn check(map: &Map, options: &MaskOptions) -> Result<()> {
    maps::check_finite(map, "map")?;
    let refuse = |problem: String, fix: &str| Err(Error::usage(problem, fix));
    if !options.threshold.is_finite() {
        return refuse(format!("a threshold of {}", options.threshold), "Give a density of the map.");
    }
    if !options.extend_pixels.is_finite() {
        return refuse(format!("an extension of {} pixels", options.extend_pixels), "Give a number of pixels.");
    }
    if !(options.soft_edge_pixels >= 0.0 && options.soft_edge_pixels.is_finite()) {
        return refuse(format!("a soft edge of {} pixels", options.soft_edge_pixels), "Give 0 or more pixels.");
    }
    match options.low_pass_angstrom {
        Some(d) if !(d > 0.0 && d.is_finite()) => refuse(format!("a low-pass at {d} A"), "Give a resolution above 0."),
        _ => Ok(()),
    }
}
