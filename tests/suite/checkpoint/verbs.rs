//! The verbs on checkpoints, with the real engine beside the launcher.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use relion_rs::checkpoint;

use super::seal;
use super::state::origin;
use super::state::state;
use crate::verbs::JOB;
use crate::verbs::stage;
use crate::verbs::told as typed;

/// The launcher's verbs on checkpoints, with the real engine beside it: code, standard output, standard error.
fn told(words: &[&str], path: &Path) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_relion-rs")).arg("checkpoint").args(words).arg(path).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap_or(-1), out, err)
}

#[test]
fn verify_tells_which_files_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = state(1, 1, 3, 8);
    for iteration in [1, 2, 3] {
        wanted.iteration = iteration;
        checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    }
    let inside = folder.path().join("checkpoint");
    let (code, out, err) = told(&["verify"], folder.path());
    assert!(code == 0 && out.lines().count() == 3 && out.lines().all(|line| line.ends_with(".h5: OK")), "{out}{err}");
    assert_eq!(told(&["verify"], &inside).1, out);

    fs::write(inside.join("iter-002.h5"), b"").unwrap();
    fs::copy(inside.join("iter-001.h5"), inside.join("iter-003.h5")).unwrap();
    seal(&inside.join("iter-003.h5"));
    let (code, out, err) = told(&["verify"], folder.path());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((code, lines.len()), (65, 3), "{out}{err}");
    assert!(lines[0].ends_with("iter-001.h5: OK") && lines[1].contains("iter-002.h5: the file is damaged"), "{out}");
    assert!(lines[2].contains("iter-003.h5: holds iteration 1, which is not what its name says"), "{out}");
    assert_eq!(told(&["verify"], &inside.join("iter-001.h5")).0, 0);

    let (code, out, _) = told(&["verify", "--json"], folder.path());
    let told_json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, told_json.as_array().unwrap().len()), (65, 3));
    assert!(
        told_json[0]["problem"].is_null() && told_json[1]["problem"].as_str().unwrap().contains("damaged"),
        "{out}"
    );
    for absent in ["absent", "checkpoint/absent.h5"] {
        let (code, _, err) = told(&["verify"], &folder.path().join(absent));
        assert!(code == 66 && err.contains("there is no checkpoint"), "{err}");
    }
}

/// What a run or an export wrote of an iteration, by name; its own root in the texts replaced by that of a run in `out`.
fn files_of(folder: &Path, root: &str, iteration: u32) -> BTreeMap<String, Vec<u8>> {
    let start = format!("run_it{iteration:03}_");
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder.join(root)).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(&start) {
            let mut bytes = fs::read(entry.path()).unwrap();
            if name.ends_with(".star") {
                bytes = String::from_utf8(bytes).unwrap().replace(&format!("{root}/run"), "out/run").into_bytes();
            }
            files.insert(name, bytes);
        }
    }
    files
}

fn assert_same(ours: &BTreeMap<String, Vec<u8>>, theirs: &BTreeMap<String, Vec<u8>>) {
    assert!(ours.keys().eq(theirs.keys()) && ours.len() >= 6, "{:?} {:?}", ours.keys(), theirs.keys());
    for (name, bytes) in ours {
        assert!(bytes == &theirs[name], "{name} differs");
    }
}

#[test]
fn an_export_is_what_the_run_wrote() {
    let refinement = JOB.replace("class3d", "refine3d").replace("--classes 2 ", "");
    for job in [JOB, &refinement] {
        let folder = stage();
        let at = folder.path();
        let (code, text) = typed(at, &format!("run {job} --out out"));
        assert_eq!(code, 0, "{text}");
        for iteration in [1, 2] {
            let (code, text) = typed(at, &format!("checkpoint export out --iteration {iteration} --out new"));
            assert!(code == 0 && text.contains(&format!("new/run_it00{iteration}_optimiser.star")), "{text}");
            assert_same(&files_of(at, "new", iteration), &files_of(at, "out", iteration));
        }
        // In its own place, byte for byte.
        let before = files_of(at, "out", 2);
        let (code, text) = typed(at, "checkpoint export out --out out");
        assert!(code == 73 && text.contains("--force"), "{text}");
        let (code, text) = typed(at, "checkpoint export out --out out --force");
        assert_eq!(code, 0, "{text}");
        assert_same(&before, &files_of(at, "out", 2));
    }
}

