//! The job of a drill: that of the user, or a small one on particles that are simulated for it.

use std::path::Path;

use crate::cli::job::Job;
use crate::cli::job::JobArguments;
use crate::dataset::OpticsGroup;
use crate::error::Error;
use crate::error::Result;
use crate::model::Volume;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::simulate::Draw;
use crate::simulate::Options;
use crate::simulate::Truth;
use crate::simulate::simulate;

use super::Arguments;

/// Edge of the simulated box in Angstrom, whatever its pixels.
const BOX_ANGSTROM: f64 = 224.0;
const SEED: u64 = 1;
/// Parts of the simulated particle: blobs, their width, and how far out they are, in Angstrom.
const BLOBS: usize = 12;
const BLOB_ANGSTROM: f64 = 10.0;
const RADII_ANGSTROM: [f64; 2] = [15.0, 60.0];

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
        simulate_into(arguments, data)?;
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

fn simulate_into(arguments: &Arguments, data: &Path) -> Result<()> {
    let (count, n) = (arguments.count, arguments.box_pixels);
    if count < 16 || n < 16 || n % 2 == 1 || n > 512 {
        return Err(Error::usage(
            format!("{count} particles of {n} pixels make no drill"),
            "Give --count 16 or more, and an even --box from 16 to 512.",
        ));
    }
    let pixel = BOX_ANGSTROM / n as f64;
    let truth = Truth::draw(&Draw {
        count,
        seed: SEED,
        optics: vec![OpticsGroup::ordinary(pixel, n)],
        micrographs: 5,
        gains: Vec::new(),
        defocus_angstrom: [10_000.0, 25_000.0],
        astigmatism_angstrom: 500.0,
        offset_sigma_angstrom: 5.0,
    })?;
    simulate(&blobs(n, pixel), &truth, &Options { seed: SEED, ..Options::default() }, data, &mut |_, _| ())?;
    Ok(())
}

/// A particle without symmetry.
fn blobs(n: usize, pixel: f64) -> Volume {
    let mut map = Volume::zeros(n, pixel);
    let golden = std::f64::consts::PI * (3.0 - 5.0_f64.sqrt());
    let centres = (0..BLOBS).map(|i| {
        let part = (i as f64 + 0.5) / BLOBS as f64;
        let radius = RADII_ANGSTROM[0] + (RADII_ANGSTROM[1] - RADII_ANGSTROM[0]) * part;
        let (z, turn) = (1.0 - 2.0 * (part * 5.0).fract(), golden * i as f64);
        let flat = (1.0 - z * z).sqrt();
        [flat * turn.cos(), flat * turn.sin(), z].map(|direction| radius * direction)
    });
    let centres: Vec<[f64; 3]> = centres.collect();
    for (i, value) in map.data.iter_mut().enumerate() {
        let at = [i % n, i / n % n, i / n / n].map(|a| (a as f64 - (n / 2) as f64) * pixel);
        let blob = |centre: &[f64; 3]| {
            let squares: f64 = at.iter().zip(centre).map(|(a, c)| (a - c).powi(2)).sum();
            (-0.5 * squares / BLOB_ANGSTROM.powi(2)).exp()
        };
        *value = centres.iter().map(blob).sum::<f64>() as f32;
    }
    map
}
