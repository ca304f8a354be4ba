//! Point groups by name.

use crate::error::Error;
use crate::error::Result;

use super::Euler;
use super::Matrix3;
use super::Operator;
use super::asymmetric_unit;
use super::operators;

/// Largest n of an n-fold axis.
const MAXIMUM_FOLD: u32 = 99;

const VALID_NAMES: &str = "Use one of C<n>, Ci, Cs, C<n>v, C<n>h, S<n> (n even), D<n>, D<n>v, D<n>h, T, Td, Th, O, Oh, \
     I, I1, I2, I3, I4, Ih, I1h, I2h, I3h, I4h, with n from 1 to 99; upper or lower case.";

/// Kind of a point group, with the fold of its main axis or the setting of an icosahedron.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    C(u32),
    Ci,
    Cs,
    Cv(u32),
    Ch(u32),
    S(u32),
    D(u32),
    Dv(u32),
    Dh(u32),
    T,
    Td,
    Th,
    O,
    Oh,
    /// Settings 1 to 4.
    I(u32),
    Ih(u32),
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        let upper = name.trim().to_ascii_uppercase();
        match upper.as_str() {
            "CI" => return Some(Self::Ci),
            "CS" => return Some(Self::Cs),
            "T" => return Some(Self::T),
            "TD" => return Some(Self::Td),
            "TH" => return Some(Self::Th),
            "O" => return Some(Self::O),
            "OH" => return Some(Self::Oh),
            "I" => return Some(Self::I(2)),
            "IH" => return Some(Self::Ih(2)),
            _ => {}
        }
        let rest = upper.get(1..)?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let fold: u32 = rest[..digits].parse().ok()?;
        if !(1..=MAXIMUM_FOLD).contains(&fold) {
            return None;
        }
        match (upper.get(..1)?, &rest[digits..]) {
            ("C", "") => Some(Self::C(fold)),
            ("C", "V") => Some(Self::Cv(fold)),
            ("C", "H") => Some(Self::Ch(fold)),
            ("S", "") if fold.is_multiple_of(2) => Some(Self::S(fold)),
            ("D", "") => Some(Self::D(fold)),
            ("D", "V") => Some(Self::Dv(fold)),
            ("D", "H") => Some(Self::Dh(fold)),
            ("I", "") if fold <= 4 => Some(Self::I(fold)),
            ("I", "H") if fold <= 4 => Some(Self::Ih(fold)),
            _ => None,
        }
    }

    /// Number of elements of the group.
    pub(super) fn order(self) -> usize {
        let order = match self {
            Self::C(n) | Self::S(n) => n,
            Self::Ci | Self::Cs => 2,
            Self::Cv(n) | Self::Ch(n) | Self::D(n) => 2 * n,
            Self::Dv(n) | Self::Dh(n) => 4 * n,
            Self::T => 12,
            Self::Td | Self::Th | Self::O => 24,
            Self::Oh => 48,
            Self::I(_) => 60,
            Self::Ih(_) => 120,
        };
        order as usize
    }
}

/// A point group in RELION's settings: main axis z, two-fold axes of `D<n>` include x; I is I2.
///
/// `S<n>` is what RELION calls so: an n/2-fold axis and the inversion.
#[derive(Clone, Debug)]
pub struct PointGroup {
    name: String,
    kind: Kind,
    operators: Vec<Operator>,
}

impl PointGroup {
    /// The group of this name.
    ///
    /// # Errors
    /// An unknown name (the message lists the valid forms).
    pub fn parse(name: &str) -> Result<Self> {
        let Some(kind) = Kind::parse(name) else {
            return Err(Error::usage(format!("symmetry {name:?} is not a point group known here"), VALID_NAMES));
        };
        let operators = operators::elements(kind)?;
        Ok(Self { name: name.trim().to_ascii_uppercase(), kind, operators })
    }

    /// Upper-case name, as it was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All elements, the identity first; as many as [`PointGroup::order`].
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// Number of elements.
    pub fn order(&self) -> usize {
        self.operators.len()
    }

    /// True when no element is a mirror or an inversion.
    pub fn is_pure_rotation(&self) -> bool {
        self.operators.iter().all(|operator| operator.right.determinant() > 0.0)
    }