#[test]
fn an_export_needs_the_checkpoint_and_the_inputs() {
    let folder = stage();
    let at = folder.path();
    assert_eq!(typed(at, &format!("run {JOB} --out out")).0, 0);
    let (code, text) = typed(at, "checkpoint export out --out new --iteration 7");
    assert!(code == 66 && text.contains("there is: 1, 2"), "{text}");
    let (code, text) = typed(at, "checkpoint export set --out new");
    assert!(code == 66 && text.contains("plan.json"), "{text}");
    assert!(!at.join("new").exists());
    // From elsewhere to elsewhere: the files are mentioned by their whole names.
    let other = tempfile::tempdir().unwrap();
    let (code, text) = typed(other.path(), &format!("checkpoint export {} --out here", at.join("out").display()));
    assert_eq!(code, 0, "{text}");
    let optimiser = fs::read_to_string(other.path().join("here/run_it002_optimiser.star")).unwrap();
    let whole = other.path().canonicalize().unwrap().join("here/run_it002_data.star");
    assert!(optimiser.contains(whole.to_str().unwrap()), "{optimiser}");
    // The newest is damaged: the one before, and a word about it.
    fs::write(at.join("out/checkpoint/iter-002.h5"), b"x").unwrap();
    let (code, text) = typed(at, "checkpoint export out --out old");
    assert!(code == 0 && text.contains("warning: ") && text.contains("old/run_it001_optimiser.star"), "{text}");
    let table = fs::read_to_string(at.join("set/particles.star")).unwrap();
    fs::write(at.join("set/particles.star"), table.replacen("1.5", "1.6", 1) + "\n").unwrap();
    let (code, text) = typed(at, "checkpoint export out --out third");
    assert!(code == 65 && text.contains("the inputs are not those the run began with"), "{text}");
}

#[test]
fn show_tells_what_is_inside() {
    let folder = stage();
    let at = folder.path();
    assert_eq!(typed(at, &format!("run {JOB} --out out --keep-every 5")).0, 0);
    let inside = at.join("out/checkpoint");
    fs::write(inside.join("iter-003.part.000.1.h5"), b"part").unwrap();
    let (code, text) = typed(at, "checkpoint show out");
    assert_eq!(code, 0, "{text}");
    for said in [
        "out/checkpoint/iter-002.h5: iteration 2",
        "12 particles, 2 classes in 1 set, maps of 32 pixels of 7.0000 A, ",
        "relion-rs-checkpoint-2-known-backend",
        "single precision, blocks of 64 particles",
        "the last 2, and every 5th iteration",
        "particles set/particles.star: ",
        "f32 [32 x 32 x 32]",
        "iteration = 2",
        "iter-003.part.000.1.h5",
        "part of an iteration",
        "1 file of an interrupted iteration, 4 B",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains('\x1b') && text.lines().count() < 140, "{text}");

    let (code, text) = typed(at, "checkpoint show out/checkpoint/iter-001.h5 --json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, value["shown"]["iteration"].as_u64(), value["shown"]["classes"].as_u64()), (0, Some(1), Some(2)));
    assert_eq!(value["retention"]["keep_every"], 5);
    assert!(value["beside"].as_array().unwrap().iter().any(|file| file["role"] == "part"), "{text}");
    let fields = value["shown"]["fields"].as_array().unwrap();
    let map = fields.iter().find(|field| field["path"] == "/state/halves/000/classes/001/map").unwrap();
    assert_eq!((map["type"].as_str(), map["bytes"].as_u64()), (Some("f32"), Some(4 * 32 * 32 * 32)));

    fs::write(inside.join("iter-002.h5"), b"x").unwrap();
    let (code, text) = typed(at, "checkpoint show out");
    assert!(code == 0 && text.contains("iter-001.h5: iteration 1") && text.contains("warning: "), "{text}");
    let (code, text) = typed(at, "checkpoint show out/checkpoint/iter-002.h5");
    assert!(code == 65 && text.contains("damaged"), "{text}");
    let (code, text) = typed(at, "checkpoint show set");
    assert!(code == 66 && text.contains("there is no checkpoint"), "{text}");
}
