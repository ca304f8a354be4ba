//! A run whose parts are damaged begins the iteration anew, says so, and ends with the same bytes.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use relion_rs::error::ExitCode;
use relion_rs::plan::progress::Event;

use super::PARTICLES;
use super::place::Scene;
use super::place::Whole;
use super::place::warnings;
use super::start_of;

const JOB: &str = "class3d --classes 2 --healpix-order 1 --iterations 2";

/// What is done to the files of an iteration that was stopped.
type Spoil = fn(&Path);

/// Damage, and a word of the warning about it.
const DAMAGES: [(&str, Spoil); 6] = [
    ("damaged", |folder| flip(&only(folder, ".h5"))),
    ("damaged", |folder| cut(&only(folder, ".h5"))),
    ("cannot read", |folder| fs::remove_file(only(folder, ".h5")).unwrap()),
    ("damaged", |folder| flip(&only(folder, ".json"))),
    ("damaged", |folder| fs::write(only(folder, ".json"), "").unwrap()),
    ("another checkpoint", |folder| {
        // An index of ours, about another state.
        let text = fs::read_to_string(only(folder, ".json")).unwrap();
        let line = text.lines().next().unwrap().replace("\"parent\":\"", "\"parent\":\"0");
        let digest = blake3::hash(line.as_bytes()).to_hex();
        fs::write(only(folder, ".json"), format!("{line}\n{digest}\n")).unwrap();
    }),
];

/// The part or the index of parts in a checkpoint folder.
fn only(folder: &Path, end: &str) -> PathBuf {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: Vec<String> = names.filter(|name| name.contains(".part") && name.ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    folder.join(&found[0])
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
}

#[test]
fn damaged_parts_cost_a_warning_and_the_work_in_them() {
    let mut scene = Scene::new(JOB, PARTICLES);
    let whole = Whole::of(&mut scene);
    let mut done = 0;
    for (word, spoil) in DAMAGES {
        let place = scene.place();
        let mut running = place.start(0);
        place.wait_for("a part", |records| {
            let is_part = |event: &Event| matches!(event, Event::Part { iteration, .. } if *iteration > 1);
            records.iter().any(|record| is_part(&record.event))
        });
        running.send(Signal::SIGTERM);
        if running.code() == 0 {
            // The end came first.
            continue;
        }
        place.wait_for_silence();
        let parts = fs::read_dir(place.run_dir().checkpoint()).unwrap();
        if parts.filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().contains(".part")).count() == 0 {
            // It stopped between two iterations.
            continue;
        }
        assert_eq!(running.code(), ExitCode::Checkpointed as i32, "{}", running.told());
        let before = place.records().len();
        spoil(&place.run_dir().checkpoint());
        let mut again = place.start(1);
        assert_eq!(again.code(), 0, "{}", again.told());
        let records = &place.records()[before..];
        let new: Vec<String> = warnings(records).into_iter().filter(|text| !whole.warnings.contains(text)).collect();
        assert!(new.len() == 1 && new[0].contains(word) && new[0].contains("begins anew"), "{word}: {new:?}");
        assert_eq!(start_of(records).unwrap().resumed_particles, 0, "{word}");
        place.assert_equals(&whole, word);
        done += 1;
    }
    assert!(done >= 3, "only {done} runs were stopped within an iteration");
}
