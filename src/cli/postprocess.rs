//! `postprocess`: FSC of two half maps with the correction for the mask, and the sharpened map.

use std::path::PathBuf;

use crate::error::ExitCode;
use crate::error::Result;
use crate::postprocess;
use crate::postprocess::BFactor;
use crate::postprocess::FscOptions;
use crate::postprocess::Inputs;
use crate::postprocess::LowPass;
use crate::postprocess::Options;
use crate::postprocess::SharpenOptions;

use super::screen::Screen;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Unfiltered map of the first half (run_half1_class001_unfil.mrc)
    #[arg(long, value_name = "MAP")]
    pub half1: PathBuf,
    /// Of the second half (default: the same name with half2)
    #[arg(long, value_name = "MAP")]
    pub half2: Option<PathBuf>,
    /// Solvent mask, 0 to 1
    #[arg(long, value_name = "MAP")]
    pub mask: Option<PathBuf>,
    /// Start of the names of what is written: ROOT.mrc, ROOT_masked.mrc, ROOT.star, ROOT_fsc.xml, ROOT_fsc.dat
    #[arg(long, value_name = "ROOT", default_value = "postprocess")]
    pub out: PathBuf,
    /// Pixel size in Angstrom instead of that of the maps
    #[arg(long, value_name = "ANGSTROM")]
    pub pixel_size: Option<f64>,
    /// B-factor to apply in square Angstrom, negative sharpens; without it, it is fitted
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    pub b_factor: Option<f64>,
    /// Fit the B-factor from this resolution on, in Angstrom
    #[arg(long, value_name = "ANGSTROM", default_value_t = 10.0, conflicts_with = "b_factor")]
    pub fit_from: f64,
    /// Fit the B-factor up to this resolution in Angstrom (default: Nyquist)
    #[arg(long, value_name = "ANGSTROM", conflicts_with = "b_factor")]
    pub fit_to: Option<f64>,
    /// Leave shells unweighted by their FSC
    #[arg(long)]
    pub no_fsc_weighting: bool,
    /// Low-pass filter of the result in Angstrom (default: none)
    #[arg(long, value_name = "ANGSTROM")]
    pub low_pass: Option<f64>,
    /// STAR table of the detector's MTF
    #[arg(long, value_name = "STAR")]
    pub mtf: Option<PathBuf>,
    /// Pixel size of the movies that the MTF belongs to, in Angstrom (default: that of the maps)
    #[arg(long, value_name = "ANGSTROM", requires = "mtf")]
    pub mtf_pixel_size: Option<f64>,
    /// Randomise phases from this resolution on, in Angstrom (default: where the unmasked FSC falls below 0.8)
    #[arg(long, value_name = "ANGSTROM")]
    pub randomise_from: Option<f64>,
    /// Mass of the ordered protein in kDa, for an estimate of the part of the box that it fills
    #[arg(long, value_name = "KILODALTON")]
    pub molecular_weight: Option<f64>,
    /// Keep the masked curve even where the unmasked one reaches further
    #[arg(long)]
    pub force_mask: bool,
    /// Seed of the random phases
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Look the MTF up as RELION does, which takes the wrong rows towards the table's end
    #[arg(long)]
    pub parity: bool,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let inputs = Inputs {
        half1: arguments.half1.clone(),
        half2: arguments.half2.clone(),
        mask: arguments.mask.clone(),
        pixel_size_angstrom: arguments.pixel_size,
        mtf: arguments.mtf.clone().map(|path| (path, arguments.mtf_pixel_size)),
        mtf_parity: arguments.parity,
    };
    let done = postprocess::run(&inputs, &options(arguments), &arguments.out)?;
    let is_ignored = done.curves.masked.as_ref().is_some_and(|masked| masked.is_ignored);
    if is_ignored {
        screen.warning("the unmasked FSC reaches further than the masked one: the mask is wrong and was not used");
    }
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "root": arguments.out,
            "resolution_angstrom": done.resolution_angstrom,
            "b_factor": done.b_factor,
            "mask_ignored": is_ignored,
            "fsc": done.curves.deciding,
        }))?;
    } else {
        screen.print(&format!(
            "resolution {:.2} A (FSC 0.143), B-factor {:.1} A^2; wrote {}.star and its maps",
            done.resolution_angstrom,
            done.b_factor,
            arguments.out.display()
        ))?;
    }
    Ok(ExitCode::Done)
}

fn options(arguments: &Arguments) -> Options {
    let b_factor = match arguments.b_factor {
        Some(b) => BFactor::Given(b),
        None => BFactor::Fit { from_angstrom: arguments.fit_from, to_angstrom: arguments.fit_to },
    };
    let low_pass = match arguments.low_pass {
        Some(angstrom) => LowPass::At(angstrom),
        None => LowPass::None,
    };
    Options {
        fsc: FscOptions {
            randomise_from_angstrom: arguments.randomise_from,
            seed: arguments.seed,
            force_mask: arguments.force_mask,
            molecular_weight_kilodalton: arguments.molecular_weight,
            ..FscOptions::default()
        },
        sharpen: SharpenOptions { b_factor, mtf: None, fsc_weighting: !arguments.no_fsc_weighting, low_pass },
    }
}
