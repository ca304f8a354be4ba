//! The Guinier plot: ln of the mean amplitude over the squared resolution, and the line through it
//! (Rosenthal & Henderson 2003).

use num_complex::Complex;

use crate::error::Error;
use crate::error::Result;
use crate::fourier::shell_means;

/// What stands for ln 0, as in RELION's tables.
pub const EMPTY_SHELL: f64 = -99.0;
/// Fewer points than this do not tell a line from noise.
const FEWEST_POINTS: usize = 3;

/// Values per shell 0..=box/2; each column after another step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guinier {
    /// 1 / d^2 in 1/Angstrom^2.
    pub resolution_squared: Vec<f64>,
    pub original: Vec<f64>,
    pub mtf_corrected: Option<Vec<f64>>,
    pub weighted: Option<Vec<f64>>,
    /// `None` without a B-factor.
    pub sharpened: Option<Vec<f64>>,
}

/// Straight line y = intercept + slope x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LineFit {
    /// A quarter of the B-factor, square Angstrom.
    pub slope: f64,
    pub intercept: f64,
    /// Squared correlation coefficient.
    pub correlation: f64,
}

/// ln of the mean amplitude of each shell.
pub(super) fn log_amplitudes(half: &[Complex<f64>], n: usize) -> Vec<f64> {
    let ln = |mean: f64| if mean > 0.0 { mean.ln() } else { EMPTY_SHELL };
    shell_means(half, n, |f| f.norm()).into_iter().map(ln).collect()
}

/// Least squares through the points with x between 1 / from^2 and 1 / to^2 (0: no end) and something in their shell.
///
/// # Errors
/// `Usage` when the range is upside down or holds fewer than three points.
pub(super) fn fit_line(x: &[f64], y: &[f64], from_angstrom: f64, to_angstrom: f64) -> Result<LineFit> {
    let range = from_angstrom.powi(-2)..=to_angstrom.powi(-2);
    let points: Vec<(f64, f64)> =
        x.iter().zip(y).filter(|(x, y)| range.contains(x) && **y > EMPTY_SHELL).map(|(x, y)| (*x, *y)).collect();
    if points.len() < FEWEST_POINTS {
        return Err(Error::usage(
            format!("only {} shells to fit a B-factor to, from {from_angstrom} A on", points.len()),
            "Fit from a lower resolution, or give a B-factor.",
        ));
    }
    let count = points.len() as f64;
    let mean = |value: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (mx, my) = (mean(&|p| p.0), mean(&|p| p.1));
    let (xx, yy) = (mean(&|p| (p.0 - mx).powi(2)), mean(&|p| (p.1 - my).powi(2)));
    let xy = mean(&|p| (p.0 - mx) * (p.1 - my));
    let slope = xy / xx;
    let correlation = if yy > 0.0 { xy * xy / (xx * yy) } else { 0.0 };
    Ok(LineFit { slope, intercept: my - slope * mx, correlation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_empty_shells_do_not_count() {
        let x: Vec<f64> = (0..10).map(|i| f64::from(i) * 1e-3).collect();
        let mut y: Vec<f64> = x.iter().map(|x| -9.0 - 120.0 * x).collect();
        y[9] = EMPTY_SHELL;
        y[0] = 5.0;
        let fit = fit_line(&x, &y, 100.0, 1.0).unwrap();
        assert!((fit.slope + 120.0).abs() < 1e-9 && (fit.intercept + 9.0).abs() < 1e-12, "{fit:?}");
        assert!((fit.correlation - 1.0).abs() < 1e-12);
        assert!(fit_line(&x, &y, 12.0, 11.5).is_err());
        assert!(fit_line(&x, &y, 10.0, 20.0).is_err());
    }
}
