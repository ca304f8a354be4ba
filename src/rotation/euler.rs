//! ZYZ Euler angles in degrees, as RELION writes them.

use serde::Deserialize;
use serde::Serialize;

use super::Matrix3;

/// Below this sine of tilt, rot and psi are not told apart (16 times the spacing of f32 at 1).
const SMALLEST_SINE_OF_TILT: f64 = 16.0 * f32::EPSILON as f64;

/// A direction closer than this to a pole has rot 0, in degrees.
const POLE_DEGREES: f64 = 0.001;

/// rot about z, tilt about the new y, psi about the new z, in degrees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Euler {
    pub rot: f64,
    pub tilt: f64,
    pub psi: f64,
}

impl Euler {
    pub fn new(rot: f64, tilt: f64, psi: f64) -> Self {
        Self { rot, tilt, psi }
    }

    /// The matrix R_z(psi) R_y(tilt) R_z(rot) that takes object coordinates to image coordinates.
    pub fn matrix(self) -> Matrix3 {
        let (sa, ca) = self.rot.to_radians().sin_cos();
        let (sb, cb) = self.tilt.to_radians().sin_cos();
        let (sg, cg) = self.psi.to_radians().sin_cos();
        let (cc, cs, sc, ss) = (cb * ca, cb * sa, sb * ca, sb * sa);
        Matrix3([
            [cg * cc - sg * sa, cg * cs + sg * ca, -cg * sb],
            [-sg * cc - cg * sa, -sg * cs + cg * ca, sg * sb],
            [sc, ss, cb],
        ])
    }

    /// The angles of a rotation matrix: rot and psi in [-180, 180], tilt in [0, 180].
    /// At tilt 0 and 180 only rot - psi or rot + psi is defined: rot is 0 there.
    pub fn of_matrix(a: &Matrix3) -> Self {
        let m = &a.0;
        let sine = m[0][2].hypot(m[1][2]);
        let [rot, tilt, psi] = if sine > SMALLEST_SINE_OF_TILT {
            [m[2][1].atan2(m[2][0]), sine.atan2(m[2][2]), m[1][2].atan2(-m[0][2])]
        } else if m[2][2] > 0.0 {
            [0.0, 0.0, (-m[1][0]).atan2(m[0][0])]
        } else {
            [0.0, std::f64::consts::PI, m[1][0].atan2(-m[0][0])]
        };
        Self { rot: rot.to_degrees(), tilt: tilt.to_degrees(), psi: psi.to_degrees() }
    }
}

/// Unit vector of a viewing direction: the third row of the pose's matrix.
pub fn direction_of_angles(rot_degrees: f64, tilt_degrees: f64) -> [f64; 3] {
    let (sa, ca) = rot_degrees.to_radians().sin_cos();
    let (sb, cb) = tilt_degrees.to_radians().sin_cos();
    [sb * ca, sb * sa, cb]
}

/// (rot, tilt) in degrees of a unit vector; rot is 0 at the poles.
pub fn angles_of_direction(v: [f64; 3]) -> (f64, f64) {
    let tilt = v[2].clamp(-1.0, 1.0).acos().to_degrees();
    let at_pole = !(POLE_DEGREES..=180.0 - POLE_DEGREES).contains(&tilt);
    (if at_pole { 0.0 } else { v[1].atan2(v[0]).to_degrees() }, tilt)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding of some ten products and of the inverse functions near their steepest points.
    const TOLERANCE: f64 = 1e-9;

    fn distance(a: &Matrix3, b: &Matrix3) -> f64 {
        a.0.iter().flatten().zip(b.0.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn matrix_has_known_elements() {
        let known = Matrix3([
            [0.04341204, 0.90961589, -0.41317591],
            [-0.82959837, 0.26325835, 0.49240388],
            [0.55667040, 0.32139380, 0.76604444],
        ]);
        // The known numbers have eight decimals.
        assert!(distance(&Euler::new(30.0, 40.0, 50.0).matrix(), &known) < 6e-9);
    }

    #[test]
    fn angles_come_back() {
        for rot in [-180.0, -121.0, -90.0, -1e-3, 0.0, 33.3, 90.0, 179.9] {
            for tilt in [0.0, 1e-3, 0.5, 45.0, 90.0, 135.0, 179.5, 180.0] {
                for psi in [-179.0, -90.0, 0.0, 12.5, 90.0, 180.0] {
                    let given = Euler::new(rot, tilt, psi);
                    let found = Euler::of_matrix(&given.matrix());
                    assert!(distance(&given.matrix(), &found.matrix()) < TOLERANCE, "{given:?} {found:?}");
                    if tilt > 0.0 && tilt < 180.0 {
                        // At tilt 0.001 an error of the matrix is magnified 6e4 times in rot and psi.
                        let turn = |x: f64, y: f64| (x - y + 540.0).rem_euclid(360.0) - 180.0;
                        assert!(turn(found.rot, rot).abs() < 1e-8 && turn(found.psi, psi).abs() < 1e-8, "{found:?}");
                        assert!((found.tilt - tilt).abs() < 1e-8, "{given:?} {found:?}");
                    } else {
                        assert_eq!((found.rot, found.tilt), (0.0, tilt));
                    }
                }
            }
        }
    }

    #[test]
    fn directions_come_back() {
        for (rot, tilt) in [(0.0, 30.0), (-170.0, 91.0), (45.0, 179.0), (180.0, 90.0)] {
            let (r, t) = angles_of_direction(direction_of_angles(rot, tilt));
            assert!((r - rot).abs() < TOLERANCE && (t - tilt).abs() < TOLERANCE, "{rot} {tilt}: {r} {t}");
            assert_eq!(direction_of_angles(rot, tilt), Euler::new(rot, tilt, 77.0).matrix().0[2]);
        }
        assert_eq!(angles_of_direction([0.0, 0.0, -1.0]), (0.0, 180.0));
        assert_eq!(angles_of_direction([1e-6, 1e-6, 1.0]).0, 0.0);
    }
}
