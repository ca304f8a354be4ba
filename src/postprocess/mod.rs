//! What happens to two half maps after the refinement: FSC with the correction for the mask, sharpening, and masks.
//!
//! [`postprocess`] computes, [`run`] does the same from files to files. [`mask::create`] makes masks.

mod distance;
mod files;
mod fsc;
mod guinier;
mod maps;
pub mod mask;
mod phases;
mod sharpen;
mod tables;

use crate::error::Result;
use crate::formats::mrc::Map;
use crate::units::angstrom_of_shell;

pub use files::Inputs;
pub use files::other_half;
pub use files::run;
pub use fsc::FscCurves;
pub use fsc::FscOptions;
pub use fsc::MaskedCurves;
pub use fsc::WeightCurve;
pub use fsc::corrected_fsc;
pub use fsc::part_fsc;
pub use fsc::resolution_shell;
pub use guinier::EMPTY_SHELL;
pub use guinier::Guinier;
pub use guinier::LineFit;
pub use sharpen::BFactor;
pub use sharpen::LowPass;
pub use sharpen::SharpenOptions;
pub use sharpen::Sharpened;
pub use sharpen::sharpen;
pub use tables::Names;
pub use tables::fsc_dat;
pub use tables::fsc_xml;
pub use tables::star_file;

/// What to do with two half maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub fsc: FscOptions,
    pub sharpen: SharpenOptions,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Postprocessed {
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    pub curves: FscCurves,
    /// Of the last shell before the final curve falls below 0.143.
    pub resolution_angstrom: f64,
    pub guinier: Guinier,
    /// Line through the Guinier plot, when the B-factor was fitted.
    pub fit: Option<LineFit>,
    /// exp(-B/4 u^2) was applied; negative sharpens. Square Angstrom.
    pub b_factor: f64,
    /// The sharpened mean of the halves.
    pub map: Map,
    /// The same times the mask.
    pub masked: Option<Map>,
}

/// FSC and sharpened map of two half maps whose pixel size is that of the first.
///
/// # Errors
/// `BadData` when maps are not cubes of one even box, hold values that are not finite, are identical, or the mask is
/// not within 0..1; `Usage` when an option does not fit the data (no shell to randomise from, too few to fit a line).
pub fn postprocess(half1: &Map, half2: &Map, mask: Option<&Map>, options: &Options) -> Result<Postprocessed> {
    let n = maps::check_half_maps(half1, half2)?;
    if let Some(mask) = mask {
        maps::check_mask(mask, n, "mask")?;
    }
    let curves = fsc::curves(n, half1, half2, mask, &options.fsc)?;
    let Sharpened { map, guinier, fit, b_factor } = sharpen(half1, half2, &curves.deciding, &options.sharpen)?;
    let masked = mask.map(|mask| Map { data: map.data.iter().zip(&mask.data).map(|(v, m)| v * m).collect(), ..map });
    let pixel_size_angstrom = half1.pixel_size_angstrom;
    let resolution_angstrom = angstrom_of_shell(curves.resolution_shell, n, pixel_size_angstrom);
    Ok(Postprocessed {
        box_pixels: n,
        pixel_size_angstrom,
        curves,
        resolution_angstrom,
        guinier,
        fit,
        b_factor,
        map,
        masked,
    })
}
