//! Both expectation steps, with memory for their volumes.
#![allow(dead_code)]

use std::ops::Deref;

use relion_rs::arena::Arena;
use relion_rs::error::Result;
use relion_rs::expectation::ImageSource;
use relion_rs::expectation::Outcome;
use relion_rs::expectation::Scalar;
use relion_rs::expectation::SumVoxel;
use relion_rs::expectation::Task;
use relion_rs::expectation::products::Config;
use relion_rs::expectation::products::expect;
use relion_rs::expectation::reference;

/// What a step found out, and its volumes, one a class.
pub struct Found {
    pub outcome: Outcome,
    pub volumes: Vec<Vec<SumVoxel>>,
}

impl Deref for Found {
    type Target = Outcome;

    fn deref(&self) -> &Outcome {
        &self.outcome
    }
}

pub fn find(task: &Task<'_>, step: impl FnOnce(&mut [&mut [SumVoxel]]) -> Result<Outcome>) -> Found {
    let mut volumes = vec![vec![[0.0; 3]; task.geometry().rows.len()]; task.model.classes.len()];
    let mut borrowed: Vec<&mut [SumVoxel]> = volumes.iter_mut().map(|v| &mut v[..]).collect();
    let outcome = step(&mut borrowed).expect("an outcome");
    Found { outcome, volumes }
}

/// The plain step.
pub fn plain(task: &Task<'_>, read: &reference::ReadImage<'_>) -> Found {
    find(task, |volumes| reference::expect(task, read, volumes))
}

/// The product engine.
pub fn engine<T: Scalar>(task: &Task<'_>, source: &dyn ImageSource, config: &Config) -> Found {
    let mut arena = Arena::reserve(1 << 30).expect("memory");
    find(task, |volumes| arena.run(|frame| expect::<T>(task, source, config, volumes, frame)))
}
