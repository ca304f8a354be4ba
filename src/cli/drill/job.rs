//! The job of a drill: that of the user, or a small one on particles that are simulated for it.

use std::path::Path;

use crate::cli::job::Job;
use crate::cli::job::JobArguments;
use crate::cli::specimen;
use crate::error::Result;
use crate::plan::JobFile;
use crate::plan::JobKind;

use super::Arguments;

/// The job, to be run in `run`; `data` is for simulated particles.
pub fn of(arguments: &Arguments, run: &Path, data: &Path) -> Result<Job> {
    let JobArguments { mut job, mut flags } = arguments.job.clone();
    let kind = job.as_deref().and_then(kind_of).or(arguments.kind);
    flags.out = Some(run.to_path_buf());
    // The clock is the drill's.
    flags.max_hours.get_or_insert(0.0);
    let is_own = flags.particles.is_some() || (job.is_some() && job.as_deref().and_then(kind_of).is_none());
    if is_own {
        if job.is_none() {
            job = kind.map(|kind| kind.name().into());
        }
    } else {
        specimen::simulate_into(arguments.count, arguments.box_pixels, data)?;
        let kind = kind.unwrap_or(JobKind::Refine3d);
        // By name, so that no job.toml of this folder is taken.
        job = Some(kind.name().into());
        small(&mut flags, kind, data);
    }
    Job::load(JobArguments { job, flags })
}

fn kind_of(word: &Path) -> Option<JobKind> {
    [JobKind::Refine3d, JobKind::Class3d].into_iter().find(|kind| word == Path::new(kind.name()))
}

/// What makes a job small, unless the flags say otherwise.
fn small(flags: &mut JobFile, kind: JobKind, data: &Path) {
    flags.particles = Some(data.join("particles.star"));
    flags.reference.get_or_insert_with(|| data.join("truth.mrc"));
    flags.diameter.get_or_insert(180.0);
    flags.ini_high.get_or_insert(40.0);
    flags.healpix_order.get_or_insert(1);
    flags.offset_range_pixels.get_or_insert(3.0);
    flags.block_particles.get_or_insert(16);
    flags.blocks_per_batch.get_or_insert(1);
    flags.checkpoint_minutes.get_or_insert(0.005);
    match kind {
        JobKind::Refine3d => {
            flags.iterations.get_or_insert(8);
        }
        JobKind::Class3d => {
            flags.classes.get_or_insert(2);
            flags.iterations.get_or_insert(5);
        }
    }
}
