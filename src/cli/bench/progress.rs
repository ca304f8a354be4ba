//! What benchmarks read from the record of a run.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::ArenaRequest;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::Started;

/// The record of a run.
#[derive(Default)]
pub struct Recorded {
    pub started: Option<Started>,
    /// By number; one that was repeated counts as it was done last.
    pub iterations: BTreeMap<u32, IterationFinished>,
    /// Requests to the arena in the latest iteration that told them, and its batches: on the host, on the GPU.
    pub arenas: [Option<(Vec<ArenaRequest>, usize)>; 2],
}

/// # Errors
/// There is no record, or no iteration in it.
pub fn read(run_dir: &Path) -> Result<Recorded> {
    let path = RunDir::new(run_dir).progress();
    let mut recorded = Recorded::default();
    for record in progress::read(&path)? {
        match record.event {
            Event::Started(started) => recorded.started = Some(started),
            Event::IterationFinished(finished) => drop(recorded.iterations.insert(finished.iteration, *finished)),
            Event::ArenaTrace { requests, batches, device, .. } if !requests.is_empty() => {
                recorded.arenas[usize::from(device)] = Some((requests, batches));
            }
            _ => {}
        }
    }
    if recorded.iterations.is_empty() {
        return Err(Error::bad_data(
            path.display().to_string(),
            "no iteration is finished",
            "Name the folder of a run that finished one.",
        ));
    }
    Ok(recorded)
}
