//! 3 x 3 matrices.

/// Row-major 3 x 3 matrix; `m[row][column]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix3(pub [[f64; 3]; 3]);

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
}

impl std::ops::Mul for Matrix3 {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let other = other.transpose();
        Self(self.0.map(|row| other.0.map(|column| row[0] * column[0] + row[1] * column[1] + row[2] * column[2])))
    }
}
