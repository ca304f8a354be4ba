//! Names of output files: where they are, and how they are mentioned inside other files.

use std::path::PathBuf;

/// Which state a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After this iteration: `run_it012_...`.
    Iteration(u32),
    /// After the last iteration of a half-set refinement, all particles together: `run_...`.
    Final,
}

/// The folder of a run and the root of its file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    folder: PathBuf,
    mentioned_root: String,
}

impl Names {
    /// `folder` is where files are written; `mentioned_root` is what other files call them by, relative to the folder
    /// in which RELION would be started: `run`, or `Refine3D/job012/run`. Its last part is the stem of the names.
    pub fn new(folder: impl Into<PathBuf>, mentioned_root: &str) -> Self {
        Self { folder: folder.into(), mentioned_root: mentioned_root.to_owned() }
    }

    pub(super) fn mentioned_root(&self) -> &str {
        &self.mentioned_root
    }

    /// The file on this machine.
    pub fn path(&self, suffix: &str) -> PathBuf {
        let stem = self.mentioned_root.rsplit('/').next().unwrap_or_default();
        self.folder.join(format!("{stem}{suffix}"))
    }

    /// The file as another file mentions it.
    pub fn mention(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.mentioned_root)
    }
}

impl Moment {
    fn prefix(self) -> String {
        match self {
            Self::Iteration(iteration) => format!("_it{iteration:03}"),
            Self::Final => String::new(),
        }
    }

    /// `half` is 1 or 2, `None` without half sets.
    pub fn model(self, half: Option<usize>) -> String {
        format!("{}{}_model.star", self.prefix(), half_part(half))
    }

    /// `class` counts from 1.
    pub fn map(self, half: Option<usize>, class: usize) -> String {
        format!("{}{}_class{class:03}.mrc", self.prefix(), half_part(half))
    }

    /// A half map without regularisation, for the FSC.
    pub fn unfiltered_map(self, half: usize, class: usize) -> String {
        format!("{}{}_class{class:03}_unfil.mrc", self.prefix(), half_part(Some(half)))
    }

    pub fn angular_distribution(self, half: Option<usize>, class: usize) -> String {
        format!("{}{}_class{class:03}_angdist.bild", self.prefix(), half_part(half))
    }

    pub fn data(self) -> String {
        format!("{}_data.star", self.prefix())
    }

    pub fn sampling(self) -> String {
        format!("{}_sampling.star", self.prefix())
    }

    pub fn optimiser(self) -> String {
        format!("{}_optimiser.star", self.prefix())
    }
}

fn half_part(half: Option<usize>) -> String {
    half.map_or_else(String::new, |half| format!("_half{half}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_relion() {
        let names = Names::new("/somewhere/out", "Refine3D/job012/run");
        let moment = Moment::Iteration(7);
        assert_eq!(names.path(&moment.map(Some(1), 1)), PathBuf::from("/somewhere/out/run_it007_half1_class001.mrc"));
        assert_eq!(names.mention(&moment.model(None)), "Refine3D/job012/run_it007_model.star");
        assert_eq!(Moment::Final.unfiltered_map(2, 1), "_half2_class001_unfil.mrc");
        assert_eq!(Moment::Final.data(), "_data.star");
        assert_eq!(Moment::Iteration(1000).optimiser(), "_it1000_optimiser.star");
        assert_eq!(moment.angular_distribution(None, 2), "_it007_class002_angdist.bild");
    }
}
