//! The detector's modulation transfer function.

use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::formats::star::StarFile;

/// A table of the MTF over frequency.
#[derive(Clone, Debug, PartialEq)]
pub struct Mtf {
    /// Ascending, in 1/Angstrom.
    frequencies: Vec<f64>,
    values: Vec<f64>,
    /// Find the interval as RELION does, with a step of (last - first) / n instead of / (n - 1).
    parity_step: bool,
}

impl Mtf {
    /// A table over frequency in 1/pixel of a detector whose pixel is `pixel_size_angstrom` at the specimen.
    ///
    /// # Errors
    /// Fewer than two rows, frequencies that do not ascend, or values that are not positive.
    pub fn new(per_pixel: &[f64], values: &[f64], pixel_size_angstrom: f64, parity_step: bool) -> Result<Self> {
        let wrong = |problem: &str| {
            Err(Error::bad_data("MTF table", problem, "Check columns rlnResolutionInversePixel and rlnMtfValue."))
        };
        if per_pixel.len() < 2 || per_pixel.len() != values.len() {
            return wrong("fewer than two rows");
        }
        if !per_pixel.windows(2).all(|w| w[0] < w[1]) {
            return wrong("frequencies do not ascend");
        }
        if !values.iter().all(|v| *v > 0.0 && v.is_finite()) {
            return wrong("a value is not positive");
        }
        if pixel_size_angstrom.is_nan() || pixel_size_angstrom <= 0.0 {
            return wrong("the pixel size of the movie (rlnMicrographOriginalPixelSize) is not positive");
        }
        Ok(Self {
            frequencies: per_pixel.iter().map(|f| f / pixel_size_angstrom).collect(),
            values: values.to_vec(),
            parity_step,
        })
    }

    /// Reads a table of rlnResolutionInversePixel and rlnMtfValue; `parity_step` as in [`Mtf::new`].
    ///
    /// # Errors
    /// `NoInput` or `BadData`, naming the file.
    pub fn read(path: &Path, pixel_size_angstrom: f64, parity_step: bool) -> Result<Self> {
        let star = StarFile::read(path)?;
        let block = star.blocks.iter().find(|block| block.has("rlnMtfValue")).ok_or_else(|| {
            Error::bad_data(
                path.display().to_string(),
                "no table with column rlnMtfValue",
                "Name the STAR file of the detector's MTF (columns rlnResolutionInversePixel and rlnMtfValue).",
            )
        })?;
        let frequencies = block.require("rlnResolutionInversePixel")?.f64s()?;
        let values = block.require("rlnMtfValue")?.f64s()?;
        Self::new(&frequencies, &values, pixel_size_angstrom, parity_step)
            .map_err(|error| Error { place: path.display().to_string(), ..error })
    }

    /// A detector that transfers everything.
    pub fn perfect() -> Self {
        Self { frequencies: vec![0.0, 1.0], values: vec![1.0, 1.0], parity_step: false }
    }

    /// Linear interpolation at a frequency in 1/Angstrom; the end values beyond the table.
    pub fn at(&self, per_angstrom: f64) -> f64 {
        let f = &self.frequencies;
        let last = f.len() - 1;
        let interval = if self.parity_step {
            let step = (f[last] - f[0]) / f.len() as f64;
            ((per_angstrom - f[0]) / step).floor()
        } else {
            f.partition_point(|v| *v <= per_angstrom) as f64 - 1.0
        };
        if interval < 0.0 || (self.parity_step && interval < 1.0) {
            // RELION does not interpolate in the first interval.
            self.values[0]
        } else if interval >= last as f64 {
            self.values[last]
        } else {
            let i = interval as usize;
            self.values[i] + (self.values[i + 1] - self.values[i]) * (per_angstrom - f[i]) / (f[i + 1] - f[i])
        }
    }
}

/// Relative correction of groups with different detectors: (mean of all MTFs) / (own MTF) per group and
/// frequency. Observed transforms are multiplied by it. `None` when all are equal: then nothing is gained.
pub fn relative_corrections(tables: &[&Mtf], per_angstrom: &[f64]) -> Option<Vec<Vec<f64>>> {
    if tables.windows(2).all(|w| w[0] == w[1]) {
        return None;
    }
    let mean = |f: f64| tables.iter().map(|t| t.at(f)).sum::<f64>() / tables.len() as f64;
    Some(tables.iter().map(|t| per_angstrom.iter().map(|f| mean(*f) / t.at(*f)).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(parity: bool) -> Mtf {
        Mtf::new(&[0.0, 0.1, 0.2, 0.3, 0.4], &[1.0, 0.9, 0.7, 0.4, 0.3], 2.0, parity).expect("a valid table")
    }

    #[test]
    fn interpolates_between_rows_and_holds_the_ends() {
        let mtf = table(false);
        for (f, value) in [(0.0, 1.0), (0.025, 0.95), (0.1, 0.7), (0.125, 0.55), (0.2, 0.3), (9.0, 0.3), (-1.0, 1.0)] {
            assert!((mtf.at(f) - value).abs() < 1e-12, "{f}");
        }
    }

    #[test]
    fn the_parity_step_leaves_the_interval_too_early() {
        // Step 0.04: at 0.09 the interval is the third one, extended to the left.
        assert!((table(true).at(0.09) - (0.7 + 0.3 * 0.01 / 0.05)).abs() < 1e-12);
        assert!((table(true).at(0.18) - 0.3).abs() < 1e-12);
        assert_eq!(table(true).at(0.03), 1.0);
    }

    #[test]
    fn equal_detectors_need_no_correction_and_a_bad_table_is_refused() {
        let (a, b) = (table(false), table(false));
        assert_eq!(relative_corrections(&[&a, &b], &[0.1]), None);
        let c = Mtf::new(&[0.0, 0.4], &[1.0, 0.5], 2.0, false).expect("a valid table");
        let both = relative_corrections(&[&a, &c], &[0.1]).expect("two detectors");
        assert!((both[0][0] - 0.725 / 0.7).abs() < 1e-12 && (both[1][0] - 0.725 / 0.75).abs() < 1e-12);
        assert!(Mtf::new(&[0.1, 0.1], &[1.0, 0.5], 1.0, false).is_err());
    }
}
