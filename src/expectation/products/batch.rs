//! What the phases of one batch share, and what is known about each of its particles.

use std::ops::Deref;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use num_complex::Complex;

use crate::arena::Frame;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::prepare::{Prepared, Workspace};
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Task;
use crate::imaging::Geometry;
use crate::product::{Isa, Plane, Rows};
use crate::rotation::Matrix3;

use super::shape::{self, Lane, PANEL, Shape, TILE};

/// What the batches of one optics group share, wherever they are computed.
pub struct Setting<'a> {
    pub task: &'a Task<'a>,
    pub group: &'a Group,
    pub geometry: &'a Geometry,
    pub shape: Shape,
    pub block_particles: usize,
    /// Zero frequency of each class's reference.
    pub reference_dc: &'a [f64],
    /// First and one-past-last pixel of every shell.
    pub shell_ranges: &'a [std::ops::Range<usize>],
    /// Raised when a batch whose sums have not begun shall be dropped.
    pub stop: &'a AtomicBool,
}

impl Setting<'_> {
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub fn orientations(&self) -> usize {
        self.task.orientations.count()
    }

    /// Class and orientation of a pose.
    pub fn split(&self, pose: u32) -> (usize, usize) {
        let count = self.orientations();
        (pose as usize / count, pose as usize % count)
    }

    /// Leading shells that hold pixels (shell 0 holds none of the products' pixels).
    pub fn used_shells(&self) -> usize {
        self.shell_ranges.iter().rposition(|r| !r.is_empty()).map_or(0, |s| s + 1)
    }

    /// Columns of the plane of a rotation, in voxels.
    pub fn plane_columns(&self, rotation: &Matrix3) -> [[f64; 3]; 2] {
        let m = self.group.scale.inverse(rotation).0;
        let padding = self.geometry.padding;
        let column = |c: usize| [m[0][c] * padding, m[1][c] * padding, m[2][c] * padding];
        [column(0), column(1)]
    }
}

/// The zero frequency of references (rows of `geometry`).
pub fn reference_dc<T: Scalar>(geometry: &Geometry, reference: &[Complex<T>]) -> f64 {
    let origin = geometry.rows.index(0, 0, 0).expect("the origin is stored");
    product_f64(reference[origin].re)
}

/// Read-only things of one optics group, for the CPU.
pub struct Context<'a, T: Scalar> {
    pub setting: Setting<'a>,
    pub isa: Isa,
    pub references: &'a [&'a [Complex<T>]],
    pub kx: &'a [f64],
    pub ky: &'a [f64],
    pub phases: &'a [T],
    pub step_phases: &'a [T],
    pub log_directions: &'a [T],
    pub used_shells: usize,
}

impl<'a, T: Scalar> Deref for Context<'a, T> {
    type Target = Setting<'a>;

    fn deref(&self) -> &Setting<'a> {
        &self.setting
    }
}

impl<'a, T: Scalar> Context<'a, T> {
    pub fn rows(&self) -> Rows<'a> {
        Rows { starts: self.geometry.rows.starts(), edge: self.geometry.rows.edge() }
    }

    /// The plane of a rotation over a stretch of pixels.
    pub fn plane(&self, rotation: &Matrix3, pixels: std::ops::Range<usize>) -> Plane<'a> {
        let columns = self.plane_columns(rotation);
        Plane { columns, kx: &self.kx[pixels.clone()], ky: &self.ky[pixels] }
    }

    /// Interpolates the slices of several rotations into rows. Neighbouring rotations meet the same voxels, so the
    /// rotations of a stretch of pixels come before the next stretch: what the first fetched the others find cached.
    pub fn read_slices(&self, class: usize, rotations: &[Matrix3], count: usize, row: usize, out: &mut [T]) {
        for start in (0..count).step_by(STRETCH) {
            let pixels = start..(start + STRETCH).min(count);
            for (rotation, out) in rotations.iter().zip(out.chunks_exact_mut(row)) {
                let plane = self.plane(rotation, pixels.clone());
                let out = &mut out[2 * pixels.start..2 * pixels.end];
                crate::product::read_slice(self.isa, self.rows(), self.references[class], plane, out);
            }
        }
    }

    pub fn pixel_phases(&self, translation: usize) -> &'a [T] {
        let row = self.shape.row::<T>();
        &self.phases[translation * row..][..row]
    }
}

/// Pixels of a stretch: the voxels that its slices meet fit into a core's caches.
pub const STRETCH: usize = 256;

/// A scalar as f64.
#[inline(always)]
pub fn product_f64<T: Scalar>(x: T) -> f64 {
    crate::product::Scalar::to_f64(x)
}

