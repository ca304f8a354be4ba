//! `compare`: Fourier shell correlation of a map with another, for instance with the truth of a simulation.

use std::path::PathBuf;

use num_complex::Complex;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::fourier::RealFft3;
use crate::fourier::fsc;
use crate::model::Volume;
use crate::units::angstrom_of_shell;

use super::maps::read_volume;
use super::maps::same_box;
use super::screen::Screen;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// A map
    #[arg(value_name = "MAP")]
    pub map: PathBuf,
    /// The map to compare it with
    #[arg(value_name = "OTHER")]
    pub other: PathBuf,
    /// Multiply both by this mask first
    #[arg(long, value_name = "MAP")]
    pub mask: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let map = read_volume(&arguments.map)?;
    let other = read_volume(&arguments.other)?;
    same_box((&arguments.map, &map), (&arguments.other, &other))?;
    let mask = match &arguments.mask {
        Some(path) => {
            let mask = read_volume(path)?;
            same_box((&arguments.map, &map), (path, &mask))?;
            Some(mask)
        }
        None => None,
    };
    let n = map.box_pixels;
    let curve = fsc(&transform(&map, mask.as_ref())?, &transform(&other, mask.as_ref())?, n);
    let resolution = |threshold| angstrom_of_shell(last_above(&curve, threshold), n, map.pixel_size_angstrom);
    let (half, low) = (resolution(0.5), resolution(0.143));
    if screen.is_json() {
        let result = serde_json::json!({ "fsc": curve, "angstrom_at_0.5": half, "angstrom_at_0.143": low });
        screen.print_json(&result)?;
    } else {
        screen.print(&format!("FSC 0.5 at {half:.2} A, 0.143 at {low:.2} A"))?;
    }
    Ok(ExitCode::Done)
}

fn transform(map: &Volume, mask: Option<&Volume>) -> Result<Vec<Complex<f64>>> {
    let weight = |i: usize| mask.map_or(1.0, |mask| f64::from(mask.data[i]));
    let voxels = map.data.iter().enumerate().map(|(i, value)| f64::from(*value) * weight(i));
    let half = RealFft3::<f64>::new(map.box_pixels).forward(voxels);
    if half.iter().all(|value| value.norm_sqr() == 0.0) {
        return Err(Error::usage("nothing is left inside the mask", "Use another mask."));
    }
    Ok(half)
}

/// The last shell before the curve first falls below the threshold.
fn last_above(curve: &[f64], threshold: f64) -> usize {
    curve.iter().skip(1).position(|value| value.is_nan() || *value < threshold).unwrap_or(curve.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolution_is_where_the_curve_first_falls() {
        assert_eq!(last_above(&[1.0, 0.9, 0.6, 0.4, 0.9, 0.1], 0.5), 2);
        assert_eq!(last_above(&[1.0, 0.9, 0.8], 0.5), 2);
        assert_eq!(last_above(&[1.0, 0.2, 0.8], 0.5), 0);
        assert_eq!(last_above(&[1.0, f64::NAN, 0.8], 0.5), 0);
    }
}
