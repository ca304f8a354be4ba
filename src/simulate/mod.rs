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
    let stack = files::stack_name(&options.image_prefix)?;
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
    files::write_tables(folder, truth, &stack)?;
    files::write_map(&folder.join("truth.mrc"), map, gain)?;
    Ok(Summary { images: truth.particles.len(), signal_variance, noise_variance })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataset::Dataset;
    use crate::dataset::ImageShape;
    use crate::dataset::OpticsGroup;
    use crate::dataset::ReadOptions;
    use crate::formats::mrc;
    use crate::formats::mrc::Stack;

    /// A Gaussian blob about the centre, of width 2 pixels.
    fn blob(n: usize) -> Volume {
        let mut map = Volume::zeros(n, 2.0);
        let c = (n / 2) as f64;
        for (i, v) in map.data.iter_mut().enumerate() {
            let d = [i % n, i / n % n, i / n / n].map(|a| a as f64 - c);
            *v = (-0.125 * (d[0] * d[0] + d[1] * d[1] + d[2] * d[2])).exp() as f32;
        }
        map
    }

    fn images(folder: &Path) -> Vec<f64> {
        let stack = Stack::open(&folder.join("particles.mrcs")).expect("a stack");
        let mut pixels = vec![0.0; stack.count * stack.nx * stack.ny];
        stack.read(&(0..stack.count as u32).collect::<Vec<_>>(), &mut pixels).expect("its images");
        pixels
    }

    fn run(map: &Volume, truth: &Truth, options: &Options) -> (tempfile::TempDir, Summary) {
        let folder = tempfile::tempdir().expect("a folder");
        let summary = simulate(map, truth, options, folder.path(), &mut |_, _| ()).expect("valid options");
        (folder, summary)
    }

    #[test]
    fn the_offset_centres_the_particle() {
        let n = 32;
        let mut draw = truth::tests::draw(5, n, 2.0);
        draw.optics = vec![OpticsGroup { ctf_corrected: true, ..draw.optics[0].clone() }];
        draw.gains = Vec::new();
        let truth = Truth::draw(&draw).expect("a valid draw");
        let (folder, summary) = run(&blob(n), &truth, &Options { noise: Noise::None, ..Options::default() });
        assert_eq!((summary.images, summary.noise_variance), (5, 0.0));
        for (image, particle) in images(folder.path()).chunks_exact(n * n).zip(&truth.particles) {
            let mass: f64 = image.iter().sum();
            let moment = |of: &dyn Fn(usize) -> usize| -> f64 {
                image.iter().enumerate().map(|(i, v)| v * (of(i) as f64 - 16.0)).sum::<f64>() / mass
            };
            let centre = [moment(&|i| i % n), moment(&|i| i / n)];
            for (c, offset) in centre.iter().zip(particle.offset_angstrom) {
                // Interpolation leaves a faint copy of the blob at the box edge.
                assert!((c + offset / 2.0).abs() < 0.05, "{centre:?} {:?}", particle.offset_angstrom);
            }
        }
    }

    #[test]
    fn noise_has_the_asked_ratio_and_unit_variance() {
        let n = 32;
        let mut draw = truth::tests::draw(64, n, 2.0);
        draw.gains = Vec::new();
        let truth = Truth::draw(&draw).expect("a valid draw");
        let flat = NoiseSpectra::flat(1.0);
        for noise in
            [Noise::White { signal_to_noise: 0.5 }, Noise::Spectra { spectra: flat, signal_to_noise: Some(0.5) }]
        {
            let (folder, summary) = run(&blob(n), &truth, &Options { noise, ..Options::default() });
            assert!((summary.signal_variance / summary.noise_variance - 0.5).abs() < 1e-12);
            let all = images(folder.path());
            let variance = all
                .chunks_exact(n * n)
                .map(|image| {
                    let mean = image.iter().sum::<f64>() / (n * n) as f64;
                    image.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n * n) as f64
                })
                .sum::<f64>()
                / 64.0;
            // 65,536 samples: a standard error of 0.6 %.
            assert!((variance - 1.5).abs() < 0.04, "{variance}");
        }
    }

    #[test]
    fn the_files_read_back_as_the_truth() {
        let n = 16;
        let mut draw = truth::tests::draw(9, n, 2.0);
        draw.optics[1].beam_tilt_mrad = [0.5, -0.25];
        draw.optics[1].even_zernike = vec![0.0, 1.5];
        let truth = Truth::draw(&draw).expect("a valid draw");
        let (folder, _) = run(&blob(n), &truth, &Options::default());
        let shape = |path: &Path| {
            mrc::image_size(path).map(|(columns, rows, sections, _)| ImageShape { columns, rows, sections })
        };
        let known = Dataset::read_with(&folder.path().join("truth.star"), &ReadOptions::default(), &shape)
            .expect("a valid file");
        for (i, particle) in truth.particles.iter().enumerate() {
            assert_eq!(known.particles[i].ctf, particle.ctf);
            assert_eq!(known.particles[i].half, particle.half);
            assert_eq!(known.assignments[i].euler, particle.euler);
            assert_eq!(known.assignments[i].offset_angstrom, particle.offset_angstrom);
        }
        assert_eq!(known.groups, truth.micrographs);
        assert_eq!(known.optics[1].beam_tilt_mrad, [0.5, -0.25]);
        assert_eq!(known.optics[1].even_zernike, [0.0, 1.5]);
        let blind = Dataset::read_with(&folder.path().join("particles.star"), &ReadOptions::default(), &shape)
            .expect("a valid file");
        assert!(blind.assignments.iter().all(|a| a.euler == Default::default() && a.offset_angstrom == [0.0; 2]));

        // A second set with the poses and microscopes of the first.
        let mut other = truth::tests::draw(9, n, 2.0);
        other.seed += 1;
        let same = Truth::draw(&other)
            .and_then(|t| t.with_poses_of(&known))
            .and_then(|t| t.with_ctfs_of(&known))
            .expect("as many particles");
        assert_eq!(
            same.particles.iter().map(|p| p.euler).collect::<Vec<_>>(),
            known.assignments.iter().map(|a| a.euler).collect::<Vec<_>>()
        );
        assert_eq!(same.particles[8].ctf, truth.particles[8].ctf);
        other.count = 10;
        assert!(Truth::draw(&other).and_then(|t| t.with_poses_of(&known)).is_err());
    }

    #[test]
    fn any_number_of_threads_writes_the_same_bytes() {
        let map = blob(16);
        let truth = Truth::draw(&truth::tests::draw(70, 16, 2.0)).expect("a valid draw");
        let bytes = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            let (folder, _) = pool.install(|| run(&map, &truth, &Options::default()));
            fs::read(folder.path().join("particles.mrcs")).expect("the stack")
        };
        assert!(bytes(1) == bytes(3));
    }

    #[test]
    fn impossible_requests_are_refused() {
        let truth = Truth::draw(&truth::tests::draw(2, 16, 2.0)).expect("a valid draw");
        let folder = tempfile::tempdir().expect("a folder");
        let refused =
            |map: &Volume, options: &Options| simulate(map, &truth, options, folder.path(), &mut |_, _| ()).is_err();
        assert!(refused(&Volume::zeros(15, 2.0), &Options::default()), "an odd box");
        assert!(refused(&Volume::zeros(16, 2.0), &Options::default()), "an empty map has no signal-to-noise ratio");
        let negative = Options { noise: Noise::White { signal_to_noise: -1.0 }, ..Options::default() };
        assert!(refused(&blob(16), &negative));
        let spaced = Options { image_prefix: "my folder".into(), ..Options::default() };
        assert!(refused(&blob(16), &spaced));
    }
}