/// An f64 as a scalar.
#[inline(always)]
pub fn scalar<T: Scalar>(x: f64) -> T {
    <T as crate::product::Scalar>::from_f64(x)
}

/// What one thread prepares images with.
pub struct Loader {
    pub workspace: Workspace,
    pub prepared: Prepared,
    /// The particle's image, and the one that replaces it in the reconstruction.
    pub pixels: Vec<Vec<f32>>,
}

impl Loader {
    pub fn new(group: &Group, shape: &Shape) -> Self {
        Self {
            workspace: Workspace::new(group),
            prepared: Prepared::new(group),
            pixels: vec![vec![0.0; group.box_pixels * group.box_pixels]; shape.images],
        }
    }
}

/// One thread's buffers: arena memory of its lane, and host memory made once per optics group.
pub struct Worker<'f, T: Scalar> {
    pub lane: Lane<'f, T>,
    pub number: usize,
    pub loader: Loader,
    pub near: Vec<(u32, f64)>,
    pub matrices: Vec<Matrix3>,
}

impl<'f, T: Scalar> Worker<'f, T> {
    pub fn new(frame: &mut Frame<'f>, number: usize, group: &Group, shape: &Shape) -> Result<Self> {
        Ok(Self {
            lane: shape::lane(frame, shape)?,
            number,
            loader: Loader::new(group, shape),
            near: Vec::with_capacity(if shape.local { shape.poses / shape.classes } else { 0 }),
            matrices: Vec::with_capacity(shape.turns.max(PANEL)),
        })
    }
}

/// What is known about one particle of the batch, filled phase by phase.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Index into the data set; position among the task's particles.
    pub index: u32,
    pub position: usize,
    /// Why the particle is left out, if it is.
    pub set_aside: Option<String>,
    pub offset_pixels: [f64; 2],
    pub group_scale: f64,
    pub masked_dc: f64,
    pub unmasked_dc: f64,
    pub ctf_dc: f64,
    pub power: Vec<f64>,
    /// Part of the squared difference that no pose changes.
    pub constant: f64,
    /// sum |F|^2 over the pixels, for correlations.
    pub correlation_power: f64,
    /// Log of the sum of all priors of the fine search.
    pub log_prior_sum: f64,
    /// Number of listed poses.
    pub listed: usize,
    pub coarse_kept: usize,
    pub min_energy: f64,
    pub threshold: f64,
    pub total: f64,
    /// Best sample: position in the list of poses, translation, child.
    pub best: Option<(u32, u32, u32)>,
    /// The same with the pose itself.
    pub best_pose: Option<(u32, u32, u32)>,
    /// Premultiplied images: sum of CTF^2 over the pixels of each shell.
    pub ctf2: Vec<f64>,
    /// Posterior mass per class, and the expected squared offset.
    pub mass: Vec<f64>,
    pub offset2: f64,
    /// Per-shell sums, in units of 2^-24.
    pub cross: Vec<i64>,
    pub own: Vec<i64>,
    pub resolved: [i64; 2],
}

impl Record {
    /// With room for what is known about a particle of a group.
    pub fn new(shape: &Shape) -> Self {
        Self {
            power: Vec::with_capacity(shape.shells),
            ctf2: Vec::with_capacity(shape.shells),
            mass: Vec::with_capacity(shape.classes),
            cross: Vec::with_capacity(shape.shells),
            own: Vec::with_capacity(shape.shells),
            ..Self::default()
        }
    }

    pub fn start(&mut self, index: u32, position: usize, shape: &Shape) {
        self.index = index;
        self.position = position;
        self.set_aside = None;
        self.listed = 0;
        self.coarse_kept = 0;
        self.min_energy = f64::INFINITY;
        self.total = 0.0;
        self.best = None;
        self.best_pose = None;
        self.ctf2.clear();
        self.offset2 = 0.0;
        self.resolved = [0; 2];
        self.mass.clear();
        self.mass.resize(shape.classes, 0.0);
        self.cross.clear();
        self.cross.resize(shape.shells, 0);
        self.own.clear();
        self.own.resize(shape.shells, 0);
    }

    pub fn is_used(&self) -> bool {
        self.set_aside.is_none()
    }
}

/// References to up to [`TILE`] rows.
pub struct Tile<'t, T> {
    rows: [&'t [T]; TILE],
    len: usize,
}

impl<'t, T> Tile<'t, T> {
    pub fn new() -> Self {
        Self { rows: [&[]; TILE], len: 0 }
    }

    pub fn push(&mut self, row: &'t [T]) {
        self.rows[self.len] = row;
        self.len += 1;
    }

    pub fn rows(&self) -> &[&'t [T]] {
        &self.rows[..self.len]
    }
}
