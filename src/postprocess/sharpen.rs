//! From two halves to one map: MTF, FSC weights, B-factor, low-pass.

use num_complex::Complex;
use rayon::prelude::*;

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::Map;
use crate::fourier::RealFft3;
use crate::fourier::frequency;
use crate::fourier::low_pass_3d;
use crate::fourier::shell_of_square;
use crate::imaging::mtf::Mtf;
use crate::units::shell_of_angstrom;

use super::fsc::resolution_shell;
use super::guinier::Guinier;
use super::guinier::LineFit;
use super::guinier::fit_line;
use super::guinier::log_amplitudes;
use super::maps;

/// Shells from the first one with less correlation than this on are left out of the weighted map.
const LEAST_FSC: f64 = 0.0001;

/// Where the B-factor comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BFactor {
    /// Not sharpened.
    None,
    /// Given, in square Angstrom; negative sharpens.
    Given(f64),
    /// Four times the slope of the Guinier plot between two resolutions; up to Nyquist when `to_angstrom` is `None`.
    Fit { from_angstrom: f64, to_angstrom: Option<f64> },
}

/// The last filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LowPass {
    None,
    /// At a resolution in Angstrom.
    At(f64),
    /// Where the FSC falls below 0.143.
    AtResolution,
}

/// How the map is sharpened.
#[derive(Clone, Debug, PartialEq)]
pub struct SharpenOptions {
    pub b_factor: BFactor,
    /// Divide by the detector's MTF.
    pub mtf: Option<Mtf>,
    /// Weight shells by sqrt(2 FSC / (1 + FSC)), the expected correlation with the truth.
    pub fsc_weighting: bool,
    pub low_pass: LowPass,
}

impl Default for SharpenOptions {
    fn default() -> Self {
        let b_factor = BFactor::Fit { from_angstrom: 10.0, to_angstrom: None };
        Self { b_factor, mtf: None, fsc_weighting: true, low_pass: LowPass::None }
    }
}

/// A sharpened map, and how it came to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharpened {
    pub map: Map,
    pub guinier: Guinier,
    /// Line through the Guinier plot, when the B-factor was fitted.
    pub fit: Option<LineFit>,
    /// exp(-B/4 u^2) was applied; negative sharpens. Square Angstrom.
    pub b_factor: f64,
}

