//! Whole jobs from the command line, small: what is planned, and what must not change a bit of the result.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use half::f16;
use relion_rs::error::ExitCode;
use relion_rs::formats::mrc;
use relion_rs::formats::mrc::ByteOrder;
use relion_rs::formats::mrc::Header;
use relion_rs::formats::mrc::Mode;
use relion_rs::formats::mrc::Statistics;
use relion_rs::formats::star::StarFile;

use crate::support::golden;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");

pub fn launch(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(LAUNCHER);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command.args(words.split_whitespace()).output().unwrap()
}

pub fn done(folder: &Path, words: &str) -> String {
    let output = launch(folder, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with 48 particles of beta-galactosidase, and the words of a job of one iteration on them.
pub fn scene() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/beta_galactosidase.mrc");
    done(folder.path(), &format!("simulate --map {} --out particles --count 48 --snr 0.1", map.display()));
    let job = "class3d --particles particles/particles.star --reference particles/truth.mrc --diameter 200 \
               --symmetry D2 --ini-high 30 --healpix-order 1 --iterations 1 --threads 2";
    (folder, job.to_string())
}

pub const MIB: u64 = 1 << 20;

#[test]
fn a_cap_on_memory_changes_no_bit() {
    let (folder, job) = scene();
    let folder = folder.path();
    let planned = |words: &str| -> serde_json::Value { serde_json::from_str(&done(folder, words)).unwrap() };
    let free = planned(&format!("--json plan {job} --out free"));
    let peak = free["peak"].as_u64().unwrap();
    assert_eq!(free["steps"].as_array().unwrap().len(), 2);

    let capped = planned(&format!("--json plan {job} --out tight --memory {}MiB", peak / MIB - 20));
    assert!(capped["peak"].as_u64().unwrap() <= peak - 20 * MIB);

    // The first iteration needs less than the largest that can come; a cap must be below that to be felt.
    let cap = free["steps"][0]["total"].as_u64().unwrap() / MIB - 20;
    done(folder, &format!("run {job} --out free"));
    done(folder, &format!("run {job} --out tight --memory {cap}MiB"));
    for name in ["run_it001_class001.mrc", "run_it001_data.star", "run_it001_model.star"] {
        let read = |run: &str| fs::read(folder.join(run).join(name)).unwrap();
        let (free, tight) = (read("free"), read("tight"));
        let same_but_names = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("tight/", "free/");
        assert!(free == tight || same_but_names(&free) == same_but_names(&tight), "{name}");
    }
    let held = |run: &str| -> u64 {
        let text = fs::read_to_string(folder.join(run).join("progress.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["arena_reserved_bytes"].as_u64()).max().unwrap()
    };
    let (free_bytes, tight_bytes) = (held("free"), held("tight"));
    assert!(tight_bytes + 20 * MIB <= free_bytes, "{tight_bytes} {free_bytes}");
    assert_eq!(free_bytes, free["steps"][0]["arena"].as_u64().unwrap(), "what was planned is what was reserved");
}

#[test]
fn too_little_memory_is_refused_with_the_amount() {
    let (folder, job) = scene();
    for verb in ["plan", "run"] {
        let output = launch(folder.path(), &format!("{verb} {job} --out out --memory 32MiB"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(ExitCode::Memory as i32), "{verb}: {text}");
        assert!(text.contains("at least") && text.contains("--memory"), "{verb}: {text}");
    }
}

#[test]
fn a_run_in_two_parts_equals_a_run_in_one() {
    let (folder, job) = scene();
    let folder = folder.path();
    let of = |iterations: u32| job.replace("--iterations 1", &format!("--iterations {iterations}"));
    done(folder, &format!("run {} --out whole", of(2)));
    done(folder, &format!("run {} --out parts", of(1)));
    done(folder, &format!("run {} --out parts", of(2)));
    for name in ["run_it002_class001.mrc", "run_it002_data.star"] {
        let read = |run: &str| fs::read(folder.join(run).join(name)).unwrap();
        assert!(read("whole") == read("parts"), "{name}");
    }
}

/// Files of runs on one and two threads, in batches of one and three blocks: classes from one reference, and half sets.
#[test]
fn threads_and_batches_change_no_bit_of_a_file() {
    let (folder, job) = scene();
    let folder = folder.path();
    let classes = job.replace("--iterations 1", "--iterations 2 --classes 2");
    let halves = job.replace("class3d", "refine3d").replace("--iterations 1", "--iterations 2 --block-particles 8");
    for (name, job) in [("classes", classes), ("halves", halves)] {
        let variants =
            [("alone", "--threads 1"), ("pair", "--threads 2"), ("wide", "--threads 2 --blocks-per-batch 3")];
        for (variant, flags) in variants {
            let job = job.replace("--threads 2", "");
            done(folder, &format!("run {job} {flags} --out {name}_{variant}"));
        }
        let files = |variant: &str| {
            let run = format!("{name}_{variant}");
            let listed = fs::read_dir(folder.join(&run)).unwrap().map(|entry| entry.unwrap().path());
            let outputs = listed.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("run_it002_"));
            let text = |path: &Path| {
                let bytes = fs::read(path).unwrap();
                // STAR files name each other.
                String::from_utf8_lossy(&bytes).replace(&run, "RUN")
            };
            outputs.map(|path| (path.file_name().unwrap().to_owned(), text(&path))).collect::<BTreeMap<_, _>>()
        };
        let alone = files("alone");
        assert!(alone.len() >= 5, "{name}: {:?}", alone.keys());
        for variant in ["pair", "wide"] {
            let other = files(variant);
            assert!(other.keys().eq(alone.keys()), "{name}, {variant}");
            for (file, text) in &alone {
                assert!(other[file] == *text, "{name}, {variant}: {}", file.display());
            }
        }
    }
}

#[test]
fn a_run_ends_after_its_hours_and_goes_on() {
    let (folder, job) = scene();
    let folder = folder.path();
    let job = job.replace("--iterations 1", "--iterations 2 --max-hours 0.000001");
    let mut starts = 0;
    loop {
        let output = launch(folder, &format!("run {job} --out hours"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        starts += 1;
        match output.status.code() {
            Some(0) => break,
            code => assert!(code == Some(ExitCode::Checkpointed as i32) && starts < 10, "{text}"),
        }
        assert!(!folder.join("hours/run_it002_data.star").exists());
    }
    // Every start does something; none does two iterations.
    assert!(starts >= 3, "{starts}");
    let whole = job.replace("--max-hours 0.000001", "");
    done(folder, &format!("run {whole} --out whole"));
    for name in ["run_it002_class001.mrc", "run_it002_data.star"] {
        let read = |run: &str| fs::read(folder.join(run).join(name)).unwrap();
        assert!(read("whole") == read("hours"), "{name}");
    }
}

#[test]
fn the_order_of_the_rows_changes_no_bit() {
    let (folder, job) = scene();
    let folder = folder.path();
    let path = folder.join("particles/particles.star");
    let text = fs::read_to_string(&path).unwrap();
    let is_row = |line: &&str| line.contains('@');
    let first = text.lines().position(|line| is_row(&line)).unwrap();
    let rows: Vec<&str> = text.lines().filter(is_row).collect();
    assert_eq!(rows.len(), 48);
    // 29 and 48 have no common factor: every row once, far from where it was.
    let shuffled = (0..48).map(|i| rows[(i * 29 + 7) % 48]);
    let mixed: Vec<&str> = text.lines().take(first).chain(shuffled).collect();
    fs::write(folder.join("particles/mixed.star"), mixed.join("\n") + "\n").unwrap();
    done(folder, &format!("run {job} --out straight"));
    let mixed_job = job.replace("particles/particles.star", "particles/mixed.star");
    done(folder, &format!("run {mixed_job} --out mixed"));
    let read = |run: &str, name: &str| fs::read(folder.join(run).join(name)).unwrap();
    assert!(read("straight", "run_it001_class001.mrc") == read("mixed", "run_it001_class001.mrc"));
    let sorted = |run: &str| {
        let text = String::from_utf8(read(run, "run_it001_data.star")).unwrap();
        let mut rows: Vec<String> = text.lines().filter(is_row).map(str::to_owned).collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted("straight"), sorted("mixed"));
}

#[test]
fn kept_poses_stay_and_need_to_be_there() {
    let (folder, job) = scene();
    let folder = folder.path();
    let job = job.replace("--iterations 1", "--iterations 2") + " --classes 2 --skip-align";
    let output = launch(folder, &format!("run {job} --out none"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(relion_rs::error::ExitCode::BadData as i32), "{text}");
    assert!(text.contains("rlnAngleRot"), "{text}");

    let posed = job.replace("particles/particles.star", "particles/truth.star");
    done(folder, &format!("plan {posed} --out kept"));
    done(folder, &format!("run {posed} --out kept"));
    let star = |path: &str| relion_rs::formats::star::StarFile::read(&folder.join(path)).unwrap();
    let columns = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"];
    let poses = |path: &str| {
        let star = star(path);
        let table = star.require("particles").unwrap();
        let numbers = columns.map(|label| table.require(label).unwrap().f64s().unwrap());
        let names = table.require("rlnImageName").unwrap();
        let row = |(i, name): (usize, &str)| (name[..6].to_owned(), numbers.each_ref().map(|column| column[i]));
        names.strs().enumerate().map(row).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (before, after) = (poses("particles/truth.star"), poses("kept/run_it002_data.star"));
    assert_eq!(before.len(), 48);
    for (name, pose) in &before {
        for (a, b) in pose.iter().zip(after[name]) {
            // Printed with six decimals both times.
            assert!((a - b).abs() < 2e-6, "{name}: {pose:?} {:?}", after[name]);
        }
    }
    let optimiser = star("kept/run_it002_optimiser.star");
    let general = optimiser.require("optimiser_general").unwrap();
    // Named from where the command was typed: RELION is started there.
    for (label, name) in [
        ("rlnOutputRootName", "kept/run"),
        ("rlnModelStarFile", "kept/run_it002_model.star"),
        ("rlnExperimentalDataStarFile", "kept/run_it002_data.star"),
        ("rlnOrientSamplingStarFile", "kept/run_it002_sampling.star"),
    ] {
        assert_eq!(general.require(label).unwrap().strs().collect::<Vec<_>>(), [name]);
    }
    let skip = general.require("rlnDoSkipAlign").unwrap().f64s().unwrap();
    assert_eq!(skip, [1.0]);
}

#[test]
fn a_detector_needs_its_pixel_size_and_its_table() {
    let (folder, job) = scene();
    let folder = folder.path();
    let text = fs::read_to_string(folder.join("particles/particles.star")).unwrap();
    // New columns of the optics table, whose only row holds the group's name.
    let with = |columns: &[(&str, &str)]| {
        let labels = columns.iter().map(|(label, _)| format!("_{label}\n")).collect::<String>();
        let values = columns.iter().map(|(_, value)| format!(" {value}")).collect::<String>();
        let row = text.lines().find(|line| line.contains("opticsGroup1")).unwrap();
        let text = text.replacen(row, &format!("{labels}{row}{values}"), 1);
        fs::write(folder.join("particles/mtf.star"), text).unwrap();
        launch(folder, &format!("run {} --out mtf", job.replace("particles/particles.star", "particles/mtf.star")))
    };
    let table = "data_\n\nloop_\n_rlnResolutionInversePixel\n_rlnMtfValue\n0 1\n0.5 0.5\n\n";
    fs::write(folder.join("particles/detector.star"), table).unwrap();
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let output = with(&[("rlnMtfFileName", "detector.star")]);
    assert!(output.status.code() == Some(relion_rs::error::ExitCode::BadData as i32), "{}", told(&output));
    assert!(told(&output).contains("rlnMicrographOriginalPixelSize"), "{}", told(&output));
    let output = with(&[("rlnMtfFileName", "gone.star"), ("rlnMicrographOriginalPixelSize", "1.77")]);
    assert!(output.status.code() == Some(relion_rs::error::ExitCode::NoInput as i32), "{}", told(&output));
    assert!(told(&output).contains("gone.star"), "{}", told(&output));
    let output = with(&[("rlnMtfFileName", "detector.star"), ("rlnMicrographOriginalPixelSize", "1.77")]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_last_iteration_reconstructs_from_other_images() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::copy(golden("inputs/ref32.mrc"), folder.join("ref.mrc")).unwrap();
    done(folder, "simulate --map ref.mrc --count 12 --snr 0.5 --micrographs 3 --out particles");
    // The same images, twice as strong, in an order of their own.
    let stack = mrc::Stack::open(&folder.join("particles/particles.mrcs")).unwrap();
    let mut pixels = vec![0.0_f32; 12 * 32 * 32];
    stack.read(&(0..12).rev().collect::<Vec<u32>>(), &mut pixels).unwrap();
    pixels.iter_mut().for_each(|pixel| *pixel *= 2.0);
    mrc::write_stack(&folder.join("particles/twice.mrcs"), 32, 32, 7.0, &pixels).unwrap();
    let mut star = StarFile::read(&folder.join("particles/particles.star")).unwrap();
    let names: Vec<String> = (1..=12).map(|image| format!("{:06}@twice.mrcs", 13 - image)).collect();
    star.block_mut("particles").unwrap().set_str("rlnReconstructImageName", &names);
    star.write(&folder.join("particles/both.star")).unwrap();

    let job = |particles: &str, out: &str| {
        format!(
            "run refine3d --particles particles/{particles} --reference ref.mrc --out {out} --diameter 180 --threads 2 \
             --iterations 60 --healpix-order 1 --offset-range-pixels 2 --ini-high 40 --local-search-order 2"
        )
    };
    done(folder, &job("particles.star", "plain"));
    done(folder, &job("both.star", "both"));
    let iterations = fs::read_dir(folder.join("plain")).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_prefix("run_it")?.strip_suffix("_optimiser.star")?.parse::<u32>().ok()
    });
    let last = iterations.max().unwrap();
    assert!(last < 60, "it converged");
    let read = |run: &str, name: &str| fs::read(folder.join(run).join(name)).unwrap();
    let before = format!("run_it{:03}_half1_class001.mrc", last - 1);
    assert!(read("plain", &before) == read("both", &before), "only the last iteration differs");
    let map = |run: &str| mrc::read_map(&folder.join(run).join("run_class001.mrc")).unwrap().data;
    let (plain, both) = (map("plain"), map("both"));
    let largest = plain.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let off = plain.iter().zip(&both).map(|(a, b)| (2.0 * a - b).abs()).fold(0.0, f32::max);
    // Twice the images, twice the map, but for the rounding of single precision.
    assert!(off < 1e-3 * largest, "{off} of {largest}");
}

/// A stack in 16-bit reals.
fn write_half(path: &Path, pixels: &[f32]) {
    let header = Header {
        nx: 32,
        ny: 32,
        nz: pixels.len() / (32 * 32),
        mode: Mode::Float16,
        byte_order: ByteOrder::Little,
        pixel_size_angstrom: 7.0,
        extended_bytes: 0,
    };
    let mut bytes = header.to_bytes(false, &Statistics::of(pixels)).to_vec();
    bytes.extend(pixels.iter().flat_map(|pixel| f16::from_f32(*pixel).to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

#[test]
fn number_types_of_stacks_change_no_bit_and_less_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::copy(golden("inputs/ref32.mrc"), folder.join("ref.mrc")).unwrap();
    done(folder, "simulate --map ref.mrc --count 24 --snr 0.5 --micrographs 3 --out .");
    let stack = mrc::Stack::open(&folder.join("particles.mrcs")).unwrap();
    let mut pixels = vec![0.0_f32; 24 * 32 * 32];
    stack.read(&(0..24).collect::<Vec<u32>>(), &mut pixels).unwrap();
    pixels.iter_mut().for_each(|pixel| *pixel = f16::from_f32(*pixel).to_f32());
    let (first, second) = pixels.split_at(12 * 32 * 32);
    for (name, pixels) in [("a", first), ("b", second)] {
        mrc::write_stack(&folder.join(format!("{name}.single.mrcs")), 32, 32, 7.0, pixels).unwrap();
        write_half(&folder.join(format!("{name}.half.mrcs")), pixels);
    }
    let run = |out: &str, kinds: [&str; 2]| {
        let mut star = StarFile::read(&folder.join("particles.star")).unwrap();
        let name = |i: usize| format!("{:06}@{}.{}.mrcs", i % 12 + 1, ["a", "b"][i / 12], kinds[i / 12]);
        let names: Vec<String> = (0..24).map(name).collect();
        star.block_mut("particles").unwrap().set_str("rlnImageName", &names);
        star.write(&folder.join(format!("{out}.star"))).unwrap();
        let job = format!(
            "class3d --particles {out}.star --reference ref.mrc --out {out} --diameter 180 --healpix-order 1 \
             --iterations 1 --threads 2 --offset-range-pixels 2 --ini-high 40"
        );
        done(folder, &format!("run {job}"));
        let planned: serde_json::Value = serde_json::from_str(&done(folder, &format!("--json plan {job}"))).unwrap();
        let held = planned["steps"][0]["allocations"].as_array().unwrap().iter();
        let held = held.filter(|row| row["name"].as_str().unwrap().starts_with("images of"));
        let held: u64 = held.map(|row| row["bytes"].as_u64().unwrap()).sum();
        (fs::read(folder.join(out).join("run_it001_class001.mrc")).unwrap(), held)
    };
    let single = run("single", ["single"; 2]);
    let mixed = run("mixed", ["half", "single"]);
    let half = run("half", ["half"; 2]);
    assert!(single.0 == mixed.0 && single.0 == half.0);
    assert_eq!((mixed.1, 2 * half.1), (single.1, single.1));
}
