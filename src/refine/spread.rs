//! How widely the pixels of images usually spread, from the first particles of every optics group.

use crate::dataset::Dataset;
use crate::dataset::ImageName;
use crate::dataset::spread;
use crate::error::Result;

use super::Job;
use super::images::Images;

/// Most particles of an optics group that are looked at; the initial noise is estimated from the same.
const TRIED: usize = 1000;

/// The images that were looked at.
pub struct Tried {
    /// Particles, their images, and the spread of the pixels (NaN: not all are numbers).
    pub images: Vec<(u32, ImageName, f64)>,
    /// Median of each optics group; 0 without any good image.
    pub usual: Vec<f64>,
}

/// Looks at the first particles of every optics group; `image_of` names the image of a particle.
pub fn of_first(dataset: &Dataset, images: &Images<'_>, image_of: impl Fn(u32) -> Option<ImageName>) -> Result<Tried> {
    let mut tried = Tried { images: Vec::new(), usual: Vec::new() };
    let mut of_group: Vec<Vec<f64>> = vec![Vec::new(); dataset.optics.len()];
    // As many good ones are wanted: every round looks at as many images as are still missing.
    let mut next: Vec<usize> = vec![0; dataset.optics.len()];
    loop {
        let mut missing: Vec<usize> = of_group.iter().map(|spreads| TRIED - spreads.len()).collect();
        let mut wanted: Vec<(u32, ImageName)> = Vec::new();
        for (index, particle) in (0_u32..).zip(&dataset.particles) {
            let group = particle.optics as usize;
            if missing[group] == 0 || (index as usize) < next[group] {
                continue;
            }
            next[group] = index as usize + 1;
            if let Some(image) = image_of(index) {
                missing[group] -= 1;
                wanted.push((index, image));
            }
        }
        if wanted.is_empty() {
            break;
        }
        let names: Vec<ImageName> = wanted.iter().map(|(_, image)| *image).collect();
        images.for_each(&names, |i, pixels| {
            let (index, image) = wanted[i];
            let spread = spread(pixels);
            if spread > 0.0 {
                of_group[dataset.particles[index as usize].optics as usize].push(spread);
            }
            tried.images.push((index, image, spread));
            Ok(())
        })?;
    }
    tried.images.sort_unstable_by_key(|(index, ..)| *index);
    let median = |spreads: &mut Vec<f64>| {
        spreads.sort_by(f64::total_cmp);
        spreads.get(spreads.len() / 2).copied().unwrap_or(0.0)
    };
    tried.usual = of_group.iter_mut().map(median).collect();
    Ok(tried)
}

/// Usual spread of the particles' images.
pub fn of_particles(job: &Job<'_>) -> Result<Vec<f64>> {
    let dataset = &job.inputs.dataset;
    Ok(of_first(dataset, job.images, |particle| Some(dataset.particles[particle as usize].image))?.usual)
}

/// Usual spread of the images for the final reconstruction.
pub fn of_reconstruct_images(job: &Job<'_>) -> Result<Vec<f64>> {
    let dataset = &job.inputs.dataset;
    Ok(of_first(dataset, job.images, |particle| dataset.particles[particle as usize].reconstruct_image)?.usual)
}
