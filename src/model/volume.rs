//! A cubic map.

use serde::Deserialize;
use serde::Serialize;

/// A cubic real-space map: x fastest, then y, then z; the centre is voxel n/2.
///
/// Values are f32, as in the MRC file: a state restored from its files is the state itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    pub data: Vec<f32>,
}

impl Volume {
    pub fn zeros(box_pixels: usize, pixel_size_angstrom: f64) -> Self {
        Self { box_pixels, pixel_size_angstrom, data: vec![0.0; box_pixels.pow(3)] }
    }
}
