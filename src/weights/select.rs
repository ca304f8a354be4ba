//! The smallest set of samples that holds a given share of the mass: exact, without sorting,
//! in passes that may visit the samples in any order.

/// A weight in [0, 1] as an integer: the nearest number of units of 2^-34. Up to 2^29 samples of weight 1 can be
/// summed. Weights up to half a unit (3e-11 of the best) have no mass.
#[inline(always)]
pub fn mass(weight: f64) -> u64 {
    (weight * UNITS + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits())
}

const UNITS: f64 = (1_u64 << 34) as f64;
/// Added to a number below 2^51 leaves it, rounded half to even, in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// Bits resolved a pass.
const DIGIT: u32 = 10;
/// Bins of a selector's memory: mass and number of samples each.
pub const BINS: usize = 1 << DIGIT;
/// Every weight with a mass is above this.
const SMALLEST: f64 = 1.0 / (1_u64 << 35) as f64;
/// Bits of a key: 36 exponents, and the mantissa.
const KEY_BITS: u32 = 58;

/// The bits of a weight in [2^-35, 1], counted from those of the smallest: as ordered as the weights are.
#[inline(always)]
fn key(weight: f64) -> u64 {
    weight.to_bits().wrapping_sub(SMALLEST.to_bits())
}

/// The weight of a key.
fn weight_of(key: u64) -> f64 {
    f64::from_bits(key + SMALLEST.to_bits())
}

/// The outcome of a selection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// Smallest weight of the set; everything at least as heavy belongs to it, ties included.
    pub threshold: f64,
    /// Number of samples in the set.
    pub count: u64,
    /// Sum of all weights, those outside included.
    pub total: f64,
    /// Sum of the weights of the set.
    pub selected: f64,
}

/// Finds the threshold by radix descent over the bits of the weights: six passes for f64 weights, three for values
/// that came from f32 (their low bits are zero).
pub struct Selector<'m> {
    fraction: f64,
    maximum: u64,
    total: u64,
    /// Mass and number of the samples whose leading bits exceed `prefix`.
    above: (u64, u64),
    prefix: u64,
    /// Bits still to resolve.
    bits: u32,
    /// Trailing bits that are zero in every sample.
    zero_bits: u32,
    bins: &'m mut [[u64; 2]],
    first: bool,
    open: bool,
}

impl<'m> Selector<'m> {
    /// Over memory of [`BINS`] bins.
    pub fn new(bins: &'m mut [[u64; 2]]) -> Self {
        Self {
            fraction: 1.0,
            maximum: u64::MAX,
            total: 0,
            above: (0, 0),
            prefix: 0,
            bits: KEY_BITS,
            zero_bits: 0,
            bins,
            first: true,
            open: false,
        }
    }

    /// Starts over for another particle: keeps `fraction` of the mass, and at most `maximum` samples (ties excepted).
    /// Samples have `significant_bits` bits of mantissa (24 or 53).
    pub fn start(&mut self, fraction: f64, maximum: Option<u64>, significant_bits: u32) {
        self.zero_bits = f64::MANTISSA_DIGITS - significant_bits;
        self.fraction = fraction;
        self.maximum = maximum.unwrap_or(u64::MAX);
        self.total = 0;
        self.above = (0, 0);
        self.prefix = 0;
        self.bits = KEY_BITS;
        self.first = true;
        self.open = true;
        self.bins.fill([0; 2]);
    }

    /// Whether it wants to be shown samples.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Shows the selector samples of the pass. Weights are in [0, 1].
    #[inline]
    pub fn show<T: Copy + Into<f64>>(&mut self, weights: &[T]) {
        if self.first {
            weights.iter().for_each(|w| self.add((*w).into()));
            return;
        }
        // Few samples share the leading bits found so far: those of an interval.
        let low = weight_of(self.prefix << self.bits);
        let high = weight_of((self.prefix + 1) << self.bits);
        let inside = |w: f64| w >= low && w < high;
        if weights.iter().fold(false, |any, w| any | inside((*w).into())) {
            weights.iter().map(|w| (*w).into()).filter(|w| inside(*w)).for_each(|w| self.add(w));
        }
    }

    #[inline(always)]
    fn add(&mut self, weight: f64) {
        let units = mass(weight);
        if units == 0 {
            return;
        }
        let digit = DIGIT.min(self.bits);
        let bin = (key(weight) >> (self.bits - digit)) as usize & (BINS - 1);
        self.bins[bin][0] += units;
        self.bins[bin][1] += 1;
    }

