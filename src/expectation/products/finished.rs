//! What is known of a half set's finished blocks beside their sums: it can be kept, and taken up by another process.

use serde::Deserialize;
use serde::Serialize;

use crate::dataset::Assignment;
use crate::error::Error;
use crate::error::Result;
use crate::product::Voxel;

/// One particle's contribution to what is summed in canonical order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Its new norm correction.
    pub norm: f64,
    /// Expected squared offset from its prior, Angstrom^2.
    pub offset2: f64,
    /// Posterior mass that was kept.
    pub mass: f64,
    /// Sums for the scale of its micrograph group.
    pub xa: f64,
    pub aa: f64,
    /// Not set aside.
    pub used: bool,
}

/// The zero frequency of a particle, which lies on the origin in every pose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OriginTerm {
    pub position: u32,
    pub class: u32,
    pub data: f64,
    pub weight: f64,
}

/// The finished blocks of one half set within an iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Per optics group one flag a block, in canonical order: 1 if it is finished.
    pub blocks: Vec<Vec<u8>>,
    /// Integers that make 1, of data and of weights in the volumes.
    pub scale: Vec<f64>,
    /// The particles of the finished blocks, in canonical order: their places among the half's, what they add to the
    /// sums, and what was found.
    pub positions: Vec<u32>,
    pub contributions: Vec<Contribution>,
    pub assignments: Vec<Assignment>,
    pub origin_terms: Vec<OriginTerm>,
    /// Particles of them that were left out, as indices into the data set, and why.
    pub set_aside: Vec<(u32, String)>,
    /// Per optics group and image shell, in units of 2^-32.
    pub residuals: Vec<Vec<i128>>,
    pub ctf2: Vec<Vec<i128>>,
    /// Per class and direction.
    pub directions: Vec<Vec<i64>>,
    pub most_significant: usize,
}

impl Finished {
    /// Refuses what does not belong to `now`, the same step with nothing finished and `particles` in all.
    pub(in crate::expectation) fn belongs_to(&self, now: &Self, particles: usize) -> Result<()> {
        let lengths = |lists: &[Vec<u8>]| lists.iter().map(Vec::len).collect::<Vec<_>>();
        let shells = |lists: &[Vec<i128>]| lists.iter().map(Vec::len).collect::<Vec<_>>();
        let directions = |f: &Self| f.directions.iter().map(Vec::len).collect::<Vec<_>>();
        let is_inside = |position: u32| (position as usize) < particles;
        let what = if lengths(&self.blocks) != lengths(&now.blocks) {
            "blocks"
        } else if self.scale != now.scale {
            "units of the sums"
        } else if shells(&self.residuals) != shells(&now.residuals) || shells(&self.ctf2) != shells(&now.ctf2) {
            "shells"
        } else if directions(self) != directions(now) {
            "directions"
        } else if [self.contributions.len(), self.assignments.len()] != [self.positions.len(); 2]
            || !self.positions.iter().all(|p| is_inside(*p))
            || !self.origin_terms.iter().all(|t| is_inside(t.position) && (t.class as usize) < now.directions.len())
        {
            "particles"
        } else {
            return Ok(());
        };
        Err(Error::internal(format!("the part of the iteration has other {what} than this step")))
    }
}

/// What earlier processes finished of a half set.
pub struct Earlier<'e> {
    /// Of different blocks.
    pub finished: Vec<Finished>,
    /// Adds the integers of all of them to the volume of a class.
    pub add: &'e mut dyn FnMut(usize, &mut [Voxel]) -> Result<()>,
}
