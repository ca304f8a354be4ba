//! Central slices of a map in grey.

use crate::model::Volume;

use super::scene::Pixels;

/// Grey runs from the mean minus this many standard deviations ...
const BLACK_BELOW: f64 = 1.5;
/// ... to the mean plus this many: the particle is the bright part.
const WHITE_ABOVE: f64 = 5.0;

/// Voxel (x, y, z) at column i and row j of a plane through the centre c.
type Place = fn(i: usize, j: usize, c: usize) -> [usize; 3];

const PLANES: [(&str, Place); 3] =
    [("xy", |i, j, c| [i, j, c]), ("xz", |i, j, c| [i, c, j]), ("yz", |i, j, c| [c, i, j])];

/// The planes through the centre: x right and y up, x right and z up, y right and z up.
pub fn central(map: &Volume) -> [(&'static str, Pixels); 3] {
    let n = map.box_pixels;
    let value = |place: Place, i: usize, j: usize| {
        let [x, y, z] = place(i, j, n / 2);
        f64::from(map.data[(z * n + y) * n + x])
    };
    // Rows of an image run from the top, the axis of the map from the bottom.
    let planes = PLANES.map(|(name, place)| {
        let values: Vec<f64> =
            (0..n).rev().flat_map(|j| (0..n).map(move |i| (i, j))).map(|(i, j)| value(place, i, j)).collect();
        (name, values)
    });
    let (mean, deviation) = statistics(planes.iter().flat_map(|(_, values)| values));
    let grey = |value: &f64| {
        let share = ((value - mean) / deviation + BLACK_BELOW) / (BLACK_BELOW + WHITE_ABOVE);
        [(255.0 * share.clamp(0.0, 1.0)).round() as u8; 3]
    };
    planes.map(|(name, values)| (name, Pixels { width: n, height: n, rgb: values.iter().flat_map(grey).collect() }))
}

/// Mean and standard deviation; a flat map gets a deviation of 1.
fn statistics<'a>(values: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    let (sum, squares, count) = values.fold((0.0, 0.0, 0.0), |(s, q, n), v| (s + v, q + v * v, n + 1.0));
    let mean = sum / count;
    let variance: f64 = squares / count - mean * mean;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bright_voxel_is_where_it_should_be() {
        let n = 8;
        let mut map = Volume::zeros(n, 1.0);
        map.data[(5 * n + 4) * n + 2] = 100.0; // x 2, y 4 (centre), z 5
        let [xy, xz, yz] = central(&map);
        let brightest = |pixels: &Pixels| {
            let (at, value) = pixels.rgb.iter().step_by(3).enumerate().max_by_key(|(_, v)| **v).unwrap();
            (*value == 255).then_some((at % n, at / n))
        };
        assert_eq!((xy.0, brightest(&xy.1)), ("xy", None));
        assert_eq!((xz.0, brightest(&xz.1)), ("xz", Some((2, 7 - 5))));
        assert_eq!((yz.0, brightest(&yz.1)), ("yz", None));
        assert!(central(&Volume::zeros(4, 1.0))[0].1.rgb.iter().all(|v| *v == 59));
    }
}
