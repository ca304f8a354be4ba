//! 3 x 3 matrices.

/// Row-major 3 x 3 matrix; `m[row][column]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix3(pub [[f64; 3]; 3]);

/// Scalar product.
pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn normalised(v: [f64; 3]) -> [f64; 3] {
    let length = dot(v, v).sqrt();
    v.map(|x| x / length)
}

impl Matrix3 {
    pub const IDENTITY: Self = Self([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);

    pub fn transpose(self) -> Self {
        let m = self.0;
        Self(std::array::from_fn(|r| std::array::from_fn(|c| m[c][r])))
    }

    /// Matrix times column vector.
    pub fn apply(self, v: [f64; 3]) -> [f64; 3] {
        self.0.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }

    /// Rotation by `degrees` about `axis` (any length but zero), counter-clockwise seen from its tip
    /// (Rodrigues' formula).
    pub fn about_axis(axis: [f64; 3], degrees: f64) -> Self {
        let [x, y, z] = normalised(axis);
        let (s, c) = degrees.to_radians().sin_cos();
        let k = 1.0 - c;
        Self([
            [c + x * x * k, x * y * k - z * s, x * z * k + y * s],
            [y * x * k + z * s, c + y * y * k, y * z * k - x * s],
            [z * x * k - y * s, z * y * k + x * s, c + z * z * k],
        ])
    }

    /// Reflection in the plane through the origin with this normal (any length but zero).
    pub fn mirror(normal: [f64; 3]) -> Self {
        let n = normalised(normal);
        Self(std::array::from_fn(|r| std::array::from_fn(|c| f64::from(u8::from(r == c)) - 2.0 * n[r] * n[c])))
    }

    pub fn determinant(self) -> f64 {
        let [a, b, c] = self.0;
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    }

    /// Angle in degrees, in [0, 180], of the rotation that takes one rotation to the other.
    ///
    /// From the length of the difference, |A - B| = 2 sqrt(2) sin(angle/2), below 90 degrees and from the
    /// trace above: each is accurate where the other is not.
    pub fn angle_degrees(self, other: Self) -> f64 {
        let pairs = || self.0.iter().flatten().zip(other.0.iter().flatten());
        let cosine = 0.5 * (pairs().map(|(a, b)| a * b).sum::<f64>() - 1.0);
        if cosine > 0.0 {
            let squared: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
            2.0 * (squared / 8.0).sqrt().min(1.0).asin().to_degrees()
        } else {
            cosine.max(-1.0).acos().to_degrees()
        }
    }
}

impl std::ops::Mul for Matrix3 {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let other = other.transpose();
        Self(self.0.map(|row| other.0.map(|column| row[0] * column[0] + row[1] * column[1] + row[2] * column[2])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounding of a few products; 1e-7 degrees where the trace has a flat maximum (180 degrees).
    const TOLERANCE_DEGREES: f64 = 2e-6;

    #[test]
    fn angle_is_that_of_the_rotation() {
        let start = Matrix3::about_axis([1.0, -2.0, 0.3], 71.0);
        for angle in [0.0, 1e-7, 0.01, 1.0, 89.999, 90.001, 150.0, 180.0] {
            let turned = Matrix3::about_axis([0.2, 0.5, -1.0], angle) * start;
            let found = turned.angle_degrees(start);
            assert!((found - angle).abs() < TOLERANCE_DEGREES, "{angle}: {found}");
            assert!((turned.determinant() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn mirror_reverses_its_normal_only() {
        let m = Matrix3::mirror([0.0, 2.0, 0.0]);
        assert_eq!(m.apply([1.0, 2.0, 3.0]), [1.0, -2.0, 3.0]);
        assert!((Matrix3::mirror([1.0, 1.0, 4.0]).determinant() + 1.0).abs() < 1e-12);
    }
}
