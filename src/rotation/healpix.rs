//! The HEALPix division of the sphere in NESTED order (Gorski et al. 2005, ApJ 622, 759).
//!
//! Order h has 12 faces of 2^h x 2^h pixels. A pixel's number is its face, then the bits of its
//! coordinates (x, y) in the face interleaved, x lowest: the children of pixel p are 4p .. 4p+3.

use std::f64::consts::FRAC_PI_4;
use std::f64::consts::TAU;

/// Finest order supported: 0.86 arc minutes, and pixel numbers still fit u32.
pub const MAXIMUM_ORDER: u32 = 12;

/// Ring of the southern corner of each face, in units of the face's edge.
const SOUTH_CORNER_RING: [i64; 12] = [2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4];
/// Longitude of the centre of each face, in units of 45 degrees.
const FACE_LONGITUDE: [i64; 12] = [1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7];

/// Pixels along the edge of a face: 2^order.
pub fn side(order: u32) -> u32 {
    1 << order
}

/// Number of pixels of the sphere: 12 * 4^order.
pub fn pixel_count(order: u32) -> usize {
    12 << (2 * order)
}

/// Angular step of an orientation grid of this order, in degrees: 360 / (6 * 2^order).
pub fn angular_step_degrees(order: u32) -> f64 {
    60.0 / f64::from(side(order))
}

/// (face, x, y) of a pixel.
pub fn face_of_pixel(order: u32, pixel: u32) -> (u32, u32, u32) {
    let inside = pixel & (side(order) * side(order)).wrapping_sub(1);
    (pixel >> (2 * order), even_bits(inside), even_bits(inside >> 1))
}

/// Pixel at (x, y) of a face.
pub fn pixel_of_face(order: u32, face: u32, x: u32, y: u32) -> u32 {
    (face << (2 * order)) | spread_bits(x) | (spread_bits(y) << 1)
}

/// Cosine of the polar angle, and the longitude in [0, 2 pi), of a pixel's centre.
pub fn z_phi_of_pixel(order: u32, pixel: u32) -> (f64, f64) {
    let (face, x, y) = face_of_pixel(order, pixel);
    let (face, x, y, n) = (face as usize, i64::from(x), i64::from(y), i64::from(side(order)));
    // Rings are counted from the north pole, 1 ..= 4n - 1; `quarter` is the pixels in 90 degrees of the ring.
    let ring = SOUTH_CORNER_RING[face] * n - x - y - 1;
    let squared = 1.0 / (3 * n * n) as f64;
    let (quarter, z) = if ring < n {
        (ring, 1.0 - (ring * ring) as f64 * squared)
    } else if ring > 3 * n {
        let from_south = 4 * n - ring;
        (from_south, (from_south * from_south) as f64 * squared - 1.0)
    } else {
        (n, (2 * (2 * n - ring)) as f64 / (3 * n) as f64)
    };
    let phi = (FACE_LONGITUDE[face] * quarter + x - y) as f64 * (FRAC_PI_4 / quarter as f64);
    (z, if phi < 0.0 { phi + TAU } else { phi })
}

/// (rot, tilt) in degrees of a pixel's centre: rot in (-180, 180], tilt in [0, 180].
pub fn angles_of_pixel(order: u32, pixel: u32) -> (f64, f64) {
    let (z, phi) = z_phi_of_pixel(order, pixel);
    let rot = phi.to_degrees();
    (if rot > 180.0 { rot - 360.0 } else { rot }, z.acos().to_degrees())
}

/// The 4^levels descendants of a pixel `levels` orders finer, row by row: y outer, x inner.
pub fn children(order: u32, pixel: u32, levels: u32) -> impl Iterator<Item = u32> {
    let (face, x, y) = face_of_pixel(order, pixel);
    let fine = side(levels);
    (0..fine).flat_map(move |j| (0..fine).map(move |i| pixel_of_face(order + levels, face, fine * x + i, fine * y + j)))
}

