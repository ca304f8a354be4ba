//! From an image as read to the transforms that are compared and back-projected. Always in f64: the cost is
//! small beside the comparison, and nothing downstream can be better than this.

use num_complex::Complex;

use crate::dataset::Assignment;
use crate::dataset::Particle;
use crate::error::Error;
use crate::error::Result;
use crate::fourier;
use crate::fourier::Scratch;
use crate::imaging::Ctf;
use crate::imaging::mask::noise_image;
use crate::imaging::random::Stream;
use crate::imaging::shift;
use crate::imaging::shift::Phases;
use crate::sampling::Search;
use crate::units;

use super::group::Group;
use super::task::Task;

/// Purpose number of the noise outside masks, for the counter-based generator.
pub const MASK_NOISE: u32 = 0x6d61_736b;

/// One particle, ready to be compared. Pixels are those of its [`Group`].
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Old offset, applied to the transforms: the search starts there. (RELION rounds it to whole pixels and
    /// forgets the rest, which a fine search range may not reach again; so do we with `parity`.)
    pub offset_pixels: [f64; 2],
    /// Transform of the masked image (for comparisons and noise).
    pub masked: Vec<Complex<f64>>,
    /// Transform of the unmasked image (for the reconstruction).
    pub unmasked: Vec<Complex<f64>>,
    /// CTF times the group's scale; squared for premultiplied images (see [`Particle`]'s optics group).
    pub ctf: Vec<f64>,
    /// The zero frequency of all three.
    pub masked_dc: f64,
    pub unmasked_dc: f64,
    pub ctf_dc: f64,
    /// sum |F|^2 of the masked image per image shell 0..=box/2: the window's pixels, and all pixels beyond it.
    pub power: Vec<f64>,
    /// sum 1/sigma2 |F|^2 over the window, zero frequency excluded.
    pub weighted_power: f64,
    /// sum |F|^2 of the shells beyond the window.
    pub high_power: f64,
    /// sum |F|^2 of the masked image over all stored pixels of the square window, the zero frequency and both
    /// halves of the column kx = 0 included: what RELION normalises correlations by.
    pub stored_power: f64,
    /// Scale of the particle's micrograph group.
    pub group_scale: f64,
}

impl Prepared {
    /// With room for particles of a group.
    pub fn new(group: &Group) -> Self {
        Self {
            masked: Vec::with_capacity(group.count()),
            unmasked: Vec::with_capacity(group.count()),
            ctf: Vec::with_capacity(group.count()),
            power: Vec::with_capacity(group.box_pixels / 2 + 1),
            ..Self::default()
        }
    }
}

/// Buffers for preparing images of one box; one per thread.
pub struct Workspace {
    image: Vec<f64>,
    shifted: Vec<f64>,
    noise: Vec<f64>,
    half: Vec<Complex<f64>>,
    ctf: Vec<f64>,
    /// Phases of the part of the offset that is not whole pixels; one per pixel of the group.
    phases: Vec<Complex<f64>>,
    axes: Phases,
    scratch: Scratch<f64>,
}

impl Workspace {
    pub fn new(group: &Group) -> Self {
        let pixels = group.box_pixels * group.box_pixels;
        Self {
            image: vec![0.0; pixels],
            shifted: vec![0.0; pixels],
            noise: vec![0.0; pixels],
            half: vec![Complex::default(); group.fft.half_len()],
            ctf: vec![0.0; group.window.len()],
            phases: vec![Complex::default(); group.count()],
            axes: Phases::new(group.box_pixels),
            scratch: group.fft.scratch(),
        }
    }
}

/// Smallest scale of a micrograph group that is used, and the largest that is believed.
const SCALE_LIMITS: [f64; 2] = [0.001, 10_000.0];

/// Where the search of a particle starts, and what its pixels are multiplied by.
pub struct Start {
    /// Norm correction.
    pub gain: f64,
    /// The whole pixels that the image is moved by, and what is left of the offset.
    pub shift: [i64; 2],
    pub rest: [f64; 2],
    /// As in [`Prepared`].
    pub offset_pixels: [f64; 2],
}

