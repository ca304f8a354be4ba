//! What a run may go on from, and what it refuses.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use relion_rs::error::ExitCode;
use tempfile::TempDir;

use crate::support::golden;

/// Two iterations in small blocks, of which a short start does a few.
const JOB: &str = "class3d --particles set/particles.star --reference ref.mrc --diameter 180 --iterations 2 --threads 1 \
                   --healpix-order 2 --offset-range-pixels 2 --ini-high 40 --block-particles 4 --blocks-per-batch 1 \
                   --out out";
const SHORT: &str = "--max-hours 0.0000001";

fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relion-rs"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("SLURM_JOB_END_TIME");
    command.args(words.split_whitespace());
    command
}

fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

fn typed(folder: &Path, words: &str) -> (i32, String) {
    told(&command(folder, words).output().unwrap())
}

/// A folder with 64 particles.
fn stage() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden("inputs/ref32.mrc"), folder.path().join("ref.mrc")).unwrap();
    let (code, text) = typed(folder.path(), "simulate --map ref.mrc --count 64 --snr 0.5 --micrographs 3 --out set");
    assert_eq!(code, 0, "{text}");
    folder
}

/// A run that stopped within its second iteration.
fn stopped() -> TempDir {
    let folder = stage();
    for _ in 0..50 {
        let (code, text) = typed(folder.path(), &format!("run {JOB} {SHORT}"));
        assert_eq!(code, ExitCode::Checkpointed as i32, "{text}");
        if folder.path().join("out/checkpoint/iter-002.parts.json").is_file() {
            return folder;
        }
    }
    panic!("it never stops within the second iteration");
}

/// Replaces the first occurrence.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn changed_inputs_are_refused_and_what_was_summed_from_others_is_not_used() {
    let folder = stopped();
    let table = folder.path().join("set/particles.star");
    let before = fs::read_to_string(&table).unwrap();
    let row = before.lines().find(|line| line.contains('@')).unwrap();
    let number = row.split_whitespace().find(|word| word.parse::<f64>().is_ok_and(|v| v > 5000.0)).unwrap();
    edit(&table, number, &format!("{}", number.parse::<f64>().unwrap() + 900.0));
    let (code, text) = typed(folder.path(), "resume out");
    assert!(code == 65 && text.contains("set/particles.star") && text.contains("--force"), "{text}");
    // Parts of the old images, and then of the new ones.
    let (code, text) = typed(folder.path(), &format!("run {JOB} {SHORT}"));
    assert_eq!(code, 65, "{text}");
    let (code, text) = typed(folder.path(), "resume out --force");
    assert!(code == 75 && text.contains("going on all the same"), "{text}");
    assert!(text.contains("other inputs") && text.contains("iteration 2 begins anew"), "{text}");
    fs::write(&table, &before).unwrap();
    let (code, text) = typed(folder.path(), &format!("run {JOB}"));
    assert!(code == 0 && text.contains("other inputs") && text.contains("iteration 2 begins anew"), "{text}");
    // As if nothing had happened.
    let (code, text) = typed(folder.path(), &format!("run {}", JOB.replace("--out out", "--out whole")));
    assert_eq!(code, 0, "{text}");
    let map = |run: &str| fs::read(folder.path().join(run).join("run_it002_class001.mrc")).unwrap();
    assert!(map("out") == map("whole"));
}

#[test]
fn settings_that_were_edited_are_noticed() {
    let folder = stopped();
    edit(&folder.path().join("out/plan.json"), "\"tau2_fudge\": ", "\"tau2_fudge\": 1");
    let (code, text) = typed(folder.path(), "resume out");
    assert!(code == 65 && text.contains("plan.json") && text.contains("--force"), "{text}");
    let (code, text) = typed(folder.path(), "resume out --force");
    assert!(code == 75 && text.contains("plan.json has other settings"), "{text}");
    assert!(text.contains("other settings") && text.contains("begins anew"), "{text}");
}

#[test]
fn a_state_of_another_kind_is_refused() {
    let folder = stopped();
    let halves = JOB.replace("class3d", "refine3d").replace("--out out", "--out halves");
    let (code, text) = typed(folder.path(), &format!("run {halves} {SHORT}"));
    assert_eq!(code, 75, "{text}");
    for name in ["iter-001.h5", "iter-001.h5.b3"] {
        let [from, to] = ["out", "halves"].map(|run| folder.path().join(run).join("checkpoint").join(name));
        fs::copy(from, to).unwrap();
    }
    let (code, text) = typed(folder.path(), "resume halves --force");
    assert!(code == 65 && text.contains("1 half sets, the inputs 2"), "{text}");
}

#[test]
fn another_identity_is_told_and_refused_where_the_same_is_demanded() {
    let folder = stopped();
    edit(&folder.path().join("out/plan.json"), "\"isa\": \"auto\"", "\"isa\": \"portable\"");
    let (code, text) = typed(folder.path(), "resume out --exact --force");
    assert!(code == 64 && text.contains("--exact") && text.contains("instruction set was"), "{text}");
    let (code, text) = typed(folder.path(), "resume out --force");
    assert!(code == 75 && text.contains("results may differ in the last bits"), "{text}");
}

#[test]
fn a_stop_that_keeps_nothing_is_no_checkpoint() {
    let folder = stage();
    let script = format!("ulimit -f 280; exec \"$0\" run {JOB} {SHORT}");
    let mut shell = command(folder.path(), "");
    let program = shell.get_program().to_owned();
    shell = {
        let mut other = Command::new("sh");
        other.current_dir(folder.path()).env("HOME", folder.path()).args(["-c", &script]).arg(program);
        other
    };
    let (code, text) = told(&shell.output().unwrap());
    assert!(code == 74 && text.contains("error: ") && text.contains("checkpoint/"), "{code}: {text}");
    let (code, text) = typed(folder.path(), &format!("run {JOB}"));
    assert_eq!(code, 0, "{text}");
}

#[test]
fn an_end_of_the_job_that_is_no_time_is_none() {
    let folder = stage();
    for (run, end) in [("out", "18446744073709551615"), ("out2", "tomorrow"), ("out3", "0")] {
        let words = format!("run {}", JOB.replace("--out out", &format!("--out {run}")));
        let (code, text) = told(&command(folder.path(), &words).env("SLURM_JOB_END_TIME", end).output().unwrap());
        assert_eq!(code, 0, "{end}: {text}");
    }
    // One that is over ends the run after every batch.
    let words = format!("run {}", JOB.replace("--out out", "--out out4"));
    let (code, text) = told(&command(folder.path(), &words).env("SLURM_JOB_END_TIME", "1").output().unwrap());
    assert!(code == 75 && text.contains("the end of the time that was given"), "{text}");
}

#[test]
fn a_request_to_stop_does_not_outlive_the_run() {
    let folder = stage();
    let (code, text) = typed(folder.path(), &format!("run {JOB}"));
    assert_eq!(code, 0, "{text}");
    let request = folder.path().join("out/RELION_JOB_ABORT_NOW");
    fs::write(&request, "").unwrap();
    assert_eq!(typed(folder.path(), "resume out").0, 0);
    assert!(!request.exists());
}
