//! Correction for trilinear interpolation in Fourier space: its transform is sinc^2.

/// sinc^2(r / padded) for the voxels of a box, by squared integer distance from the centre.
#[derive(Clone, Debug)]
pub struct GriddingCorrection {
    by_square: Vec<f64>,
    centre: i64,
}

impl GriddingCorrection {
    pub fn new(box_pixels: usize, padded_pixels: usize) -> Self {
        let centre = (box_pixels / 2) as i64;
        let by_square = (0..=3 * centre * centre)
            .map(|square| {
                let turn = std::f64::consts::PI * (square as f64).sqrt() / padded_pixels as f64;
                if square == 0 { 1.0 } else { (turn.sin() / turn).powi(2) }
            })
            .collect();
        Self { by_square, centre }
    }

    /// The attenuation of voxel (x, y, z), array indices: divide by it.
    #[inline]
    pub fn at(&self, x: usize, y: usize, z: usize) -> f64 {
        let d = |i: usize| (i as i64 - self.centre).pow(2);
        self.by_square[(d(x) + d(y) + d(z)) as usize]
    }
}