pub fn start(task: &Task<'_>, group: &Group, particle: u32) -> Start {
    let before: &Assignment = &task.assignments[particle as usize];
    let gain = if task.options.norm_correction { task.model.average_norm / before.norm_correction } else { 1.0 };
    let exact = group.pixels(before.offset_angstrom);
    let shift = exact.map(units::round_half_away);
    // RELION searches around whole pixels, and keeps the fraction where nothing is searched.
    let around_whole = task.options.parity && !matches!(task.search, Search::OwnPose);
    let offset_pixels = if around_whole { shift.map(|o| o as f64) } else { exact };
    let rest: [f64; 2] = std::array::from_fn(|a| offset_pixels[a] - shift[a] as f64);
    Start { gain, shift, rest, offset_pixels }
}

/// The item and seed of the noise outside of a particle's mask; its purpose is [`MASK_NOISE`].
pub fn noise_item(record: &Particle) -> u64 {
    u64::from(record.image.stack) << 32 | u64::from(record.image.index)
}

pub fn noise_seed(task: &Task<'_>) -> u64 {
    task.options.seed ^ (u64::from(task.iteration) << 32)
}

/// Variance of a real component of that noise per shell. The noise of the model is that of corrected images; the first
/// row of a half transform holds one pixel a shell.
pub fn noise_variance(group: &Group, shell: usize) -> f64 {
    let gain = group.mtf_gain.as_ref().map_or(1.0, |gain| gain[shell]);
    group.inverse_sigma2.get(shell).filter(|v| **v > 0.0).map_or(0.0, |v| 1.0 / (v * gain.powi(2)))
}

/// Scale of a particle's micrograph group.
///
/// # Errors
/// It is no number, or not to be believed.
pub fn group_scale(task: &Task<'_>, record: &Particle) -> Result<f64> {
    if !task.options.scale_correction {
        return Ok(1.0);
    }
    let scale = task.model.groups[record.group as usize].scale;
    if scale.is_nan() || scale > SCALE_LIMITS[1] {
        return Err(Error::internal(format!("the scale of group {} became {scale}", record.group + 1)));
    }
    Ok(scale.max(SCALE_LIMITS[0]))
}

/// The CTF that a particle is compared with, if any.
///
/// # Errors
/// Those of [`Ctf::new`].
pub fn ctf_of(task: &Task<'_>, group: &Group, record: &Particle) -> Result<Option<Ctf>> {
    let optics = &task.dataset.optics[group.optics];
    let options = task.options.ctf.filter(|_| !optics.ctf_corrected);
    options.map(|options| Ctf::new(optics, &record.ctf, options)).transpose()
}

/// Prepares the particle with index `particle` of the data set, whose image is `pixels`. A `replacement` takes the
/// place of the image in the reconstruction.
pub fn prepare(
    task: &Task<'_>,
    group: &Group,
    particle: u32,
    pixels: &[f32],
    replacement: Option<&[f32]>,
    work: &mut Workspace,
    out: &mut Prepared,
) -> Result<()> {
    let record: &Particle = &task.dataset.particles[particle as usize];
    let n = group.box_pixels;
    let Start { gain, shift, rest, offset_pixels } = start(task, group, particle);
    out.offset_pixels = offset_pixels;
    work.axes.fill(&group.kx, &group.ky, rest[0], rest[1], &mut work.phases);

    place(replacement.unwrap_or(pixels), gain, n, shift, work);
    forward(group, work);
    out.unmasked_dc = pick(group, &work.half, &work.phases, &mut out.unmasked);

    if replacement.is_some() {
        place(pixels, gain, n, shift, work);
    }
    if task.options.zero_mask {
        group.mask.fill_with_mean(&mut work.shifted);
    } else {
        let mut stream = Stream::new(noise_seed(task), MASK_NOISE, noise_item(record));
        let sigma2 = |shell: usize| noise_variance(group, shell);
        noise_image(&group.fft, sigma2, &mut stream, &mut work.half, &mut work.noise, &mut work.scratch);
        group.mask.fill_with(&mut work.shifted, &work.noise);
    }
    forward(group, work);
    out.masked_dc = pick(group, &work.half, &work.phases, &mut out.masked);
    measure(group, &work.half, out);
    if pixels.iter().all(|pixel| *pixel == pixels[0]) {
        // What a transform makes of a constant beyond the zero frequency is rounding, not signal.
        out.weighted_power = 0.0;
    }

    out.group_scale = group_scale(task, record)?;
    fill_ctf(task, group, record, work, out)
}