    /// True when a viewing direction lies in RELION's asymmetric unit, seams included.
    pub fn contains_direction(&self, rot_degrees: f64, tilt_degrees: f64) -> bool {
        asymmetric_unit::contains(self.kind, rot_degrees, tilt_degrees)
    }

    /// The poses that give the same image as `pose`, itself first.
    pub fn mates(&self, pose: Matrix3) -> impl Iterator<Item = Matrix3> {
        self.operators.iter().map(move |operator| operator.mate(pose))
    }

    /// Angle in degrees to the nearest mate: min over the group of the rotation angle between poses.
    pub fn angle_degrees(&self, a: Euler, b: Euler) -> f64 {
        let a = a.matrix();
        self.mates(b.matrix()).map(|mate| a.angle_degrees(mate)).fold(f64::INFINITY, f64::min)
    }

    /// How far a pose moved, in degrees: min over the mates of the old pose of the mean angle between
    /// corresponding rows of the two matrices (the change auto-refinement watches).
    pub fn mean_row_angle_degrees(&self, new: Euler, old: Euler) -> f64 {
        let new = new.matrix();
        let mean = |mate: Matrix3| {
            let angle = |r: usize| super::matrix::dot(new.0[r], mate.0[r]).clamp(-1.0, 1.0).acos();
            (angle(0) + angle(1) + angle(2)) / 3.0
        };
        self.mates(old.matrix()).map(mean).fold(f64::INFINITY, f64::min).to_degrees()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &[
        "C1", "c2", "C7", "C99", "Ci", "Cs", "C1v", "C2v", "C3v", "C5H", "S2", "S4", "S6", "D1", "D2", "D7", "D2v",
        "D3V", "D2h", "D5h", "T", "Td", "TH", "O", "OH", "I", "I1", "I2", "I3", "I4", "Ih", "I1h", "I2H", "I3H", "I4H",
    ];

    #[test]
    fn groups_are_closed_and_complete() {
        for name in NAMES {
            let group = PointGroup::parse(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            let close = |a: &Matrix3, b: &Matrix3| {
                a.0.iter().flatten().zip(b.0.iter().flatten()).all(|(x, y)| (x - y).abs() < 1e-9)
            };
            assert_eq!(group.operators()[0].right, Matrix3::IDENTITY);
            for a in group.operators() {
                assert!(group.operators().iter().any(|o| close(&o.right, &a.right.transpose())), "{name}: inverse");
                assert!(
                    (a.left.determinant() - a.right.determinant()).abs() < 1e-9,
                    "{name}: a mate must be a rotation"
                );
                for b in group.operators() {
                    let product = a.right * b.right;
                    assert!(group.operators().iter().any(|o| close(&o.right, &product)), "{name}: product");
                }
            }
        }
        for (name, order) in [("C7", 7), ("D2", 4), ("Cs", 2), ("D3v", 12), ("Th", 24), ("I3", 60), ("I4h", 120)] {
            assert_eq!(PointGroup::parse(name).expect(name).order(), order);
        }
    }

    #[test]
    fn wrong_names_are_refused_with_the_valid_ones() {
        for name in ["", "C", "C0", "C100", "Q3", "S3", "I5", "I5H", "D2x", "Tx", "Cé", "é", "C-1", "C+2"] {
            let error = PointGroup::parse(name).expect_err(name);
            assert!(error.fix.contains("I4h") && error.problem.contains("symmetry"), "{name}: {error}");
        }
    }

    #[test]
    fn angles_respect_the_group() {
        let group = PointGroup::parse("C4").expect("C4");
        let (a, b) = (Euler::new(10.0, 50.0, 20.0), Euler::new(103.0, 50.0, 20.0));
        // A turn by 3 degrees about z, of which tilt 50 sees the rows move less.
        assert!((group.angle_degrees(a, b) - 3.0).abs() < 1e-9);
        let mean = group.mean_row_angle_degrees(a, b);
        assert!(mean > 1.0 && mean < 3.0, "{mean}");
        // acos is flat at 1: sqrt(2^-52) radians.
        assert!(group.mean_row_angle_degrees(a, Euler::new(-80.0, 50.0, 20.0)) < 2e-6);
        let around_the_view = group.mean_row_angle_degrees(a, Euler::new(10.0, 50.0, 26.0));
        assert!((around_the_view - 4.0).abs() < 1e-6, "two rows of three move: {around_the_view}");
    }
}
