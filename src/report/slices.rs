//! Central slices of a map in grey.

use crate::model::Volume;

use super::scene::Pixels;

/// Grey runs from the mean minus this many standard deviations ...
const BLACK_BELOW: f64 = 1.5;
/// ... to the mean plus this many: the particle is the bright part.
const WHITE_ABOVE: f64 = 5.0;

/// The planes through the centre: x right and y up, x right and z up, y right and z up.
pub fn central(map: &Volume) -> [(&'static str, Pixels); 3] {
    let n = map.box_pixels;
    let c = n / 2;
    let at = |x: usize, y: usize, z: usize| f64::from(map.data[(z * n + y) * n + x]);
    let planes: [(&str, Box<dyn Fn(usize, usize) -> f64 + '_>); 3] = [
        ("xy", Box::new(move |i, j| at(i, j, c))),
        ("xz", Box::new(move |i, j| at(i, c, j))),
        ("yz", Box::new(move |i, j| at(c, i, j))),
    ];
    let (mean, deviation) = planes_statistics(n, &planes.each_ref().map(|(_, value)| value.as_ref()));
    planes.map(|(name, value)| {
        let grey = |value: f64| {
            let share = ((value - mean) / deviation + BLACK_BELOW) / (BLACK_BELOW + WHITE_ABOVE);
            (255.0 * share.clamp(0.0, 1.0)).round() as u8
        };
        // Rows of an image run from the top, the axis of the map from the bottom.
        let rgb = (0..n).rev().flat_map(|j| (0..n).map(move |i| (i, j))).flat_map(|(i, j)| [grey(value(i, j)); 3]);
        (name, Pixels { width: n, height: n, rgb: rgb.collect() })
    })
}

/// Mean and standard deviation over the three planes; a flat map gets a deviation of 1.
fn planes_statistics(n: usize, planes: &[&dyn Fn(usize, usize) -> f64; 3]) -> (f64, f64) {
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for plane in planes {
        for j in 0..n {
            for i in 0..n {
                let value = plane(i, j);
                sum += value;
                squares += value * value;
                count += 1.0;
            }
        }
    }
    let mean = sum / count;
    let variance = squares / count - mean * mean;
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
