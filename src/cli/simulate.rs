//! `simulate`: a map, plus poses and CTFs drawn or taken from a STAR file -> a stack and its truth.

use std::path::Path;
use std::path::PathBuf;

use crate::dataset::Dataset;
use crate::dataset::Images;
use crate::dataset::OpticsGroup;
use crate::dataset::ReadOptions;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::fourier::resize_volume;
use crate::model::Volume;
use crate::simulate::Draw;
use crate::simulate::Noise;
use crate::simulate::NoiseSpectra;
use crate::simulate::Options;
use crate::simulate::Truth;
use crate::simulate::simulate;

use super::maps::read_particles;
use super::maps::read_volume;
use super::screen::Screen;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The true map
    #[arg(long, value_name = "MAP")]
    pub map: PathBuf,
    /// Bring the map to this box first, cropped or padded in Fourier space: the same extent in other pixels
    #[arg(long = "box", value_name = "PIXELS")]
    pub box_pixels: Option<usize>,
    /// Folder to write particles.star, particles.mrcs, truth.star and truth.mrc to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of particles (default: 1000, or all of --poses-from and --ctfs-from)
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Variance of the signal over that of the noise; 0: no noise (default: 0.1). With --noise-from: scales the spectra
    #[arg(long, value_name = "RATIO")]
    pub snr: Option<f64>,
    /// Noise spectra of a RELION model.star instead of white noise
    #[arg(long, value_name = "STAR")]
    pub noise_from: Option<PathBuf>,
    /// Take orientations and offsets from a particle file
    #[arg(long, value_name = "STAR")]
    pub poses_from: Option<PathBuf>,
    /// Take CTFs, micrographs and microscopes from a particle file
    #[arg(long, value_name = "STAR")]
    pub ctfs_from: Option<PathBuf>,
    /// Number of micrographs
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub micrographs: usize,
    /// Smallest mean defocus of a micrograph in Angstrom
    #[arg(long, value_name = "ANGSTROM", default_value_t = 10_000.0)]
    pub defocus_from: f64,
    /// Largest mean defocus of a micrograph in Angstrom
    #[arg(long, value_name = "ANGSTROM", default_value_t = 25_000.0)]
    pub defocus_to: f64,
    /// Largest difference of the two defocus values in Angstrom
    #[arg(long, value_name = "ANGSTROM", default_value_t = 500.0)]
    pub astigmatism: f64,
    /// Standard deviation of the offsets in Angstrom
    #[arg(long, value_name = "ANGSTROM", default_value_t = 5.0)]
    pub offset_sigma: f64,
    /// Acceleration voltage in kV
    #[arg(long, value_name = "KILOVOLT", default_value_t = 300.0)]
    pub voltage: f64,
    /// Spherical aberration in mm
    #[arg(long, value_name = "MM", default_value_t = 2.7)]
    pub spherical_aberration: f64,
    /// Share of amplitude contrast
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub amplitude_contrast: f64,
    /// Leave the images on the map's scale instead of giving the noise a variance of 1
    #[arg(long)]
    pub no_normalise: bool,
    /// Written before the stack's name in the STAR files; empty: the STAR file's own folder
    #[arg(long, value_name = "DIR", default_value = "")]
    pub image_prefix: String,
    /// Replace the data set of an earlier simulation
    #[arg(long)]
    pub force: bool,
}

/// Number of particles when nothing says it.
const USUAL_COUNT: usize = 1000;

/// Boxes that a map can be brought to.
const MOST_BOX: std::ops::RangeInclusive<usize> = 16..=1024;

/// Signal-to-noise ratio without --snr.
const USUAL_SNR: f64 = 0.1;

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    refuse_earlier(arguments)?;
    let map = resampled(read_volume(&arguments.map)?, arguments.box_pixels)?;
    let truth = truth(arguments, &map)?;
    let options = Options {
        seed: arguments.seed,
        noise: noise(arguments)?,
        normalise: !arguments.no_normalise,
        image_prefix: arguments.image_prefix.clone(),
        ..Options::default()
    };
    let summary = simulate(&map, &truth, &options, &arguments.out, &mut |_, _| ())?;
    let ratio = summary.signal_variance / summary.noise_variance;
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "images": summary.images,
            "signal_variance": summary.signal_variance,
            "noise_variance": summary.noise_variance,
            "folder": arguments.out,
        }))?;
    } else {
        let noise = if summary.noise_variance > 0.0 { format!("SNR {ratio:.3}") } else { "no noise".to_string() };
        let folder = arguments.out.display();
        screen.print(&format!(
            "{} images of {} px, {:.3} A, {noise}, in {folder}",
            summary.images, map.box_pixels, map.pixel_size_angstrom
        ))?;
    }
    Ok(ExitCode::Done)
}

