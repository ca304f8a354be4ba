//! `check --images`: every pixel of every image, judged as a run would.

use crate::dataset::Dataset;
use crate::dataset::Particle;
use crate::dataset::spread;
use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::Stack;

/// Bad images that are named; the rest is counted.
const MOST_NAMED: usize = 20;

/// What was seen.
pub struct Looked {
    pub images: usize,
    /// Standard deviation of the pixels of most images.
    pub usual: f64,
    /// An error a bad image, and one for those that are too many to name.
    pub bad: Vec<Error>,
}

/// Reads all images.
///
/// # Errors
/// Those of reading; bad images are no error here.
pub fn look(dataset: &Dataset) -> Result<Looked> {
    let mut spreads = Vec::with_capacity(dataset.particles.len());
    let mut open: Option<(u32, Stack)> = None;
    let mut pixels: Vec<f32> = Vec::new();
    for particle in &dataset.particles {
        let name = particle.image;
        if open.as_ref().is_none_or(|(stack, _)| *stack != name.stack) {
            open = Some((name.stack, Stack::open(&dataset.stack_files[name.stack as usize])?));
        }
        let Some((_, stack)) = &open else { continue };
        pixels.resize(stack.nx * stack.ny, 0.0);
        stack.read(&[name.index], &mut pixels)?;
        spreads.push(spread(&pixels));
    }
    let of_group: Vec<f64> = (0..dataset.optics.len())
        .map(|group| median(dataset, &spreads, |particle| particle.optics as usize == group))
        .collect();
    let faults = || {
        dataset.particles.iter().zip(&spreads).filter_map(|(particle, spread)| {
            let fault = |problem: &str| {
                Error::bad_data(
                    dataset.image_name(particle.image),
                    problem,
                    "Extract the particle again, or remove it.",
                )
            };
            match *spread {
                s if !s.is_finite() => Some(fault("holds a pixel that is no number")),
                0.0 => Some(fault("all pixels are the same")),
                s => dataset.refuse_wild(particle.image, s, of_group[particle.optics as usize]).err(),
            }
        })
    };
    let mut bad: Vec<Error> = faults().take(MOST_NAMED).collect();
    let more = faults().skip(MOST_NAMED).count();
    if more > 0 {
        let problem = format!("{more} more images are bad in the same ways");
        bad.push(Error::bad_data("", problem, "Look for what the named ones have in common."));
    }
    Ok(Looked { images: spreads.len(), usual: median(dataset, &spreads, |_| true), bad })
}

/// Median of the good spreads among chosen particles; 0 when there is none.
fn median(dataset: &Dataset, spreads: &[f64], is_chosen: impl Fn(&Particle) -> bool) -> f64 {
    let chosen =
        dataset.particles.iter().zip(spreads).filter(|(particle, spread)| is_chosen(particle) && **spread > 0.0);
    let mut values: Vec<f64> = chosen.map(|(_, spread)| *spread).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
