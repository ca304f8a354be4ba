//! Whole jobs from the command line, small: what is planned, and what must not change a bit of the result.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

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
        assert!(output.status.code() == Some(relion_rs::error::ExitCode::Memory as i32), "{verb}: {text}");
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
