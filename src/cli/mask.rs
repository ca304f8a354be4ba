//! `mask`: a solvent mask from a map.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::mrc::Map;
use crate::formats::mrc::read_map;
use crate::formats::mrc::write_map;
use crate::postprocess::mask;
use crate::postprocess::mask::MaskOptions;

use super::screen::Screen;

/// Standard deviations above the map's mean where density counts as particle when nothing else is said.
const DEVIATIONS: f64 = 2.0;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The map
    #[arg(value_name = "MAP")]
    pub map: PathBuf,
    /// The mask to write
    #[arg(long, value_name = "MAP")]
    pub out: PathBuf,
    /// Density from which on a voxel is inside (default: two standard deviations above the mean)
    #[arg(long, value_name = "DENSITY", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// Low-pass filter the map before the threshold, in Angstrom; 0: no filter
    #[arg(long, value_name = "ANGSTROM", default_value_t = 15.0)]
    pub low_pass: f64,
    /// Grow the inside by so many pixels; negative: shrink it
    #[arg(long, value_name = "PIXELS", default_value_t = 3.0, allow_negative_numbers = true)]
    pub extend: f64,
    /// Width of the soft edge outside, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 6.0)]
    pub soft_edge: f64,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    refuse_same_file(&arguments.map, &arguments.out)?;
    let map = read_map(&arguments.map)?;
    let threshold = arguments.threshold.unwrap_or_else(|| usual_threshold(&map));
    let options = MaskOptions {
        threshold,
        extend_pixels: arguments.extend,
        soft_edge_pixels: arguments.soft_edge,
        low_pass_angstrom: (arguments.low_pass != 0.0).then_some(arguments.low_pass),
    };
    let name = |error: Error| match error.place.as_str() {
        "map" | "mask" => Error { place: arguments.map.display().to_string(), ..error },
        _ => error,
    };
    let mask = mask::create(&map, &options).map_err(name)?;
    write_map(&arguments.out, &mask)?;
    let share = mask.data.iter().filter(|v| **v > 0.5).count() as f64 / mask.data.len() as f64;
    if screen.is_json() {
        screen
            .print_json(&serde_json::json!({ "mask": arguments.out, "threshold": threshold, "share_of_box": share }))?;
    } else {
        let written = arguments.out.display();
        screen.print(&format!("{written}: threshold {threshold:.5}, {:.1} % of the box inside", 100.0 * share))?;
    }
    Ok(ExitCode::Done)
}

fn usual_threshold(map: &Map) -> f64 {
    let count = map.data.len().max(1) as f64;
    let mean = map.data.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = map.data.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    mean + DEVIATIONS * variance.sqrt()
}

fn refuse_same_file(map: &Path, out: &Path) -> Result<()> {
    match (map.canonicalize(), out.canonicalize()) {
        (Ok(map), Ok(out)) if map == out => Err(Error::usage(
            format!("the mask {} would overwrite the map", out.display()),
            "Choose another name with --out.",
        )),
        _ => Ok(()),
    }
}
