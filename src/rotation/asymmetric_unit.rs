//! RELION's asymmetric units of viewing directions.
//!
//! For groups with mirrors they are smaller than the directions whose images differ: RELION takes mirror-related
//! views for equal. `sampling` uses them for those groups only to reproduce RELION.

use super::Euler;
use super::euler::direction_of_angles;
use super::matrix::dot;
use super::matrix::normalised;
use super::operators::HALF_FIVE_FOLD_DEGREES;
use super::point_group::Kind;

/// Faces of the unit of I2: normals of planes through the origin.
const I2_FACES: [[f64; 3]; 3] = [[0.0, 1.0, 0.0], [-0.5, -0.809017, 0.309017], [0.5, -0.809017, 0.309017]];
/// Faces of the unit of I4 before its turn about y.
const I4_FACES: [[f64; 3]; 3] =
    [[0.0, 0.0, 1.0], [0.187_592_47, -0.303_530_99, -0.491_123_48], [0.187_592_47, 0.303_530_99, -0.491_123_48]];

/// True when a direction lies in the unit; faces belong to it.
#[expect(clippy::approx_constant, reason = "RELION's six decimals decide which directions lie on a face")]
pub(super) fn contains(kind: Kind, rot: f64, tilt: f64) -> bool {
    let v = direction_of_angles(rot, tilt);
    let wedge = |from: f64, to: f64| from <= rot && rot <= to;
    let upper = tilt <= 90.0;
    let inside = |faces: &[[f64; 3]]| faces.iter().all(|face| dot(v, normalised(*face)) >= 0.0);
    match kind {
        Kind::C(n) => wedge(-180.0 / f64::from(n), 180.0 / f64::from(n)),
        Kind::Ci | Kind::Cs => upper,
        Kind::Cv(n) => wedge(0.0, 180.0 / f64::from(n)),
        Kind::Ch(n) => wedge(-180.0 / f64::from(n), 180.0 / f64::from(n)) && upper,
        Kind::S(n) => wedge(-360.0 / f64::from(n), 360.0 / f64::from(n)) && upper,
        Kind::D(1) => upper,
        Kind::D(n) => wedge(90.0 - 180.0 / f64::from(n), 90.0 + 180.0 / f64::from(n)) && upper,
        Kind::Dv(n) | Kind::Dh(n) => wedge(90.0, 90.0 + 180.0 / f64::from(n)) && upper,
        Kind::T => {
            (wedge(90.0, 150.0) || rot == 0.0)
                && inside(&[[-1.0, 0.0, 0.0], [0.471405, 0.272165, 0.7698], [0.471404, 0.816497, 0.0]])
        }
        Kind::Td => inside(&[[-1.0, 0.0, 0.0], [0.471405, 0.272165, 0.7698], [0.0, 0.471405, -0.666667]]),
        Kind::Th => inside(&[[-1.0, 0.0, 0.0], [0.707107, 0.408248, -0.57735], [-0.408248, -0.707107, 0.0]]),
        Kind::O => ((wedge(45.0, 135.0) && upper) || rot == 0.0) && inside(&OCTAHEDRAL_FACES),
        Kind::Oh => ((wedge(90.0, 135.0) && upper) || rot == 0.0) && inside(&OCTAHEDRAL_FACES),
        Kind::I(4) => {
            let turn = Euler::new(0.0, -HALF_FIVE_FOLD_DEGREES, 0.0).matrix();
            I4_FACES.iter().all(|face| dot(v, normalised(turn.apply(*face))) <= 0.0)
        }
        Kind::I(setting) => {
            let turn = icosahedral_turn(setting);
            inside(&I2_FACES.map(|face| turn.apply(face)))
        }
        Kind::Ih(3) => {
            let turn = Euler::new(0.0, HALF_FIVE_FOLD_DEGREES, 0.0).matrix();
            inside(&I4_FACES.map(|face| turn.apply(face))) && v[1] >= 0.0
        }
        Kind::Ih(4) => {
            let turn = Euler::new(0.0, -HALF_FIVE_FOLD_DEGREES, 0.0).matrix();
            I4_FACES.iter().all(|face| dot(v, normalised(turn.apply(*face))) <= 0.0) && v[1] >= 0.0
        }
        Kind::Ih(setting) => {
            let turn = icosahedral_turn(setting);
            inside(&[I2_FACES[0], I2_FACES[1], [1.0, 0.0, 0.0]].map(|face| turn.apply(face)))
        }
    }
}

const OCTAHEDRAL_FACES: [[f64; 3]; 3] = [[0.0, -1.0, 1.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]];

fn icosahedral_turn(setting: u32) -> super::Matrix3 {
    let tilt = match setting {
        1 => 90.0,
        3 => HALF_FIVE_FOLD_DEGREES,
        _ => 0.0,
    };
    Euler::new(0.0, tilt, 0.0).matrix()
}
