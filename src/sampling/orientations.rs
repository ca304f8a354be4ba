//! The orientations of one iteration: directions times in-plane angles, and their children.

use crate::error::Error;
use crate::error::Result;
use crate::model::SamplingState;
use crate::rotation::Euler;
use crate::rotation::Matrix3;
use crate::rotation::PointGroup;
use crate::rotation::healpix;

use super::directions::Direction;
use super::directions::reduced_directions;

/// Directions of the fine grid whose matrices are kept, 72 bytes each; beyond, they are made when asked for.
const MAXIMUM_TABLE: usize = 1 << 20;

/// The coarse grid of one iteration, and the finer one of its second pass.
///
/// A coarse orientation has index `direction * psi_count + psi`. At oversampling order o it has 8^o children:
/// the 4^o pixels of the finer HEALPix grid in its own (y outer, then x), times 2^o in-plane angles (inner).
///
/// All matrices are perturbed: A(rot, tilt, psi) A(d, d, d) with d the perturbation times the angular step of
/// the coarse grid. Since A(rot, tilt, psi) = R_z(psi) R_y(tilt) R_z(rot), the part right of R_z(psi) is
/// tabulated, and a matrix costs two combinations of two rows.
///
/// Instead of a grid there may be one given pose a particle ([`Self::of_poses`]).
#[derive(Clone, Debug)]
pub struct Orientations {
    order: u32,
    oversampling: u32,
    psi_step_degrees: f64,
    perturbation: Matrix3,
    directions: Vec<Direction>,
    psis_degrees: Vec<f64>,
    /// R_y(tilt) R_z(rot) A(d, d, d), one a direction.
    coarse: Vec<Matrix3>,
    /// (cos, sin) of each coarse psi.
    coarse_turns: Vec<(f64, f64)>,
    /// As `coarse`, 4^o a direction; empty when there would be too many.
    fine: Vec<Matrix3>,
    /// (cos, sin) of the 2^o finer in-plane angles of each psi.
    fine_turns: Vec<(f64, f64)>,
    /// Given poses; they replace the grid.
    poses: Option<Vec<Euler>>,
}

impl Orientations {
    /// The grid of `sampling` (order, psi step, oversampling, perturbation), reduced by symmetry as
    /// [`reduced_directions`] says. The psi step is made to divide 360 degrees.
    ///
    /// # Errors
    /// Too high an order, a psi step outside (0, 360], or no direction left.
    pub fn new(
        sampling: &SamplingState,
        group: &PointGroup,
        limit_tilt_degrees: Option<f64>,
        parity: bool,
    ) -> Result<Self> {
        let (order, oversampling) = (sampling.healpix_order, sampling.oversampling);
        if order.saturating_add(oversampling) > healpix::MAXIMUM_ORDER {
            return Err(Error::usage(
                format!("HEALPix order {order} with oversampling {oversampling} is beyond {}", healpix::MAXIMUM_ORDER),
                "Use a lower order or less oversampling.",
            ));
        }
        if !(sampling.psi_step_degrees > 0.0 && sampling.psi_step_degrees <= 360.0) {
            return Err(Error::usage(
                format!("a psi step of {} degrees is no step", sampling.psi_step_degrees),
                "Give a step above 0 and up to 360.",
            ));
        }
        let directions = reduced_directions(group, order, limit_tilt_degrees, parity)?;
        let psi_count = (360.0 / sampling.psi_step_degrees).ceil() as usize;
        if u32::try_from(directions.len() as u64 * psi_count as u64).is_err() {
            return Err(Error::usage(
                format!("{} directions times {psi_count} in-plane angles are too many", directions.len()),
                "Use a lower HEALPix order or a larger psi step.",
            ));
        }
        let psi_step_degrees = 360.0 / psi_count as f64;
        let psis_degrees: Vec<f64> = (0..psi_count).map(|i| i as f64 * psi_step_degrees).collect();
        let d = sampling.perturbation * healpix::angular_step_degrees(order);
        let turn = |degrees: f64| {
            let (sine, cosine) = degrees.to_radians().sin_cos();
            (cosine, sine)
        };
        let mut grid = Self {
            order,
            oversampling,
            psi_step_degrees,
            perturbation: Euler::new(d, d, d).matrix(),
            coarse: Vec::new(),
            coarse_turns: psis_degrees.iter().map(|psi| turn(*psi)).collect(),
            fine: Vec::new(),
            fine_turns: Vec::new(),
            poses: None,
            directions,
            psis_degrees,
        };
        grid.fine_turns = (0..psi_count << oversampling).map(|i| turn(grid.fine_psi(i))).collect();
        grid.coarse = grid.directions.iter().map(|d| grid.base(order, d.pixel)).collect();
        if grid.directions.len() << (2 * oversampling) <= MAXIMUM_TABLE {
            let pixels = grid.directions.iter().flat_map(|d| healpix::children(order, d.pixel, oversampling));
            grid.fine = pixels.map(|pixel| grid.base(order + oversampling, pixel)).collect();
        }
        Ok(grid)
    }

    /// The given poses, each its own only child; all are counted under one direction, at the pole.
    pub fn of_poses(poses: Vec<Euler>) -> Self {
        Self {
            order: 0,
            oversampling: 0,
            psi_step_degrees: 360.0,
            perturbation: Matrix3::IDENTITY,
            directions: vec![Direction { pixel: 0, rot_degrees: 0.0, tilt_degrees: 0.0 }],
            psis_degrees: vec![0.0],
            coarse: Vec::new(),
            coarse_turns: Vec::new(),
            fine: Vec::new(),
            fine_turns: Vec::new(),
            poses: Some(poses),
        }
    }

    /// Number of coarse orientations.
    pub fn count(&self) -> usize {
        self.poses.as_ref().map_or(self.directions.len() * self.psis_degrees.len(), Vec::len)
    }

