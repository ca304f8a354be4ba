//! The in-plane translations to try.

use crate::error::Error;
use crate::error::Result;
use crate::model::SamplingState;

/// Translations within the range count with this slack, in Angstrom^2.
const RANGE_SLACK_ANGSTROM2: f64 = 0.001;

/// A disc of a square grid, in Angstrom; x outer, y inner. Each coarse translation has 4^o children, the
/// centres of its 2^o x 2^o parts, at oversampling order o.
#[derive(Clone, Debug, PartialEq)]
pub struct Translations {
    step_angstrom: f64,
    oversampling: u32,
    /// Perturbation, added to both axes of every translation.
    shift_angstrom: f64,
    grid: Vec<[f64; 2]>,
}

impl Translations {
    /// # Errors
    /// A step that is not positive, or a range that is negative, or not a number.
    pub fn new(sampling: &SamplingState) -> Result<Self> {
        let (step, range) = (sampling.offset_step_angstrom, sampling.offset_range_angstrom);
        if !(step > 0.0 && range >= 0.0 && range.is_finite()) {
            return Err(Error::usage(
                format!("translations of step {step} within {range} Angstrom are no grid"),
                "Give a step above 0 and a range of at least 0.",
            ));
        }
        let most = (range / step).ceil() as i64;
        let grid = (-most..=most)
            .flat_map(|x| (-most..=most).map(move |y| [x as f64 * step, y as f64 * step]))
            .filter(|[x, y]| x * x + y * y < range * range + RANGE_SLACK_ANGSTROM2)
            .collect();
        Ok(Self {
            step_angstrom: step,
            oversampling: sampling.oversampling,
            shift_angstrom: sampling.perturbation * step,
            grid,
        })
    }

    /// Number of coarse translations, at least 1.
    pub fn count(&self) -> usize {
        self.grid.len()
    }

    /// Children of each: 4^oversampling.
    pub fn child_count(&self) -> usize {
        1 << (2 * self.oversampling)
    }

    /// A coarse translation without perturbation: where the prior is evaluated.
    pub fn unperturbed(&self, index: usize) -> [f64; 2] {
        self.grid[index]
    }

    /// A coarse translation as tried in the first pass.
    pub fn coarse(&self, index: usize) -> [f64; 2] {
        self.grid[index].map(|t| t + self.shift_angstrom)
    }

    /// A child as tried in the second pass; x outer, y inner.
    pub fn child(&self, index: usize, child: usize) -> [f64; 2] {
        let edge = 1usize << self.oversampling;
        let part = self.step_angstrom / edge as f64;
        let from_corner = |i: usize| self.shift_angstrom - 0.5 * self.step_angstrom + (i as f64 + 0.5) * part;
        let [x, y] = self.grid[index];
        [x + from_corner(child / edge), y + from_corner(child % edge)]
    }
}
