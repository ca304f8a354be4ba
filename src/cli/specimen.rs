//! The small data set that verbs simulate for themselves when they are given none.

use std::path::Path;

use crate::dataset::OpticsGroup;
use crate::error::Error;
use crate::error::Result;
use crate::model::Volume;
use crate::simulate::Draw;
use crate::simulate::Options;
use crate::simulate::Truth;
use crate::simulate::simulate;

/// Edge of the simulated box in Angstrom, whatever its pixels.
const BOX_ANGSTROM: f64 = 224.0;
const SEED: u64 = 1;
/// Parts of the simulated particle: blobs, their width, and how far out they are, in Angstrom.
const BLOBS: usize = 12;
const BLOB_ANGSTROM: f64 = 10.0;
const RADII_ANGSTROM: [f64; 2] = [15.0, 60.0];

/// Writes `particles.star` and its truth, `count` images of `n` pixels, into a folder.
///
/// # Errors
/// `Usage` for numbers that make no data set; those of writing.
pub(super) fn simulate_into(count: usize, n: usize, data: &Path) -> Result<()> {
    if count < 16 || n < 16 || n % 2 == 1 || n > 512 {
        return Err(Error::usage(
            format!("{count} particles of {n} pixels make no data set"),
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
