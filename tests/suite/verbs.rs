//! Verbs as a person types them, one after the other, with real inputs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

use crate::support::golden;

/// A coarse job of two iterations.
pub const JOB: &str = "class3d --particles set/particles.star --reference ref.mrc --diameter 180 --classes 2 --iterations 2 \
                   --threads 1 --healpix-order 1 --offset-range-pixels 2 --ini-high 40";

fn relion(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relion-rs"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command.args(words.split_whitespace()).output().unwrap()
}

/// The code of a command, and all that it says.
pub fn told(folder: &Path, words: &str) -> (i32, String) {
    let output = relion(folder, words);
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap_or(-1), text)
}

/// A folder with a map and a simulated data set in `set`.
pub fn stage() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden("inputs/ref32.mrc"), folder.path().join("ref.mrc")).unwrap();
    let (code, text) = told(folder.path(), "simulate --map ref.mrc --count 12 --snr 0.5 --micrographs 3 --out set");
    assert_eq!(code, 0, "{text}");
    folder
}

#[test]
fn a_simulation_replaces_nothing_and_takes_all_poses_it_is_given() {
    let folder = stage();
    let (code, text) = told(folder.path(), "simulate --map ref.mrc --out set");
    assert!(code == 73 && text.contains("set/particles.star") && text.contains("--force"), "{text}");
    let again = "simulate --map ref.mrc --out other --poses-from set/truth.star --ctfs-from set/truth.star";
    let (code, text) = told(folder.path(), again);
    assert!(code == 0 && text.starts_with("12 images"), "{text}");
    let (code, text) = told(folder.path(), &format!("{again} --count 5 --force"));
    assert!(code == 0 && text.starts_with("5 images"), "{text}");
    let (code, text) = told(folder.path(), "simulate --map ref.mrc --out new --snr -1");
    assert!(code == 64 && text.contains("--snr -1 is no ratio"), "{text}");
}

#[test]
fn looking_at_a_job_needs_no_run_folder_and_makes_none() {
    let folder = stage();
    let (code, text) = told(folder.path(), &format!("plan {JOB}"));
    assert!(code == 0 && text.contains("12 particles of 32 pixels, 1 thread\n"), "{text}");
    let (code, text) = told(folder.path(), &format!("check {JOB} --images"));
    assert!(code == 0 && text.contains("12 in 1 stack and 3 micrograph groups"), "{text}");
    let (code, text) = told(folder.path(), &format!("check {} --ini-high 5", JOB.replace("--ini-high 40", "")));
    assert!(code == 0 && text.contains("ini_high of 5 A is beyond the Nyquist limit of 14.00 A"), "{text}");
    let (code, text) = told(folder.path(), &format!("run {JOB}"));
    assert!(code == 64 && text.contains("out is not set"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_request_to_stop_is_obeyed_once() {
    let folder = stage();
    let request = folder.path().join("out/RELION_JOB_ABORT_NOW");
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(&request, "").unwrap();
    let (code, text) = told(folder.path(), &format!("run {JOB} --out out"));
    assert!(code == 75 && text.contains("the same command goes on"), "{text}");
    assert!(!request.exists());
    let (code, text) = told(folder.path(), &format!("run {JOB} --out out"));
    assert!(code == 0 && text.contains("2 classes, 1 thread,") && text.contains("finished: "), "{text}");
    assert!(text.contains(" left\niteration   2: "), "the time that is left after the first iteration: {text}");
    let progress = fs::read_to_string(folder.path().join("out/progress.jsonl")).unwrap();
    assert!(
        progress.contains(r#""event":"batch","iteration":2,"particles_done":0,"particles_total":12"#),
        "{progress}"
    );
}

#[test]
fn check_names_every_bad_image() {
    let folder = stage();
    let stack = folder.path().join("set/particles.mrcs");
    let mut bytes = fs::read(&stack).unwrap();
    let length = 4 * 32 * 32;
    for image in [2, 7] {
        bytes[1024 + image * length..][..length].fill(0);
    }
    fs::write(&stack, bytes).unwrap();
    let (code, text) = told(folder.path(), &format!("check {JOB} --images"));
    assert_eq!(code, 65, "{text}");
    for image in ["image 3", "image 8"] {
        assert!(text.contains(&format!("particles.mrcs, {image}: all pixels are the same")), "{text}");
    }
}
