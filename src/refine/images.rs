//! The images of a data set, read from its stacks.

use crate::dataset::Dataset;
use crate::error::Result;
use crate::formats::mrc::Stack;

/// Open stacks of a data set.
pub struct Images<'a> {
    dataset: &'a Dataset,
    stacks: Vec<Stack>,
}

impl<'a> Images<'a> {
    pub fn open(dataset: &'a Dataset) -> Result<Self> {
        let stacks = dataset.stack_files.iter().map(|file| Stack::open(file)).collect::<Result<_>>()?;
        Ok(Self { dataset, stacks })
    }

    /// Reads the image of a particle.
    pub fn read(&self, particle: u32, out: &mut [f32]) -> Result<()> {
        let image = self.dataset.particles[particle as usize].image;
        self.stacks[image.stack as usize].read(&[image.index], out)
    }

    /// What a message calls the image of a particle.
    pub fn name(&self, particle: u32) -> String {
        let image = self.dataset.particles[particle as usize].image;
        format!("{}, image {}", self.dataset.stacks[image.stack as usize], image.index + 1)
    }
}