fn resampled(map: Volume, box_pixels: Option<usize>) -> Result<Volume> {
    let (n, Some(m)) = (map.box_pixels, box_pixels) else { return Ok(map) };
    if !(MOST_BOX.contains(&m) && m.is_multiple_of(2)) {
        let range = format!("{} to {}", MOST_BOX.start(), MOST_BOX.end());
        return Err(Error::usage(format!("--box {m} is no box"), format!("Give an even number from {range}.")));
    }
    let data = resize_volume(&map.data, n, m);
    Ok(Volume { box_pixels: m, pixel_size_angstrom: map.pixel_size_angstrom * n as f64 / m as f64, data })
}

/// An earlier data set may be the input of a run.
fn refuse_earlier(arguments: &Arguments) -> Result<()> {
    let earlier = arguments.out.join("particles.star");
    if arguments.force || !earlier.exists() {
        return Ok(());
    }
    Err(Error::new(
        ExitCode::CannotCreate,
        earlier.display().to_string(),
        "exists already",
        "Choose another --out, or use --force to replace the data set there.",
    ))
}

fn noise(arguments: &Arguments) -> Result<Noise> {
    if let Some(snr) = arguments.snr.filter(|snr| !(snr.is_finite() && *snr >= 0.0)) {
        return Err(Error::usage(format!("--snr {snr} is no ratio"), "Give a number like 0.1, or 0 for no noise."));
    }
    Ok(match (&arguments.noise_from, arguments.snr) {
        (_, Some(0.0)) => Noise::None,
        (Some(path), signal_to_noise) => Noise::Spectra { spectra: NoiseSpectra::read(path)?, signal_to_noise },
        (None, signal_to_noise) => Noise::White { signal_to_noise: signal_to_noise.unwrap_or(USUAL_SNR) },
    })
}

fn truth(arguments: &Arguments, map: &Volume) -> Result<Truth> {
    let table = |path: &Option<PathBuf>| path.as_ref().map(|path| read_table(path, map)).transpose();
    let (poses, ctfs) = (table(&arguments.poses_from)?, table(&arguments.ctfs_from)?);
    let rows = [&poses, &ctfs].into_iter().flatten().map(|known| known.particles.len()).min();
    let mut truth = Truth::draw(&Draw {
        count: arguments.count.or(rows).unwrap_or(USUAL_COUNT),
        seed: arguments.seed,
        optics: vec![microscope(arguments, map)],
        micrographs: arguments.micrographs,
        gains: Vec::new(),
        defocus_angstrom: [arguments.defocus_from, arguments.defocus_to],
        astigmatism_angstrom: arguments.astigmatism,
        offset_sigma_angstrom: arguments.offset_sigma,
    })?;
    if let Some(known) = &poses {
        truth = truth.with_poses_of(known)?;
    }
    if let Some(known) = &ctfs {
        truth = truth.with_ctfs_of(known)?;
    }
    Ok(truth)
}

/// Particles without their images: the files need not be there.
fn read_table(path: &Path, map: &Volume) -> Result<Dataset> {
    let images = Images::Ignore { box_pixels: Some(map.box_pixels) };
    read_particles(path, &ReadOptions { images, ..ReadOptions::default() })
}

fn microscope(arguments: &Arguments, map: &Volume) -> OpticsGroup {
    OpticsGroup {
        voltage_kilovolt: arguments.voltage,
        spherical_aberration_mm: arguments.spherical_aberration,
        amplitude_contrast: arguments.amplitude_contrast,
        ..OpticsGroup::ordinary(map.pixel_size_angstrom, map.box_pixels)
    }
}
