//! A known volume -> a data set with truth.

mod files;
mod noise;
mod render;
mod truth;

use std::path::Path;

use crate::error::Error;
use crate::error::Result;
use crate::imaging::CtfOptions;
use crate::model::Volume;

pub use noise::Noise;
pub use noise::NoiseSpectra;
pub use truth::Draw;
pub use truth::TrueParticle;
pub use truth::Truth;

/// How images are made from the truth.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// Oversampling of the projector; 2 is accurate to a fraction of a per cent.
    pub padding: f64,
    pub noise: Noise,
    /// Divide everything, the true map included, by the noise's standard deviation, as extraction does.
    pub normalise: bool,
    pub ctf: CtfOptions,
    /// Written before the stack's name in the STAR files. RELION resolves image names against its working
    /// directory: name the output folder as seen from there. Empty: the STAR file's own folder.
    pub image_prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            padding: 2.0,
            noise: Noise::White { signal_to_noise: 0.1 },
            normalise: true,
            ctf: CtfOptions::default(),
            image_prefix: String::new(),
        }
    }
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub images: usize,
    /// Mean variance of the noise-free images, before normalisation.
    pub signal_variance: f64,
    /// Mean variance of the noise, before normalisation.
    pub noise_variance: f64,
}

/// Writes `particles.mrcs`, `particles.star` (CTFs and names, no poses), `truth.star` (with poses) and `truth.mrc`
/// into `folder`, which is created. `progress` hears (images done, images in all).
///
/// An image is noise + CTF * projection, the projection moved by minus the particle's offset: applying the offset
/// centres it. The result depends on the arguments only, not on threads.
///
/// # Errors
/// An impossible volume or option, CTF parameters out of range, or a file that cannot be written.
pub fn simulate(
    map: &Volume,
    truth: &Truth,
    options: &Options,
    folder: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Summary> {
    let n = map.box_pixels;
    if n < 8 || n % 2 == 1 || map.data.len() != n.pow(3) {
        return Err(Error::bad_data(
            "map",
            format!("a box of {n} pixels"),
            "Use a cubic map with an even edge of at least 8 pixels.",
        ));
    }
    if truth.particles.is_empty() {
        return Err(Error::usage("no particles to simulate", "Ask for at least one."));
    }
    if !options.padding.is_finite() || !(1.0..=8.0).contains(&options.padding) {
        return Err(Error::usage(format!("padding {} is not in 1..8", options.padding), "Use 2."));
    }
    std::fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))?;

    let renderer = render::Renderer::new(map, truth, options)?;
    let signal_variance = renderer.signal_variance()?;
    let noise = options.noise.resolve(map, signal_variance)?;
    let noise_variance = noise.mean_variance(truth);
    let gain = if options.normalise && noise_variance > 0.0 { noise_variance.sqrt().recip() } else { 1.0 };

    files::write_stack(&folder.join("particles.mrcs"), map, truth.particles.len(), |first, images| {
        renderer.render(&noise, gain, first, images)?;
        progress(first + images.len() / (n * n), truth.particles.len());
        Ok(())
    })?;
    files::write_tables(folder, truth, &options.image_prefix)?;
    files::write_map(&folder.join("truth.mrc"), map, gain)?;
    Ok(Summary { images: truth.particles.len(), signal_variance, noise_variance })
}