    pub fn direction_count(&self) -> usize {
        self.directions.len()
    }

    pub fn psi_count(&self) -> usize {
        self.psis_degrees.len()
    }

    /// Children of a coarse orientation: 8^oversampling.
    pub fn child_count(&self) -> usize {
        1 << (3 * self.oversampling)
    }

    pub fn healpix_order(&self) -> u32 {
        self.order
    }

    /// Unperturbed directions.
    pub fn directions(&self) -> &[Direction] {
        &self.directions
    }

    /// Unperturbed in-plane angles.
    pub fn psis_degrees(&self) -> &[f64] {
        &self.psis_degrees
    }

    /// Distance of two in-plane angles.
    pub fn psi_step_degrees(&self) -> f64 {
        self.psi_step_degrees
    }

    /// The constant right factor of all matrices.
    pub fn perturbation(&self) -> Matrix3 {
        self.perturbation
    }

    /// Direction of an orientation.
    pub fn direction_of(&self, orientation: usize) -> usize {
        if self.poses.is_some() { 0 } else { orientation / self.psis_degrees.len() }
    }

    /// In-plane angle of an orientation.
    pub fn psi_of(&self, orientation: usize) -> usize {
        orientation % self.psis_degrees.len()
    }

    /// Matrix of a coarse orientation.
    pub fn matrix(&self, orientation: usize) -> Matrix3 {
        if let Some(poses) = &self.poses {
            return poses[orientation].matrix();
        }
        turned(&self.coarse[self.direction_of(orientation)], self.coarse_turns[self.psi_of(orientation)])
    }

    /// Angles of a coarse orientation.
    pub fn euler(&self, orientation: usize) -> Euler {
        if let Some(poses) = &self.poses {
            return poses[orientation];
        }
        Euler::of_matrix(&self.matrix(orientation))
    }

    /// Matrix of one child.
    pub fn child_matrix(&self, orientation: usize, child: usize) -> Matrix3 {
        if self.poses.is_some() {
            return self.matrix(orientation);
        }
        let (direction, psi) = (self.direction_of(orientation), self.psi_of(orientation));
        let part = child >> self.oversampling;
        let within_psi = child & ((1 << self.oversampling) - 1);
        let base = match self.fine.get((direction << (2 * self.oversampling)) + part) {
            Some(base) => *base,
            None => self.fine_base(direction, part),
        };
        turned(&base, self.fine_turns[(psi << self.oversampling) + within_psi])
    }

    /// Angles of one child.
    pub fn child_euler(&self, orientation: usize, child: usize) -> Euler {
        if self.poses.is_some() {
            return self.euler(orientation);
        }
        Euler::of_matrix(&self.child_matrix(orientation, child))
    }

    /// Appends the matrices of all children, in order.
    pub fn child_matrices(&self, orientation: usize, out: &mut Vec<Matrix3>) {
        if self.poses.is_some() {
            out.push(self.matrix(orientation));
            return;
        }
        let (direction, psi) = (self.direction_of(orientation), self.psi_of(orientation));
        let parts = 1usize << (2 * self.oversampling);
        let turns = &self.fine_turns[psi << self.oversampling..(psi + 1) << self.oversampling];
        out.reserve(self.child_count());
        if self.fine.is_empty() {
            for pixel in healpix::children(self.order, self.directions[direction].pixel, self.oversampling) {
                let base = self.base(self.order + self.oversampling, pixel);
                out.extend(turns.iter().map(|turn| turned(&base, *turn)));
            }
        } else {
            for base in &self.fine[direction * parts..(direction + 1) * parts] {
                out.extend(turns.iter().map(|turn| turned(base, *turn)));
            }
        }
    }

    /// Perturbed R_y(tilt) R_z(rot) of a coarse direction, and (cos, sin) of the in-plane angles.
    pub(super) fn coarse_factors(&self) -> (&[Matrix3], &[(f64, f64)]) {
        (&self.coarse, &self.coarse_turns)
    }

    /// The finer in-plane angle `index`: psi - step/2 + (i + 1/2) step / 2^o.
    fn fine_psi(&self, index: usize) -> f64 {
        let parts = 1usize << self.oversampling;
        let within = (index % parts) as f64 + 0.5;
        self.psis_degrees[index / parts] + self.psi_step_degrees * (within / parts as f64 - 0.5)
    }

    fn fine_base(&self, direction: usize, part: usize) -> Matrix3 {
        let (face, x, y) = healpix::face_of_pixel(self.order, self.directions[direction].pixel);
        let fine = healpix::side(self.oversampling);
        let (i, j) = (part as u32 % fine, part as u32 / fine);
        let order = self.order + self.oversampling;
        self.base(order, healpix::pixel_of_face(order, face, fine * x + i, fine * y + j))
    }

    /// R_y(tilt) R_z(rot) A(d, d, d) of a pixel, without inverse trigonometry.
    fn base(&self, order: u32, pixel: u32) -> Matrix3 {
        let (z, phi) = healpix::z_phi_of_pixel(order, pixel);
        let (sa, ca) = phi.sin_cos();
        let sb = ((1.0 - z) * (1.0 + z)).sqrt();
        Matrix3([[z * ca, z * sa, -sb], [-sa, ca, 0.0], [sb * ca, sb * sa, z]]) * self.perturbation
    }
}

/// R_z(psi) times a matrix.
fn turned(base: &Matrix3, (cosine, sine): (f64, f64)) -> Matrix3 {
    let [a, b, c] = base.0;
    let mix = |x: f64, y: f64| std::array::from_fn(|i| x * a[i] + y * b[i]);
    Matrix3([mix(cosine, sine), mix(-sine, cosine), c])
}