fn fill_ctf(task: &Task<'_>, group: &Group, record: &Particle, work: &mut Workspace, out: &mut Prepared) -> Result<()> {
    match ctf_of(task, group, record)? {
        Some(ctf) => {
            ctf.fill(&group.window.kx, &group.window.ky, group.gamma_offsets.as_deref(), &mut work.ctf);
            if task.dataset.optics[group.optics].ctf_premultiplied {
                work.ctf.iter_mut().for_each(|c| *c *= *c);
            }
        }
        None => work.ctf.fill(1.0),
    }
    out.ctf.clear();
    out.ctf.extend(group.in_window.iter().map(|i| work.ctf[*i as usize] * out.group_scale));
    out.ctf_dc = work.ctf[group.window.dc()] * out.group_scale;
    Ok(())
}

/// The image times `gain`, shifted by whole pixels.
fn place(pixels: &[f32], gain: f64, n: usize, offset: [i64; 2], work: &mut Workspace) {
    for (value, pixel) in work.image.iter_mut().zip(pixels) {
        *value = gain * f64::from(*pixel);
    }
    shift::shift_whole_pixels(&work.image, n, offset[0], offset[1], &mut work.shifted);
}

/// Transform of the shifted image, corrected for its detector.
fn forward(group: &Group, work: &mut Workspace) {
    group.fft.forward(&work.shifted, &mut work.half, &mut work.scratch);
    if let Some(gain) = &group.mtf_gain {
        work.half.iter_mut().zip(gain).for_each(|(value, gain)| *value *= gain);
    }
}

/// Picks the product's pixels from a half transform: centred, corrected and shifted by `phases`; returns the zero
/// frequency.
fn pick(group: &Group, half: &[Complex<f64>], phases: &[Complex<f64>], out: &mut Vec<Complex<f64>>) -> f64 {
    let n = group.box_pixels;
    out.clear();
    out.extend(group.in_window.iter().zip(phases).map(|(&i, phase)| {
        let i = i as usize;
        let parity = (i32::from(group.window.kx[i]) + i32::from(group.window.ky[i])) & 1;
        let value = half[group.window.index_in_half(i, n)] * phase * if parity == 0 { 1.0 } else { -1.0 };
        group.correction.as_ref().map_or(value, |c| value * c[i])
    }));
    half[0].re
}

/// Power of the masked image per shell, inside and beyond the window.
fn measure(group: &Group, half: &[Complex<f64>], out: &mut Prepared) {
    let n = group.box_pixels;
    let list = &group.window;
    out.power.resize(n / 2 + 1, 0.0);
    fourier::half_plane_sums(half, n, &mut out.power);
    let last = group.size / 2;
    out.high_power = out.power[last + 1..].iter().sum();
    out.power[..=last].fill(0.0);
    out.weighted_power = 0.0;
    let reach = (group.size / 2) as i32;
    out.stored_power = (1 - reach..=reach)
        .flat_map(|ky| {
            let row = fourier::frequency_index(ky, n) * (n / 2 + 1);
            &half[row..=row + reach as usize]
        })
        .map(|f| f.norm_sqr())
        .sum();
    for i in 0..list.len() {
        let shell = usize::from(list.shell[i]);
        let power = half[list.index_in_half(i, n)].norm_sqr();
        out.power[shell] += power;
        if i != list.dc() {
            out.weighted_power += group.inverse_sigma2[shell] * power;
        }
    }
}
