//! The elements of a point group, from its generators.

use crate::error::Error;
use crate::error::Result;

use super::Matrix3;
use super::point_group::Kind;

/// Elements closer than this, element by element, are the same; distinct ones differ by 0.06 or more.
const SAME: f64 = 1e-6;

/// Half the angle between neighbouring five-fold axes of an icosahedron: atan(1/golden ratio), in degrees.
pub(super) const HALF_FIVE_FOLD_DEGREES: f64 = 31.717_474_411_461_005;

/// Flips the depth of the image frame, which a projection does not see.
const FLIP_DEPTH: Matrix3 = Matrix3([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]]);

/// One element of a point group.
///
/// `right` acts on the object: V(right r) = V(r). The pose `left * A * right` is a rotation that gives the
/// same image as A; `left` is the identity, or flips the depth when `right` is a mirror.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operator {
    pub left: Matrix3,
    pub right: Matrix3,
    /// RELION applies the flip of depth too: the inverting elements of groups made from the inversion.
    relion_flips: bool,
}

impl Operator {
    fn new(right: Matrix3, made_from_inversion: bool) -> Self {
        let inverts = right.determinant() < 0.0;
        let left = if inverts { FLIP_DEPTH } else { Matrix3::IDENTITY };
        Self { left, right, relion_flips: inverts && made_from_inversion }
    }

    /// The pose that gives the same image.
    pub fn mate(&self, pose: Matrix3) -> Matrix3 {
        self.left * pose * self.right
    }

    /// Viewing direction of the mate of a pose with this viewing direction.
    pub fn mate_direction(&self, direction: [f64; 3]) -> [f64; 3] {
        let turned = self.right.transpose().apply(direction);
        if self.left.0[2][2] > 0.0 { turned } else { turned.map(|x| -x) }
    }

    /// The direction that RELION takes for the mate of a direction. For pure rotations it is the mate. With
    /// mirrors RELION reflects the direction itself, and with the inversion it inverts and flips the depth of
    /// the object frame: neither gives the same image.
    pub fn relion_mate_direction(&self, direction: [f64; 3]) -> [f64; 3] {
        let turned = self.right.transpose().apply(direction);
        if self.relion_flips { FLIP_DEPTH.apply(turned) } else { turned }
    }
}

/// Generators of a group (the `right` matrices).
fn generators(kind: Kind) -> Vec<Matrix3> {
    const X: [f64; 3] = [1.0, 0.0, 0.0];
    const Y: [f64; 3] = [0.0, 1.0, 0.0];
    const Z: [f64; 3] = [0.0, 0.0, 1.0];
    let fold = |n: u32, axis: [f64; 3]| Matrix3::about_axis(axis, 360.0 / f64::from(n));
    let inversion = Matrix3(Matrix3::IDENTITY.0.map(|row| row.map(|x| -x)));
    let root2 = 2f64.sqrt();
    match kind {
        Kind::C(n) => vec![fold(n, Z)],
        Kind::Ci => vec![inversion],
        Kind::Cs => vec![Matrix3::mirror(Z)],
        Kind::Cv(n) => vec![fold(n, Z), Matrix3::mirror(Y)],
        Kind::Ch(n) => vec![fold(n, Z), Matrix3::mirror(Z)],
        Kind::S(n) => vec![fold(n / 2, Z), inversion],
        Kind::D(n) => vec![fold(n, Z), fold(2, X)],
        Kind::Dv(n) => vec![fold(n, Z), fold(2, X), Matrix3::mirror(X)],
        Kind::Dh(n) => vec![fold(n, Z), fold(2, X), Matrix3::mirror(Z)],
        Kind::T => vec![fold(3, Z), fold(2, [0.0, root2, 1.0])],
        Kind::Td => vec![fold(3, Z), fold(2, [0.0, root2, 1.0]), Matrix3::mirror([1.0, 3f64.sqrt(), 0.0])],
        Kind::Th => vec![fold(3, Z), fold(2, [0.0, -root2, -1.0]), inversion],
        Kind::O => vec![fold(3, [1.0, 1.0, 1.0]), fold(4, Z)],
        Kind::Oh => vec![fold(3, [1.0, 1.0, 1.0]), fold(4, Z), Matrix3::mirror([0.0, 1.0, 1.0])],
        Kind::I(setting) => icosahedral(setting),
        Kind::Ih(setting) => {
            let mut all = icosahedral(setting);
            all.push(Matrix3::mirror(setting_of_icosahedron(setting).apply(X)));
            all
        }
    }
}

/// Two-, five- and three-fold axes of one setting.
fn icosahedral(setting: u32) -> Vec<Matrix3> {
    let golden = 0.5 * (1.0 + 5f64.sqrt());
    let turn = setting_of_icosahedron(setting);
    [(2.0, [0.0, 0.0, 1.0]), (5.0, [1.0, 0.0, golden]), (3.0, [0.0, 1.0, golden * golden])]
        .map(|(fold, axis)| Matrix3::about_axis(turn.apply(axis), 360.0 / fold))
        .to_vec()
}

/// Turns setting I2 (two-fold axes on x, y, z) into another: about y, by 90 degrees for I1, and so that a
/// five-fold axis comes to z for I3, or the other way round for I4.
fn setting_of_icosahedron(setting: u32) -> Matrix3 {
    let degrees = match setting {
        1 => 90.0,
        3 => -HALF_FIVE_FOLD_DEGREES,
        4 => HALF_FIVE_FOLD_DEGREES,
        _ => 0.0,
    };
    Matrix3::about_axis([0.0, 1.0, 0.0], degrees)
}

/// All elements of a group: the products of its generators, the identity first.
///
/// # Errors
/// Their number is not the order of the group: a defect of this program.
pub(super) fn elements(kind: Kind) -> Result<Vec<Operator>> {
    let (generators, order) = (generators(kind), kind.order());
    let made_from_inversion = matches!(kind, Kind::Ci | Kind::S(_) | Kind::Th);
    let mut all = vec![Matrix3::IDENTITY];
    let mut next = 0;
    while next < all.len() && all.len() <= order {
        for generator in &generators {
            let product = all[next] * *generator;
            if !all.iter().any(|known| same(known, &product)) {
                all.push(product);
            }
        }
        next += 1;
    }
    if all.len() != order {
        return Err(Error::internal(format!("a point group has {} elements instead of {order}", all.len())));
    }
    Ok(all.into_iter().map(|right| Operator::new(right, made_from_inversion)).collect())
}

fn same(a: &Matrix3, b: &Matrix3) -> bool {
    a.0.iter().flatten().zip(b.0.iter().flatten()).all(|(x, y)| (x - y).abs() < SAME)
}
