//! What the kernels are told about a particle, and where they put what they find: `kernels/prepare.cuh` in Rust.

use crate::dataset::Particle;
use crate::formats::mrc::ByteOrder;
use crate::formats::mrc::Mode;
use crate::formats::mrc::PixelFormat;
use crate::imaging::Ctf;
use crate::imaging::CtfOptions;
use crate::imaging::FirstPeak;

use crate::expectation::prepare;
use crate::expectation::prepare::Start;

/// Words of a `ParticleToPrepare`.
pub const WORDS: usize = 16;

/// A particle's row of results: `RESULT_...` and `PIXELS_...`.
pub const UNMASKED_DC: usize = 0;
pub const MASKED_DC: usize = 1;
pub const CORRELATION_POWER: usize = 2;
pub const LARGEST_DATA: usize = 3;
pub const LARGEST_WEIGHT: usize = 4;
pub const PIXELS: usize = 5;
pub const PIXELS_FIRST_BAD: usize = 0;
pub const PIXELS_BAD_VALUE: usize = 1;
pub const PIXELS_ALIKE: usize = 2;
pub const PIXELS_SPREAD: usize = 3;
pub const PIXELS_RESULTS: usize = 4;
pub const SHELLS: usize = 13;

/// Threads of a block that sums.
pub const SUM_THREADS: u32 = 128;

/// `CTF_...`.
const CTF_NONE: u32 = 1;
const CTF_INTACT_UNTIL_PEAK: u32 = 2;
const CTF_INTACT_AFTER_PEAK: u32 = 4;
const CTF_ABSOLUTE: u32 = 8;
const CTF_SIGN: u32 = 16;
const CTF_FLOOR: u32 = 32;
const CTF_SQUARED: u32 = 64;

/// What to do with a CTF; none: images are compared without.
pub fn ctf_flags(options: Option<CtfOptions>, is_premultiplied: bool) -> u32 {
    let Some(CtfOptions { first_peak, phase_flipped, only_flip_phases, parity_floor }) = options else {
        return CTF_NONE;
    };
    let peak = match first_peak {
        FirstPeak::Oscillating => 0,
        FirstPeak::IntactUntil => CTF_INTACT_UNTIL_PEAK,
        FirstPeak::IntactAfter => CTF_INTACT_AFTER_PEAK,
    };
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    peak | flag(phase_flipped, CTF_ABSOLUTE)
        | flag(only_flip_phases, CTF_SIGN)
        | flag(parity_floor, CTF_FLOOR)
        | flag(is_premultiplied, CTF_SQUARED)
}

/// `STORED_...`.
fn format_code(format: PixelFormat) -> u32 {
    const BIG_ENDIAN: u32 = 8;
    let mode = match format.mode {
        Mode::Int8 => 0,
        Mode::Int16 => 1,
        Mode::Uint16 => 2,
        Mode::Float16 => 3,
        Mode::Float32 => 4,
    };
    if format.byte_order == ByteOrder::Big { mode | BIG_ENDIAN } else { mode }
}

/// The struct `ParticleToPrepare`, word by word.
pub fn words(
    record: &Particle,
    start: &Start,
    edge: usize,
    images: [(u64, PixelFormat); 2],
    ctf: Option<&Ctf>,
    group_scale: f64,
) -> [u64; WORDS] {
    let pair = |values: [u32; 2]| u64::from(values[0]) | u64::from(values[1]) << 32;
    // An image that is moved by more than its edge is empty in any case.
    let shift = start.shift.map(|s| s.clamp(-(edge as i64), edge as i64) as i32 as u32);
    let [xx, xy, yy] = ctf.map_or([0.0; 3], |ctf| ctf.quadratic);
    let of_ctf = |value: fn(&Ctf) -> f64| ctf.map_or(0.0, value).to_bits();
    [
        images[0].0,
        images[1].0,
        pair(images.map(|(_, format)| format_code(format))),
        pair(shift),
        start.rest[0].to_bits(),
        start.rest[1].to_bits(),
        start.gain.to_bits(),
        group_scale.to_bits(),
        xx.to_bits(),
        xy.to_bits(),
        yy.to_bits(),
        of_ctf(|ctf| ctf.quartic),
        of_ctf(|ctf| ctf.constant),
        of_ctf(|ctf| ctf.damping),
        of_ctf(|ctf| ctf.scale),
        prepare::noise_item(record),
    ]
}
