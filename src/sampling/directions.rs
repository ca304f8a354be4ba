//! The viewing directions of a grid that differ under a point group.

use std::collections::HashMap;

use crate::error::Error;
use crate::error::Result;
use crate::rotation::PointGroup;
use crate::rotation::direction_of_angles;
use crate::rotation::healpix;

/// Above this many directions RELION leaves the duplicates along the seams.
const RELION_MAXIMUM_FOR_SEAMS: usize = 4000;

/// Inside of the asymmetric unit used for groups with mirrors: a direction on no axis and no mirror plane.
const INSIDE: [f64; 3] = [0.415_926_535, 0.271_828_183, 0.867_820_5];

/// A face of the unit belongs to it up to this difference of cosines: rounding of unit vectors.
const ON_FACE: f64 = 1e-12;

/// One viewing direction: its HEALPix pixel and the angles of the pixel's centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direction {
    pub pixel: u32,
    pub rot_degrees: f64,
    pub tilt_degrees: f64,
}

/// The directions of a HEALPix grid, in NESTED order, reduced to one of each set of symmetry mates.
///
/// First the directions outside the asymmetric unit go, then, in order, each one with a mate of a kept one
/// closer than half the largest pixel radius (pairs along the seams), then those outside the tilt limit:
/// with l = `limit_tilt_degrees` and t the angle to the nearer pole, t >= l is kept for l > 0 and t <= -l
/// for l < 0.
///
/// Groups with mirrors: RELION takes mirror-related views for equal, which they are not. Here the unit is
/// that of the rotations which leave the image alone, unless `parity` asks for RELION's choice. `parity` also
/// leaves the seams alone above 4000 directions, as RELION does, so that they are counted twice.
///
/// # Errors
/// An order beyond [`healpix::MAXIMUM_ORDER`], or no direction left.
pub fn reduced_directions(
    group: &PointGroup,
    order: u32,
    limit_tilt_degrees: Option<f64>,
    parity: bool,
) -> Result<Vec<Direction>> {
    if order > healpix::MAXIMUM_ORDER {
        return Err(Error::usage(
            format!("HEALPix order {order} is beyond {}", healpix::MAXIMUM_ORDER),
            "Use a lower order; the angular step is 60 degrees / 2^order.",
        ));
    }
    let relion_unit = parity || group.is_pure_rotation();
    let mut directions: Vec<Direction> = (0..healpix::pixel_count(order) as u32)
        .map(|pixel| {
            let (rot_degrees, tilt_degrees) = healpix::angles_of_pixel(order, pixel);
            Direction { pixel, rot_degrees, tilt_degrees }
        })
        .filter(|d| {
            if relion_unit {
                group.contains_direction(d.rot_degrees, d.tilt_degrees)
            } else {
                nearest_of_mates(group, direction_of_angles(d.rot_degrees, d.tilt_degrees))
            }
        })
        .collect();
    if !(parity && directions.len() >= RELION_MAXIMUM_FOR_SEAMS) {
        remove_seams(&mut directions, group, order, relion_unit);
    }
    if directions.is_empty() {
        return Err(Error::usage(
            format!("no direction of HEALPix order {order} lies in the asymmetric unit of {}", group.name()),
            "Use a higher HEALPix order.",
        ));
    }
    if let Some(limit) = limit_tilt_degrees.filter(|limit| limit.abs() < 90.0) {
        directions.retain(|d| {
            let from_pole = d.tilt_degrees.min(180.0 - d.tilt_degrees);
            if limit > 0.0 { from_pole >= limit } else { from_pole <= -limit }
        });
        if directions.is_empty() {
            return Err(Error::usage(
                format!("no direction of {} at HEALPix order {order} lies within the tilt limit {limit}", group.name()),
                "Widen the tilt limit or use a higher HEALPix order.",
            ));
        }
    }
    Ok(directions)
}

/// True when no mate of a direction is nearer to the inside of the unit than itself.
fn nearest_of_mates(group: &PointGroup, v: [f64; 3]) -> bool {
    let cosine = |v: [f64; 3]| v[0] * INSIDE[0] + v[1] * INSIDE[1] + v[2] * INSIDE[2];
    let own = cosine(v);
    group.operators().iter().all(|operator| cosine(operator.mate_direction(v)) <= own + ON_FACE)
}

/// Drops, in order, every direction that nearly coincides with a mate of one kept before.
///
/// The mates of the kept ones lie in cubic cells as wide as the distance that counts, so that 27 cells hold
/// all that may be near.
fn remove_seams(directions: &mut Vec<Direction>, group: &PointGroup, order: u32, relion_mates: bool) {
    let nearest_allowed = 0.5 * healpix::maximum_pixel_radius(order);
    let smallest_cosine = nearest_allowed.cos();
    let cell = 2.0 * (0.5 * nearest_allowed).sin();
    let cell_of = |v: [f64; 3]| v.map(|x| (x / cell).floor() as i32);
    let mut mates: HashMap<[i32; 3], Vec<[f64; 3]>> = HashMap::new();
    directions.retain(|d| {
        let v = direction_of_angles(d.rot_degrees, d.tilt_degrees);
        let [x, y, z] = cell_of(v);
        let near = |c: [i32; 3]| {
            mates
                .get(&c)
                .is_some_and(|list| list.iter().any(|m| m[0] * v[0] + m[1] * v[1] + m[2] * v[2] > smallest_cosine))
        };
        let is_duplicate = (x - 1..=x + 1).any(|x| (y - 1..=y + 1).any(|y| (z - 1..=z + 1).any(|z| near([x, y, z]))));
        if !is_duplicate {
            for operator in group.operators().iter().skip(1) {
                let mate = if relion_mates { operator.relion_mate_direction(v) } else { operator.mate_direction(v) };
                mates.entry(cell_of(mate)).or_default().push(mate);
            }
        }
        !is_duplicate
    });
}
