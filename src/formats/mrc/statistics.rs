//! The four statistics words of a header.

/// Running minimum, maximum, mean and variance (Chan, Golub & LeVeque 1983).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    count: f64,
    minimum: f32,
    maximum: f32,
    mean: f64,
    /// Sum of squared deviations from the mean.
    deviations: f64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self { count: 0.0, minimum: f32::INFINITY, maximum: f32::NEG_INFINITY, mean: 0.0, deviations: 0.0 }
    }
}

impl Statistics {
    pub fn of(pixels: &[f32]) -> Self {
        let mut all = Self::default();
        // In pieces, so that sums stay short and precise.
        pixels.chunks(1 << 16).for_each(|piece| all.add(piece));
        all
    }

    pub fn add(&mut self, pixels: &[f32]) {
        if pixels.is_empty() {
            return;
        }
        let count = pixels.len() as f64;
        let mean = pixels.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let deviations: f64 = pixels.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
        let (total, shift) = (self.count + count, mean - self.mean);
        self.deviations += deviations + shift * shift * self.count * count / total;
        self.mean += shift * count / total;
        self.count = total;
        self.minimum = pixels.iter().copied().fold(self.minimum, f32::min);
        self.maximum = pixels.iter().copied().fold(self.maximum, f32::max);
    }

    /// The words say "not determined" (maximum below minimum, mean below both, rms negative) when there are no
    /// pixels or one is not a number.
    fn is_determined(&self) -> bool {
        self.count > 0.0 && self.deviations.is_finite()
    }

    pub fn minimum(&self) -> f32 {
        if self.is_determined() { self.minimum } else { 0.0 }
    }

    pub fn maximum(&self) -> f32 {
        if self.is_determined() { self.maximum } else { -1.0 }
    }

    pub fn mean(&self) -> f32 {
        if self.is_determined() { self.mean as f32 } else { -2.0 }
    }

    /// Root of the mean squared deviation from the mean.
    pub fn rms(&self) -> f32 {
        if self.is_determined() { (self.deviations / self.count).sqrt() as f32 } else { -1.0 }
    }
}