/// Sharpens the mean of two half maps, given their FSC over shells 0..=box/2.
///
/// # Errors
/// As [`super::postprocess`].
///
/// # Panics
/// When `curve` has not box/2 + 1 values.
pub fn sharpen(half1: &Map, half2: &Map, curve: &[f64], options: &SharpenOptions) -> Result<Sharpened> {
    let n = maps::check_half_maps(half1, half2)?;
    check(options)?;
    assert_eq!(curve.len(), n / 2 + 1, "an FSC over the shells of a box of {n}");
    let plan = RealFft3::<f64>::new(n);
    let pixel_size = half1.pixel_size_angstrom;
    let edge = n as f64 * pixel_size;
    let mean = half1.data.iter().zip(&half2.data).map(|(a, b)| 0.5 * (f64::from(*a) + f64::from(*b)));
    let mut half = plan.forward(mean);
    let nyquist = ((n / 2) as u64).pow(2);

    let mut guinier = Guinier {
        resolution_squared: (0..=n / 2).map(|s| (s as f64 / edge).powi(2)).collect(),
        original: log_amplitudes(&half, n),
        ..Guinier::default()
    };
    if let Some(mtf) = &options.mtf {
        // Below Nyquist, as in RELION; sharpening includes it.
        let divisor = |square: u64| if square < nyquist { mtf.at((square as f64).sqrt() / edge) } else { 1.0 };
        multiply(&mut half, n, |square| 1.0 / divisor(square));
        guinier.mtf_corrected = Some(log_amplitudes(&half, n));
    }
    if options.fsc_weighting {
        let weights = fsc_weights(curve);
        multiply(&mut half, n, |square| weights.get(shell_of_square(square)).copied().unwrap_or(0.0));
        guinier.weighted = Some(log_amplitudes(&half, n));
    }
    let fit = match options.b_factor {
        BFactor::Fit { from_angstrom, to_angstrom } => {
            let y = guinier.weighted.as_ref().or(guinier.mtf_corrected.as_ref()).unwrap_or(&guinier.original);
            let to = to_angstrom.unwrap_or(0.0);
            Some(fit_line(&guinier.resolution_squared, y, from_angstrom, to)?)
        }
        _ => None,
    };
    let b_factor = match (options.b_factor, fit) {
        (BFactor::Given(b), _) => b,
        (_, Some(fit)) => 4.0 * fit.slope,
        _ => 0.0,
    };
    if options.b_factor != BFactor::None {
        // Only sharpening ends at Nyquist: the corners of the transform would be blown up.
        let exponent = -b_factor / (4.0 * edge * edge);
        multiply(&mut half, n, |square| if square <= nyquist { (exponent * square as f64).exp() } else { 0.0 });
        guinier.sharpened = Some(log_amplitudes(&half, n));
    }
    match options.low_pass {
        LowPass::None => {}
        LowPass::At(d) => low_pass_3d(&mut half, n, shell_of_angstrom(d, n, pixel_size) as f64),
        LowPass::AtResolution => low_pass_3d(&mut half, n, resolution_shell(curve) as f64),
    }
    plan.inverse_in_place(&mut half);
    let data: Vec<f32> = plan.unpack(&half).map(|v| v as f32).collect();
    if let Some(value) = data.iter().find(|v| !v.is_finite()) {
        return Err(Error::usage(
            format!("a B-factor of {b_factor} gives a map with a voxel of {value}"),
            "Give a smaller B-factor, or fit it between other resolutions.",
        ));
    }
    Ok(Sharpened { map: Map { nx: n, ny: n, nz: n, pixel_size_angstrom: pixel_size, data }, guinier, fit, b_factor })
}

/// sqrt(2 f / (1 + f)) up to the first shell with next to no correlation, 0 from there on.
fn fsc_weights(curve: &[f64]) -> Vec<f64> {
    let end = curve.iter().position(|f| *f < LEAST_FSC).unwrap_or(curve.len());
    curve[..end].iter().map(|f| (2.0 * f / (1.0 + f)).sqrt()).collect()
}

/// Multiplies each coefficient by a function of its squared radius in shells.
fn multiply(half: &mut [Complex<f64>], n: usize, weight: impl Fn(u64) -> f64 + Sync) {
    half.par_chunks_exact_mut(n / 2 + 1).enumerate().for_each(|(row, values)| {
        let (ky, kz) = (i64::from(frequency(row % n, n)), i64::from(frequency(row / n, n)));
        for (kx, value) in values.iter_mut().enumerate() {
            *value *= weight((kx * kx) as u64 + (ky * ky + kz * kz) as u64);
        }
    });
}

fn check(options: &SharpenOptions) -> Result<()> {
    let positive = |d: f64| d > 0.0 && d.is_finite();
    let refuse = |what: String| Err(Error::usage(what, "Give a resolution in Angstrom above 0."));
    match options.low_pass {
        LowPass::At(d) if !positive(d) => return refuse(format!("a low-pass at {d} A")),
        _ => {}
    }
    match options.b_factor {
        BFactor::Given(b) if !b.is_finite() => Err(Error::usage(format!("a B-factor of {b}"), "Give square Angstrom.")),
        BFactor::Fit { from_angstrom, .. } if !positive(from_angstrom) => {
            refuse(format!("a B-factor fitted from {from_angstrom} A"))
        }
        BFactor::Fit { to_angstrom: Some(d), .. } if !positive(d) => refuse(format!("a B-factor fitted to {d} A")),
        _ => Ok(()),
    }
}
