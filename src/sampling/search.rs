//! Where the pose of a particle is looked for.

use crate::rotation::Euler;

use super::local::LocalPrior;

/// The orientations that a particle is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Search<'a> {
    /// All of the grid.
    Everywhere,
    /// Those near its present pose.
    Near(&'a LocalPrior<'a>),
    /// Its present pose alone, exact offset included: only the class is looked for. The orientations are those of
    /// [`Orientations::of_poses`](super::Orientations::of_poses), one a particle of the data set.
    OwnPose,
}

impl Search<'_> {
    /// Whether every particle has a list of its own.
    pub fn is_listed(&self) -> bool {
        !matches!(self, Self::Everywhere)
    }

    /// Fills `out` with the orientations of a particle (index into the data set) whose present pose is `pose`, and
    /// their priors, which sum to 1. Empty for a search everywhere.
    pub fn list(&self, particle: u32, pose: Euler, out: &mut Vec<(u32, f64)>) {
        out.clear();
        match self {
            Self::Everywhere => {}
            Self::Near(prior) => prior.near(pose, out),
            Self::OwnPose => out.push((particle, 1.0)),
        }
    }
}
