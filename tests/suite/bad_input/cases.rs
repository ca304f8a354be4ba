//! The table.

use std::fs;

use relion_rs::error::ExitCode;
use relion_rs::error::ExitCode::BadData;
use relion_rs::error::ExitCode::CannotCreate;
use relion_rs::error::ExitCode::Config;
use relion_rs::error::ExitCode::Done;
use relion_rs::error::ExitCode::NoInput;
use relion_rs::error::ExitCode::Unavailable;
use relion_rs::error::ExitCode::Usage;

use super::Case;
use super::bench::BOX;
use super::bench::Bench;
use super::bench::PIXEL_ANGSTROM;
use super::sense;

pub const STAR: &str = "particles.star";
pub const STACK: &str = "particles.mrcs";
pub const MAP: &str = "ref.mrc";
pub const NONE: fn(&Bench) = |_| ();

/// Words of an MRC header.
const NX: usize = 0;
const NZ: usize = 2;
const MODE: usize = 3;
const CELL: usize = 10;
const EXTENDED: usize = 23;

pub fn case(name: &'static str, code: ExitCode, says: &'static [&'static str], spoil: fn(&Bench)) -> Case {
    Case { name, spoil, flags: "", code, says, check: code }
}

pub fn with(flags: &'static str, case: Case) -> Case {
    Case { flags, ..case }
}

pub fn checked(check: ExitCode, case: Case) -> Case {
    Case { check, ..case }
}

pub fn all() -> Vec<Case> {
    [settings(), tables(), optics(), stacks(), pixels(), maps(), outputs(), sense::all()]
        .into_iter()
        .flatten()
        .collect()
}

fn settings() -> Vec<Case> {
    vec![
        case("the usual job works", Done, &[], NONE),
        with("--diameter 0", case("no diameter", Usage, &["--diameter", "0 is out of range"], NONE)),
        with("--diameter nan", case("diameter nan", Usage, &["--diameter", "NaN"], NONE)),
        with("--diameter 500", case("diameter beyond the box", Usage, &["diameter", "500", "224"], NONE)),
        with("--diameter -", case("diameter not given", Usage, &["diameter is not set"], NONE)),
        with("--symmetry Q7", case("unknown symmetry", Usage, &["--symmetry", "Q7"], NONE)),
        with("--symmetry C0", case("symmetry C0", Usage, &["--symmetry", "C0"], NONE)),
        with("--classes -1", case("classes -1", Usage, &["-1"], NONE)),
        with(
            "--classes 2 --reference refs.star",
            case("three maps for two classes", Usage, &["3 maps"], |b| {
                b.write("refs.star", "data_\n\nloop_\n_rlnReferenceImage #1\nref.mrc\nref.mrc\nref.mrc\n\n")
            }),
        ),
        with(
            "--reference refs.star",
            case("a table of maps without rows", BadData, &["refs.star", "rlnReferenceImage"], |b| {
                b.write("refs.star", "data_\n\nloop_\n_rlnReferenceImage #1\n\n")
            }),
        ),
        with(
            "--reference refs.star",
            case("a table names an absent map", NoInput, &["gone.mrc"], |b| {
                b.write("refs.star", "data_\n\nloop_\n_rlnReferenceImage #1\nref.mrc\ngone.mrc\n\n")
            }),
        ),
        with("--iterations 99999999999", case("iterations beyond all", Usage, &["--iterations"], NONE)),
        with("--offset-step-pixels 0", case("offset step 0", Usage, &["--offset-step-pixels"], NONE)),
        with("--tau2-fudge 0", case("T of 0", Usage, &["--tau2-fudge"], NONE)),
        with("--memory lots", case("memory lots", Usage, &["--memory", "lots"], NONE)),
        // The inputs are good: it depends on the machine.
        with("--backend cuda", checked(Done, case("no CUDA", Unavailable, &["--backend", "built without CUDA"], NONE))),
        with("--healpix-order 11", case("HEALPix order 11", Usage, &["--healpix-order", "11"], NONE)),
        with(
            "--tau2-fudge 1",
            case("an unknown key of the job", Config, &["config.toml", "diametre"], |b| {
                fs::create_dir_all(b.path(".config/relion-rs")).unwrap();
                b.write(".config/relion-rs/config.toml", "diametre = 200\n")
            }),
        ),
        with(
            "--tau2-fudge 1",
            case("a value of the wrong type", Config, &["config.toml", "seed"], |b| {
                fs::create_dir_all(b.path(".config/relion-rs")).unwrap();
                b.write(".config/relion-rs/config.toml", "seed = \"one\"\n")
            }),
        ),
    ]
}

fn tables() -> Vec<Case> {
    vec![
        case("no particle file", NoInput, &["particles.star"], |b| fs::remove_file(b.path(STAR)).unwrap()),
        case("a folder as particle file", NoInput, &["particles.star", "folder"], |b| {
            fs::remove_file(b.path(STAR)).unwrap();
            fs::create_dir(b.path(STAR)).unwrap();
        }),
        case("an empty particle file", BadData, &["particles.star", "rlnImageName"], |b| b.write(STAR, "")),
        case("a particle file that is no text", BadData, &["particles.star, line 1"], |b| {
            b.bytes(STAR, |t| t.insert(0, 0xff))
        }),
        case("a table without rows", BadData, &["particles.star", "no particles"], |b| {
            b.star(|s| {
                let none = s.block("particles").unwrap().select(&[]);
                *s.block_mut("particles").unwrap() = none;
            })
        }),
        case("optics without rows", BadData, &["particles.star", "no optics groups"], |b| {
            b.star(|s| {
                let none = s.block("optics").unwrap().select(&[]);
                *s.block_mut("optics").unwrap() = none;
            })
        }),
        case("a row with too few values", BadData, &["particles.star, line", "values"], |b| {
            b.text(STAR, |t| {
                let last = t.trim_end().rfind(' ').unwrap();
                t[..last].to_string() + "\n"
            })
        }),
        case("no rlnImageName", BadData, &["rlnImageName"], |b| b.drop_column("particles", "rlnImageName")),
        case("no rlnDefocusU", BadData, &["particles.star", "rlnDefocusU"], |b| {
            b.drop_column("particles", "rlnDefocusU")
        }),
        case("no rlnVoltage", BadData, &["rlnVoltage"], |b| b.drop_column("optics", "rlnVoltage")),
        case("no rlnSphericalAberration", BadData, &["rlnSphericalAberration"], |b| {
            b.drop_column("optics", "rlnSphericalAberration")
        }),
        case("no rlnAmplitudeContrast", BadData, &["rlnAmplitudeContrast"], |b| {
            b.drop_column("optics", "rlnAmplitudeContrast")
        }),
        case("no pixel size", BadData, &["rlnImagePixelSize"], |b| b.drop_column("optics", "rlnImagePixelSize")),
        case("no rlnOpticsGroup in the optics", BadData, &["rlnOpticsGroup"], |b| {
            b.drop_column("optics", "rlnOpticsGroup")
        }),
        case("defocus abc", BadData, &["particles.star, line", "rlnDefocusU", "abc"], |b| {
            b.set("particles", "rlnDefocusU", 4, "abc")
        }),
        case("defocus nan", BadData, &["line", "rlnDefocusV", "nan"], |b| b.set("particles", "rlnDefocusV", 4, "nan")),
        case("angle inf", BadData, &["line", "rlnDefocusAngle", "inf"], |b| {
            b.set("particles", "rlnDefocusAngle", 0, "inf")
        }),
        case("half set 3", BadData, &["line", "rlnRandomSubset", "3"], |b| {
            b.set("particles", "rlnRandomSubset", 2, "3")
        }),
        case("all particles in one half set", BadData, &["half"], |b| {
            b.star(|s| {
                let particles = s.block_mut("particles").unwrap();
                particles.set_i64("rlnRandomSubset", &vec![1; particles.rows()]);
            })
        }),
        case("optics group 9", BadData, &["line", "rlnOpticsGroup", "9"], |b| {
            b.set("particles", "rlnOpticsGroup", 3, "9")
        }),
        case("the same image twice", BadData, &["line", "000001@", "already in line"], |b| {
            b.set("particles", "rlnImageName", 7, "000001@particles.mrcs")
        }),
        case("the same image under another name of its stack", BadData, &["line", "000001@", "already in line"], |b| {
            b.set("particles", "rlnImageName", 7, "000001@./particles.mrcs")
        }),
        case("image 99 of 12", BadData, &["line", "000099@particles.mrcs", "12 images"], |b| {
            b.set("particles", "rlnImageName", 7, "000099@particles.mrcs")
        }),
        case("image 0", BadData, &["line", "000000@", "index 0"], |b| {
            b.set("particles", "rlnImageName", 7, "000000@particles.mrcs")
        }),
        case("tomography", BadData, &["tomography", "rlnTomoParticleName"], |b| {
            b.set("particles", "rlnTomoParticleName", 0, "TS_01/1")
        }),
        case("a stack of subtomograms", BadData, &["subtomogram"], |b| b.set("particles", "rlnImageName", 3, STACK)),
        case("Windows line ends are read", Done, &[], |b| b.text(STAR, |t| t.replace('\n', "\r\n"))),
    ]
}

fn optics() -> Vec<Case> {
    vec![
        case("pixel size 0", BadData, &["line", "rlnImagePixelSize", "`0`"], |b| {
            b.set("optics", "rlnImagePixelSize", 0, "0")
        }),
        case("pixel size -7", BadData, &["rlnImagePixelSize", "-7"], |b| b.set("optics", "rlnImagePixelSize", 0, "-7")),
        case("another pixel size", BadData, &["ref.mrc", "7.7"], |b| b.set("optics", "rlnImagePixelSize", 0, "7.7")),
        case("voltage 0", BadData, &["rlnVoltage", "`0`"], |b| b.set("optics", "rlnVoltage", 0, "0")),
        case("amplitude contrast 2", BadData, &["rlnAmplitudeContrast", "`2`"], |b| {
            b.set("optics", "rlnAmplitudeContrast", 0, "2")
        }),
        case("box 64 for images of 32", BadData, &["line", "32 x 32", "64 x 64"], |b| {
            b.set("optics", "rlnImageSize", 0, "64")
        }),
        case("box -32", BadData, &["rlnImageSize", "-32"], |b| b.set("optics", "rlnImageSize", 0, "-32")),
        case("box abc", BadData, &["rlnImageSize", "abc"], |b| b.set("optics", "rlnImageSize", 0, "abc")),
        case("odd box 65", BadData, &["rlnImageSize", "65"], |b| {
            b.stack(65, 65);
            b.set("optics", "rlnImageSize", 0, "65");
        }),
        case("odd box without rlnImageSize", BadData, &["65"], |b| {
            b.stack(65, 65);
            b.drop_column("optics", "rlnImageSize");
        }),
        case("a singular magnification matrix", BadData, &["singular"], |b| {
            b.set("optics", "rlnMagMat00", 0, "0");
            b.set("optics", "rlnMagMat11", 0, "0");
        }),
        case("Zernike coefficients that are words", BadData, &["rlnEvenZernike", "few"], |b| {
            b.set("optics", "rlnEvenZernike", 0, "[few]")
        }),
        case("the same optics group twice", BadData, &["optics group 1 appears twice"], |b| {
            b.star(|s| {
                let twice = s.block("optics").unwrap().select(&[0, 0]);
                *s.block_mut("optics").unwrap() = twice;
            })
        }),
    ]
}

fn stacks() -> Vec<Case> {
    vec![
        case("no stack", NoInput, &["particles.star, line", "particles.mrcs"], |b| {
            fs::remove_file(b.path(STACK)).unwrap()
        }),
        case("a folder in the place of the stack", NoInput, &["particles.mrcs"], |b| {
            fs::remove_file(b.path(STACK)).unwrap();
            fs::create_dir(b.path(STACK)).unwrap();
        }),
        case("a file where the stack's folder should be", NoInput, &["line", "ref.mrc/particles.mrcs"], |b| {
            b.text(STAR, |t| t.replace("@particles.mrcs", "@ref.mrc/particles.mrcs"))
        }),
        case("a truncated stack", BadData, &["particles.mrcs", "truncated", "holds 11 of 12 images"], |b| {
            b.bytes(STACK, |bytes| bytes.truncate(bytes.len() - 8))
        }),
        case("a stack of 100 bytes", BadData, &["particles.mrcs", "100 bytes"], |b| {
            b.bytes(STACK, |bytes| bytes.truncate(100))
        }),
        case("an empty stack", BadData, &["particles.mrcs", "0 bytes"], |b| b.bytes(STACK, Vec::clear)),
        case("a stack that is text", BadData, &["particles.mrcs", "not an MRC file"], |b| {
            b.write(STACK, &"_rlnImageName ".repeat(200))
        }),
        case("two thousand million images", BadData, &["particles.mrcs", "truncated"], |b| b.word(STACK, NZ, i32::MAX)),
        case("-12 images", BadData, &["particles.mrcs", "-12"], |b| b.word(STACK, NZ, -12)),
        case("-32 columns", BadData, &["particles.mrcs", "-32"], |b| b.word(STACK, NX, -32)),
        case("an extended header of -1 bytes", BadData, &["particles.mrcs", "-1"], |b| b.word(STACK, EXTENDED, -1)),
        case("a huge extended header", BadData, &["particles.mrcs", "truncated"], |b| {
            b.word(STACK, EXTENDED, i32::MAX)
        }),
        case("mode 3", BadData, &["particles.mrcs", "mode 3"], |b| b.word(STACK, MODE, 3)),
        case("mode 4", BadData, &["particles.mrcs", "mode 4"], |b| b.word(STACK, MODE, 4)),
        case("mode 101", BadData, &["particles.mrcs", "mode 101"], |b| b.word(STACK, MODE, 101)),
        case("images that are not square", BadData, &["line", "32 x 30"], |b| b.stack(32, 30)),
    ]
}

fn pixels() -> Vec<Case> {
    // One image of twelve that says nothing is left out by name, two are too many, one that shouts is refused; `check` refuses one.
    vec![
        checked(
            BadData,
            case(
                "an image with NaN",
                Done,
                &["warning", "particles.mrcs, image 5", "NaN at pixel (13, 2)", "set aside"],
                |b| b.section(STACK, 4, |i, v| if i == 77 { f32::NAN } else { v }),
            ),
        ),
        checked(
            BadData,
            case(
                "an image with inf",
                Done,
                &["warning", "particles.mrcs, image 5", "inf at pixel (13, 2)", "set aside"],
                |b| b.section(STACK, 4, |i, v| if i == 77 { f32::INFINITY } else { v }),
            ),
        ),
        checked(
            BadData,
            case("a constant image", Done, &["warning", "particles.mrcs, image 5", "constant", "set aside"], |b| {
                b.section(STACK, 4, |_, _| 3.5)
            }),
        ),
        checked(
            BadData,
            case("an image of zeros", Done, &["warning", "particles.mrcs, image 12", "set aside"], |b| {
                b.section(STACK, 11, |_, _| 0.0)
            }),
        ),
        checked(
            BadData,
            case("an image x 1000", BadData, &["particles.mrcs, image 5", "e3 times"], |b| {
                b.section(STACK, 4, |_, v| 1000.0 * v)
            }),
        ),
        checked(
            BadData,
            case("an image with 1e30", BadData, &["particles.mrcs, image 5", "e28 times"], |b| {
                b.section(STACK, 4, |i, v| if i == 77 { 1e30 } else { v })
            }),
        ),
        case("two bad images of twelve", BadData, &["2 of the first 12 images", "image 3"], |b| {
            b.section(STACK, 2, |_, _| f32::NAN);
            b.section(STACK, 8, |_, _| 0.0);
        }),
        case("all images are zero", BadData, &["12 of the first 12 images"], |b| {
            (0..12).for_each(|image| b.section(STACK, image, |_, _| 0.0))
        }),
    ]
}

fn maps() -> Vec<Case> {
    vec![
        case("no reference", NoInput, &["ref.mrc"], |b| fs::remove_file(b.path(MAP)).unwrap()),
        case("a truncated reference", BadData, &["ref.mrc", "truncated"], |b| b.bytes(MAP, |m| m.truncate(5000))),
        case("a reference of another box", BadData, &["ref.mrc", "48", "32"], |b| {
            b.map(MAP, 48, PIXEL_ANGSTROM, 0.0, 1.0)
        }),
        case("a reference of an odd box", BadData, &["ref.mrc", "33"], |b| b.map(MAP, 33, PIXEL_ANGSTROM, 0.0, 1.0)),
        case("NaN in the reference", BadData, &["ref.mrc", "voxel (13, 2, 7)", "NaN"], |b| {
            b.section(MAP, 7, |i, v| if i == 2 * BOX + 13 { f32::NAN } else { v })
        }),
        case("a constant reference", BadData, &["ref.mrc"], |b| b.map(MAP, BOX, PIXEL_ANGSTROM, 2.0, 0.0)),
        case("a reference without a pixel size", BadData, &["ref.mrc", "pixel size"], |b| b.word(MAP, CELL, 0)),
        case("a reference of one image", BadData, &["ref.mrc", "32 x 32 x 1"], |b| b.word(MAP, NZ, 1)),
        case("a reference with a mode of complex numbers", BadData, &["ref.mrc", "mode 4"], |b| b.word(MAP, MODE, 4)),
        case("a stack as reference", BadData, &["particles.mrcs", "stack"], NONE),
        with("--mask mask.mrc", case("no mask", NoInput, &["mask.mrc"], NONE)),
        with(
            "--mask mask.mrc",
            case("a mask up to 5", BadData, &["mask.mrc"], |b| b.map("mask.mrc", BOX, PIXEL_ANGSTROM, 0.0, 5.0)),
        ),
        with(
            "--mask mask.mrc",
            case("a mask of another box", BadData, &["mask.mrc", "48"], |b| {
                b.map("mask.mrc", 48, PIXEL_ANGSTROM, 0.0, 1.0)
            }),
        ),
        with(
            "--mask mask.mrc",
            case("a mask without a pixel size", BadData, &["mask.mrc", "pixel size"], |b| {
                b.map("mask.mrc", BOX, PIXEL_ANGSTROM, 0.0, 1.0);
                b.word("mask.mrc", CELL, 0);
            }),
        ),
        with(
            "--mask mask.mrc",
            case("NaN in the mask", BadData, &["mask.mrc", "voxel (13, 2, 7)", "NaN"], |b| {
                b.map("mask.mrc", BOX, PIXEL_ANGSTROM, 0.0, 1.0);
                b.section("mask.mrc", 7, |i, v| if i == 2 * BOX + 13 { f32::NAN } else { v });
            }),
        ),
        with(
            "--mask mask.mrc",
            case("a mask of zeros", BadData, &["mask.mrc"], |b| b.map("mask.mrc", BOX, PIXEL_ANGSTROM, 0.0, 0.0)),
        ),
    ]
    .into_iter()
    .map(|case| if case.name == "a stack as reference" { with("--reference particles.mrcs", case) } else { case })
    .collect()
}

fn outputs() -> Vec<Case> {
    vec![
        checked(
            Usage,
            case("a file in the place of the run folder", Usage, &["--out", "\"out\""], |b| {
                b.write("out", "in the way")
            }),
        ),
        with(
            "--out ref.mrc/out",
            checked(Done, case("a run folder below a file", CannotCreate, &["ref.mrc/out"], NONE)),
        ),
        with(
            "--out /proc/relion-rs-cannot-be",
            checked(Done, case("a run folder nobody can make", CannotCreate, &["/proc"], NONE)),
        ),
        checked(
            Done,
            case("a file in the place of the checkpoints", CannotCreate, &["checkpoint"], |b| {
                fs::create_dir(b.path("out")).unwrap();
                b.write("out/checkpoint", "in the way");
            }),
        ),
    ]
}
