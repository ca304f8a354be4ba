//! Who attends an expectation step: on rank 0 the keeper of the run, on the others their follower.

use std::path::Path;
use std::sync::Arc;

use crate::arena::Frame;
use crate::checkpoint::Entry;
use crate::checkpoint::Part;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::Task;
use crate::expectation::gpu::DeviceFrame;
use crate::expectation::products;
use crate::expectation::products::Earlier;
use crate::expectation::products::Finished;
use crate::expectation::products::Midway;
use crate::expectation::products::Next;
use crate::expectation::products::Supply;
use crate::product::Voxel;

use super::scribe::DoneHalf;
use super::settings::Settings;
use super::stop::Stop;

/// Hands out work, takes over what was done, keeps what is being done.
pub trait Attendant {
    fn stop(&self) -> Arc<Stop>;

    /// Hands out the blocks of a half set; without it all are done here.
    fn supply(&self, half: usize) -> Option<Arc<dyn Supply + Send + Sync>>;

    /// What an earlier process finished of a half set, for this rank to go on with.
    fn earlier(&mut self, half: usize) -> Result<Vec<(Finished, Part)>>;

    /// Called after every batch of the half set `half`; `done`: those before it.
    fn after_batch(&mut self, half: usize, done: &mut [DoneHalf<'_>], midway: &mut Midway<'_, '_>) -> Result<Next>;
}

/// In names of files: 0 without half sets.
pub fn labels(halves: usize) -> &'static [u8] {
    if halves > 1 { &[1, 2] } else { &[0] }
}

/// Opens parts and reads what is in them.
pub fn read_parts(run_folder: &Path, entries: &[&Entry]) -> Result<Vec<(Finished, Part)>> {
    let read = |entry: &&Entry| {
        let part = entry.read(run_folder)?;
        Ok((part.finished()?, part))
    };
    entries.iter().map(read).collect()
}

/// The expectation step of one half set, attended. `None` when it was stopped.
pub fn expect_half<'f, T: crate::expectation::Scalar>(
    job: &super::Job<'_>,
    attendant: &mut dyn Attendant,
    half: usize,
    task: &Task<'_>,
    settings: &Settings,
    frame: &mut Frame<'f>,
    device: Option<DeviceFrame<'_, '_>>,
    done: &mut Vec<DoneHalf<'f>>,
) -> Result<Option<()>> {
    let stop = attendant.stop();
    let mut sums: Vec<&'f mut [SumVoxel]> =
        products::sums(frame, task.model.classes.len(), task.geometry().rows.len())?;
    let (finished, parts): (Vec<Finished>, Vec<Part>) = attendant.earlier(half)?.into_iter().unzip();
    let mut add = |class: usize, sums: &mut [Voxel]| parts.iter().try_for_each(|part| part.add_sums(class, sums));
    let earlier = (!finished.is_empty()).then_some(Earlier { finished, add: &mut add });
    let supply = attendant.supply(half);
    let supply = supply.as_ref().map(|supply| &**supply as &dyn Supply);
    let mut after_batch = |midway: &mut Midway<'_, '_>| attendant.after_batch(half, done, midway);
    let watch = &mut products::Watch { supply, stop: stop.flag(), after_batch: &mut after_batch };
    let Some(step) = settings.expect::<T>(task, job.images, &mut sums, frame, device, earlier, watch)? else {
        return Ok(None);
    };
    done.push(DoneHalf { half, step, sums });
    Ok(Some(()))
}
