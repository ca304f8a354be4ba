//! The table, continued: values that can be read and make no sense, alone or with each other.

use std::fs;

use nix::sys::stat::Mode;
use relion_rs::error::ExitCode::BadData;
use relion_rs::error::ExitCode::Done;
use relion_rs::error::ExitCode::Memory;
use relion_rs::error::ExitCode::NoInput;
use relion_rs::error::ExitCode::Usage;

use super::Case;
use super::bench::BOX;
use super::bench::PIXEL_ANGSTROM;
use super::cases::MAP;
use super::cases::NONE;
use super::cases::STACK;
use super::cases::STAR;
use super::cases::case;
use super::cases::checked;
use super::cases::with;

/// Word of an MRC header: the cell along y.
const CELL_Y: usize = 11;

pub fn all() -> Vec<Case> {
    [settings(), values(), files()].into_iter().flatten().collect()
}

fn settings() -> Vec<Case> {
    vec![
        with("--diameter -5", case("diameter -5", Usage, &["--diameter", "-5 is out of range"], NONE)),
        with("--diameter 20", case("a particle of three pixels", Usage, &["20 A", "4 pixels of 7 A"], NONE)),
        with("--tau2-fudge -3", case("T of -3", Usage, &["--tau2-fudge", "-3 is out of range"], NONE)),
        with("--offset-range-pixels 20", case("offsets beyond the box", Usage, &["20 pixels", "32 pixels"], NONE)),
        with(
            "--offset-range-pixels 10 --offset-step-pixels 0.01",
            case("three million offsets", Usage, &["--offset-range-pixels", "too many"], NONE),
        ),
        with("--classes 20", case("more classes than particles", Usage, &["20 classes for 12 particles"], NONE)),
        with("--max-hours -1", case("-1 hours", Usage, &["--max-hours", "-1"], NONE)),
        with(
            "--memory 55MiB",
            checked(
                Done,
                case("memory for the first iterations only", Memory, &["iteration: ", "55 MiB are allowed"], NONE),
            ),
        ),
    ]
}

fn values() -> Vec<Case> {
    vec![
        case("defocus 0", BadData, &["particles.star, line", "rlnDefocusU", "not estimated"], |b| {
            b.set("particles", "rlnDefocusU", 3, "0");
            b.set("particles", "rlnDefocusV", 3, "0");
        }),
        case("defocus 1e9", BadData, &["line", "rlnDefocusV", "1e9"], |b| b.set("particles", "rlnDefocusV", 3, "1e9")),
        case("a CTF of scale 0", BadData, &["line", "rlnCtfScalefactor", "`0`"], |b| {
            b.set("particles", "rlnCtfScalefactor", 3, "0")
        }),
        case("a B-factor of -1e9", BadData, &["line", "rlnCtfBfactor", "-1e9"], |b| {
            b.set("particles", "rlnCtfBfactor", 3, "-1e9")
        }),
        case("a voltage in volts", BadData, &["rlnVoltage", "300000", "kV"], |b| {
            b.set("optics", "rlnVoltage", 0, "300000")
        }),
        with(
            "--mask mask.mrc",
            case("a mask of next to nothing", BadData, &["mask.mrc", "largest value"], |b| {
                b.map("mask.mrc", BOX, PIXEL_ANGSTROM, 0.0, 1e-6)
            }),
        ),
        case("a reference of flat voxels", BadData, &["ref.mrc", "7.0000 A along x", "3.5000 A along y"], |b| {
            b.word(MAP, CELL_Y, (0.5 * PIXEL_ANGSTROM as f32 * BOX as f32).to_bits() as i32)
        }),
    ]
}

fn files() -> Vec<Case> {
    vec![
        case("a gzipped particle file", BadData, &["particles.star", "gzip", "gunzip"], |b| {
            b.bytes(STAR, |t| drop(t.splice(0..0, [0x1f, 0x8b, 8, 0])))
        }),
        case("a stack packed by bzip2", BadData, &["particles.mrcs", "bzip2"], |b| {
            b.bytes(STACK, |t| drop(t.splice(0..0, *b"BZh91AY")))
        }),
        case("a pipe as particle file", NoInput, &["--particles", "no regular file"], |b| {
            fs::remove_file(b.path(STAR)).unwrap();
            nix::unistd::mkfifo(&b.path(STAR), Mode::S_IRWXU).unwrap();
        }),
        case("a value of a million letters", Done, &[], |b| {
            b.text(STAR, |t| t.replacen("micrograph_00001.mrc", &"m".repeat(1_000_000), 1))
        }),
        case("a row of half a million values", BadData, &["particles.star, line"], |b| {
            b.text(STAR, |t| t.trim_end().to_string() + "\n" + &"x ".repeat(500_000) + "\n")
        }),
    ]
}