    /// Ends a pass. `None` asks for another pass over the same samples.
    pub fn finish_pass(&mut self) -> Option<Selection> {
        if self.first {
            self.total = self.bins.iter().map(|bin| bin[0]).sum();
            self.first = false;
        }
        if self.total == 0 {
            self.open = false;
            return Some(Selection { threshold: f64::INFINITY, count: 0, total: 0.0, selected: 0.0 });
        }
        // The set ends with the sample that carries the running sum beyond the wanted share.
        let wanted = (self.total as f64 * self.fraction) as u64;
        let wanted = wanted.min(self.total - 1);
        let digit = DIGIT.min(self.bits);
        let (mut held, mut count) = self.above;
        let mut bin = BINS - 1;
        loop {
            let (next, many) = (held + self.bins[bin][0], count + self.bins[bin][1]);
            if self.bins[bin][1] > 0 && (next > wanted || many >= self.maximum) {
                break;
            }
            (held, count) = (next, many);
            bin -= 1;
        }
        let [bin_mass, bin_count] = self.bins[bin];
        self.above = (held, count);
        self.prefix = if self.bits == KEY_BITS { bin as u64 } else { self.prefix << digit | bin as u64 };
        self.bits -= digit;
        self.bins.fill([0; 2]);
        self.open = self.bits > self.zero_bits;
        (!self.open).then(|| Selection {
            threshold: weight_of(self.prefix << self.bits),
            count: count + bin_count,
            total: self.total as f64 / UNITS,
            selected: (held + bin_mass) as f64 / UNITS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn select_with(weights: &[f64], fraction: f64, maximum: Option<u64>, bits: u32) -> Selection {
        let mut bins = [[0; 2]; BINS];
        let mut selector = Selector::new(&mut bins);
        selector.start(fraction, maximum, bits);
        loop {
            selector.show(weights);
            if let Some(selection) = selector.finish_pass() {
                return selection;
            }
        }
    }

    fn select(weights: &[f64], fraction: f64, maximum: Option<u64>) -> Selection {
        select_with(weights, fraction, maximum, f64::MANTISSA_DIGITS)
    }

    /// The definition: sort descending, add until the sum exceeds the share.
    fn by_sorting(weights: &[f64], fraction: f64) -> f64 {
        let mut sorted: Vec<f64> = weights.iter().copied().filter(|w| mass(*w) > 0).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let total: u64 = sorted.iter().map(|w| mass(*w)).sum();
        let wanted = ((total as f64 * fraction) as u64).min(total - 1);
        let mut held = 0;
        for w in sorted {
            held += mass(w);
            if held > wanted {
                return w;
            }
        }
        unreachable!("the last sample exceeds the share");
    }

    proptest! {
        #[test]
        fn equals_sorting(logs in prop::collection::vec(0.0..30.0_f64, 1..400), fraction in 0.5..0.9999_f64) {
            let mut weights: Vec<f64> = logs.iter().map(|l| f64::from((-l).exp() as f32)).collect();
            weights[0] = 1.0;
            let selection = select(&weights, fraction, None);
            let threshold = by_sorting(&weights, fraction);
            prop_assert_eq!(selection.threshold, threshold);
            prop_assert_eq!(selection.count, weights.iter().filter(|w| **w >= threshold).count() as u64);
            prop_assert_eq!(select_with(&weights, fraction, None, f32::MANTISSA_DIGITS), selection);
            weights.reverse();
            prop_assert_eq!(select(&weights, fraction, None), selection);
        }
    }

    #[test]
    fn a_sharp_posterior_keeps_one() {
        let selection = select(&[1e-6, 1.0, 1e-7], 0.999, None);
        assert_eq!((selection.threshold, selection.count), (1.0, 1));
    }

    #[test]
    fn ties_belong_to_the_set() {
        assert_eq!(select(&[1.0; 10], 0.55, None).count, 10);
    }

    #[test]
    fn the_maximum_stops_a_flat_posterior() {
        let weights: Vec<f64> = (0..1000).map(|i| 1.0 - f64::from(i) * 1e-4).collect();
        assert_eq!(select(&weights, 0.999, Some(17)).count, 17);
    }

    #[test]
    fn nothing_has_no_mass() {
        let selection = select(&[0.0, 1e-300], 0.999, None);
        assert_eq!((selection.count, selection.total), (0, 0.0));
    }
}