/// Largest angle between a pixel's centre and its corners, in radians: that of the pixels at the corners of
/// the polar caps.
pub fn maximum_pixel_radius(order: u32) -> f64 {
    let n = f64::from(side(order));
    let unit = |z: f64, phi: f64| {
        let r = (1.0 - z * z).sqrt();
        [r * phi.cos(), r * phi.sin(), z]
    };
    let above = 1.0 - 1.0 / n;
    let (a, b) = (unit(2.0 / 3.0, FRAC_PI_4 / n), unit(1.0 - above * above / 3.0, 0.0));
    (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]).acos()
}

/// Gathers bits 0, 2, 4, ... of a number.
fn even_bits(v: u32) -> u32 {
    let mut v = v & 0x5555_5555;
    v = (v | (v >> 1)) & 0x3333_3333;
    v = (v | (v >> 2)) & 0x0f0f_0f0f;
    v = (v | (v >> 4)) & 0x00ff_00ff;
    (v | (v >> 8)) & 0x0000_ffff
}

/// Moves bit i of a number below 2^16 to bit 2i.
fn spread_bits(v: u32) -> u32 {
    let mut v = v & 0x0000_ffff;
    v = (v | (v << 8)) & 0x00ff_00ff;
    v = (v | (v << 4)) & 0x0f0f_0f0f;
    v = (v | (v << 2)) & 0x3333_3333;
    (v | (v << 1)) & 0x5555_5555
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pixels() {
        // Known numbers have four decimals.
        let known = [(1, 0, 45.0, 70.5288), (1, 1, 67.5, 48.1897), (1, 2, 22.5, 48.1897), (1, 3, 45.0, 23.5565)];
        let finer = [(3, 0, 45.0, 85.2198), (3, 1, 50.625, 80.4059), (3, 383, 90.0, 54.3147), (3, 767, -45.0, 94.7802)];
        for (order, pixel, rot, tilt) in known.into_iter().chain(finer) {
            let (r, t) = angles_of_pixel(order, pixel);
            assert!((r - rot).abs() < 1e-9 && (t - tilt).abs() < 6e-5, "order {order} pixel {pixel}: {r} {t}");
        }
        for (order, degrees) in [48.1897, 27.5857, 14.5722, 7.4728, 3.7824].into_iter().enumerate() {
            assert!((maximum_pixel_radius(order as u32).to_degrees() - degrees).abs() < 6e-5, "order {order}");
        }
    }

    #[test]
    fn faces_and_children_are_consistent() {
        for order in 0..=4 {
            for pixel in 0..pixel_count(order) as u32 {
                let (face, x, y) = face_of_pixel(order, pixel);
                assert!(face < 12 && x < side(order) && y < side(order));
                assert_eq!(pixel_of_face(order, face, x, y), pixel);
                let mut found: Vec<u32> = children(order, pixel, 2).collect();
                found.sort_unstable();
                assert_eq!(found, (16 * pixel..16 * pixel + 16).collect::<Vec<_>>());
            }
        }
        let last = pixel_count(MAXIMUM_ORDER) as u32 - 1;
        let (face, x, y) = face_of_pixel(MAXIMUM_ORDER, last);
        assert_eq!((face, x, y), (11, 4095, 4095));
        assert_eq!(pixel_of_face(MAXIMUM_ORDER, face, x, y), last);
        assert_eq!(children(1, 5, 1).collect::<Vec<_>>(), [20, 21, 22, 23]);
    }

    #[test]
    fn pixels_have_equal_area_rings_and_cancel() {
        // The centres are symmetric about the origin, so that their sum vanishes; rounding grows with the count.
        for order in 0..=5 {
            let mut sum = [0.0; 3];
            for pixel in 0..pixel_count(order) as u32 {
                let (z, phi) = z_phi_of_pixel(order, pixel);
                assert!((0.0..TAU).contains(&phi) && z.abs() < 1.0);
                let r = (1.0 - z * z).sqrt();
                sum = [sum[0] + r * phi.cos(), sum[1] + r * phi.sin(), sum[2] + z];
            }
            assert!(sum.iter().all(|s| s.abs() < 1e-9), "order {order}: {sum:?}");
        }
    }
}
