//! `drill`: what it tells when a run ends as it should, and when it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use serde_json::Value;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");

fn drill(launcher: &Path, folder: &Path, words: &str) -> Output {
    let mut command = Command::new(launcher);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("SLURM_JOB_END_TIME");
    command.arg("drill").args(words.split_whitespace()).output().unwrap()
}

fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn interruptions_of_a_small_job_leave_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let job = "class3d --count 64 --iterations 3 --threads 2 --signal usr2 --fill-disk --json";
    let output = drill(Path::new(LAUNCHER), folder.path(), job);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["equal"], true);
    let files = json["uninterrupted"]["sha256"].as_object().unwrap();
    assert!(files.len() >= 10 && files.contains_key("run_it003_class001.mrc"), "{json}");
    let interruptions = json["interruptions"].as_array().unwrap();
    assert_eq!(interruptions.len(), 2);
    for interruption in interruptions {
        assert_eq!(interruption["files"], files.len());
    }
    // Nothing is left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// With an engine that writes other files each time.
#[test]
fn files_that_differ_are_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    if fs::hard_link(LAUNCHER, place("relion-rs")).is_err() {
        fs::copy(LAUNCHER, place("relion-rs")).unwrap();
    }
    let script = "#!/bin/sh\necho same > $1/run_same.star\necho $$ > $1/run_data.star\nsleep 1\n";
    fs::write(place("relion-rs-rank"), script).unwrap();
    fs::set_permissions(place("relion-rs-rank"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place("p.star"), "data_particles\n").unwrap();
    fs::write(place("r.mrc"), "map").unwrap();
    let job = "refine3d --particles p.star --reference r.mrc --diameter 200 --kill --after 300ms --out drilled";
    let output = drill(&place("relion-rs"), folder.path(), job);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(70), "{text}");
    assert!(text.contains("SIGKILL; 0") && text.contains("1 DIFFER: run_data.star"), "{text}");
    assert!(place("drilled/01-SIGKILL/run_data.star").is_file() && place("drilled/01-SIGKILL.log").is_file());

    let output = drill(&place("relion-rs"), folder.path(), job);
    assert!(output.status.code() == Some(73) && told(&output).contains("is not empty"), "{}", told(&output));
    let before = fs::read_dir(folder.path()).unwrap().count();
    let output = drill(&place("relion-rs"), folder.path(), "--count 3");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
    assert!(output.status.code() == Some(64) && told(&output).contains("--count 16"), "{}", told(&output));
}
