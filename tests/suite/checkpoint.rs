//! The checkpoint: every bit comes back, and nothing damaged does.

mod damage;
mod parts;
mod state;
mod verbs;
mod versions;

use std::fs;
use std::path::Path;
use std::time::Instant;

use relion_rs::checkpoint;
use relion_rs::checkpoint::Retention;
use relion_rs::error::ExitCode;
use relion_rs::model::PriorMode;
use relion_rs::model::State;

use crate::support::small_disk;
use state::origin;
use state::state;

/// Gives a file that was edited on purpose the digest of its new bytes, so that what lies behind the digest is tested.
fn seal(path: &Path) {
    let digest = blake3::hash(&fs::read(path).unwrap()).to_hex().to_string();
    fs::write(format!("{}.b3", path.display()), digest).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Equality that tells 0 from -0, by way of the file: equal bytes are equal bits of every field.
fn bytes_of(state: &State) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    fs::read(checkpoint::save(folder.path(), state, &origin()).unwrap()).unwrap()
}

#[test]
fn every_bit_comes_back() {
    for (halves, classes, particles) in [(1, 1, 0), (1, 2, 7), (2, 1, 70_001), (2, 2, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = state(halves, classes, particles, 8);
        let map = &mut wanted.halves[0].classes[0].map.data;
        (map[0], map[1], map[2], map[3]) = (-0.0, f32::MIN_POSITIVE / 2.0, f32::MAX, f32::EPSILON);
        wanted.halves[0].noise[1][0] = -0.0;
        if classes == 2 {
            wanted.sampling.prior = PriorMode::Global;
            wanted.halves[0].groups.clear();
            wanted.halves[0].classes[1].orientability = vec![0.1, 0.2];
        }
        let path = checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
        assert_eq!(path, folder.path().join("checkpoint/iter-012.h5"));
        let loaded = checkpoint::load(&path).unwrap();
        assert_eq!(loaded.state, wanted);
        assert_eq!(loaded.origin, origin());
        assert_eq!(bytes_of(&loaded.state), fs::read(&path).unwrap(), "{halves} {classes} {particles}");
    }
}

#[test]
fn equal_states_give_equal_bytes_at_any_time() {
    let wanted = state(2, 1, 10, 8);
    let first = bytes_of(&wanted);
    // The library would store times in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(first == bytes_of(&wanted));
    let mut other = wanted.clone();
    other.sizes.current_resolution_per_angstrom =
        f64::from_bits(other.sizes.current_resolution_per_angstrom.to_bits() ^ 1);
    assert!(first != bytes_of(&other));
}

#[test]
fn what_is_not_a_number_is_refused_and_named() {
    type Spoil = fn(&mut State);
    let spoil: [(&str, Spoil); 4] = [
        ("/state/halves/001/classes/000/map", |s| s.halves[1].classes[0].map.data[5] = f32::NAN),
        ("/state/assignments/max_probability", |s| s.assignments[3].max_probability = f64::NAN),
        ("/state/halves/000/noise/001", |s| s.halves[0].noise[1][2] = f64::NAN),
        ("/state/convergence/change_degrees", |s| s.convergence.change_degrees = f64::NAN),
    ];
    for (field, spoil) in spoil {
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = state(2, 1, 10, 8);
        checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
        let before = fs::read(folder.path().join("checkpoint/iter-012.h5")).unwrap();
        spoil(&mut wanted);
        let error = checkpoint::save(folder.path(), &wanted, &origin()).unwrap_err();
        assert!(error.to_string().contains(field) && error.to_string().contains("NaN"), "{error}");
        // What was there stays and is still whole.
        assert_eq!(names(&folder.path().join("checkpoint")), ["iter-012.h5", "iter-012.h5.b3"]);
        let path = folder.path().join("checkpoint/iter-012.h5");
        assert!(fs::read(&path).unwrap() == before);
        checkpoint::load(&path).unwrap();
    }
}

#[test]
fn the_newest_whole_file_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(checkpoint::load_latest(folder.path()).unwrap(), None);
    let mut wanted = state(1, 1, 3, 8);
    for iteration in [1, 2, 3, 11] {
        wanted.iteration = iteration;
        checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    }
    let file = |iteration: u32| folder.path().join(format!("checkpoint/iter-{iteration:03}.h5"));
    fs::write(folder.path().join("checkpoint/iter-012.part.000.h5"), b"part of an iteration").unwrap();
    fs::write(folder.path().join("checkpoint/.iter-012.h5.tmp"), b"left by a killed process").unwrap();

    let latest = checkpoint::load_latest(folder.path()).unwrap().unwrap();
    assert_eq!((latest.checkpoint.state.iteration, latest.path, latest.warnings.len()), (11, file(11), 0));

    fs::write(file(11), b"").unwrap();
    fs::copy(file(1), file(3)).unwrap();
    seal(&file(3));
    let latest = checkpoint::load_latest(folder.path()).unwrap().unwrap();
    assert_eq!(latest.checkpoint.state.iteration, 2);
    assert_eq!(latest.warnings.len(), 2);
    assert!(
        latest.warnings[0].contains("iter-011.h5") && latest.warnings[0].contains("damaged"),
        "{:?}",
        latest.warnings
    );
    assert!(
        latest.warnings[1].contains("iter-003.h5") && latest.warnings[1].contains("iteration 1"),
        "{:?}",
        latest.warnings
    );

    for iteration in [1, 2] {
        fs::write(file(iteration), b"x").unwrap();
    }
    let error = checkpoint::load_latest(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no checkpoint can be used") && error.contains("iter-001.h5"), "{error}");
}

#[test]
fn old_files_go_and_the_last_ones_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = state(1, 1, 3, 8);
    let inside = folder.path().join("checkpoint");
    for iteration in 0..=7 {
        wanted.iteration = iteration;
        checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    }
    fs::write(inside.join("iter-001.part.000.h5"), b"not a finished iteration").unwrap();
    checkpoint::prune(folder.path(), 7, &Retention { keep_last: 2, keep_every: Some(3) }).unwrap();
    let kept: Vec<u32> = checkpoint::list(folder.path()).unwrap().into_iter().map(|(i, _)| i).collect();
    assert_eq!(kept, [0, 3, 6, 7]);
    assert_eq!(names(&inside).len(), 9);
    checkpoint::prune(folder.path(), 7, &Retention { keep_last: 0, keep_every: None }).unwrap();
    assert_eq!(names(&inside), ["iter-001.part.000.h5", "iter-007.h5", "iter-007.h5.b3"]);
}

#[test]
fn what_could_not_be_used_does_not_count_as_kept() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("checkpoint");
    // No folder yet.
    checkpoint::prune(folder.path(), 1, &Retention::default()).unwrap();
    let mut wanted = state(1, 1, 3, 8);
    for iteration in [9, 10, 11, 12] {
        wanted.iteration = iteration;
        checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    }
    for damaged in ["iter-011.h5", "iter-012.h5"] {
        fs::write(inside.join(damaged), b"damaged").unwrap();
    }
    assert_eq!(checkpoint::load_latest(folder.path()).unwrap().unwrap().checkpoint.state.iteration, 10);
    // The run goes on from 10: its 11 replaces the damaged one, and 12 is none that this run kept.
    wanted.iteration = 11;
    checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    checkpoint::prune(folder.path(), 11, &Retention { keep_last: 1, keep_every: Some(0) }).unwrap();
    assert_eq!(names(&inside), ["iter-011.h5", "iter-011.h5.b3", "iter-012.h5", "iter-012.h5.b3"]);
    let latest = checkpoint::load_latest(folder.path()).unwrap().unwrap();
    assert_eq!((latest.checkpoint.state.iteration, latest.warnings.len()), (11, 1));
    // More than there is.
    checkpoint::prune(folder.path(), 12, &Retention { keep_last: u32::MAX, keep_every: None }).unwrap();
    assert_eq!(names(&inside).len(), 4);
}

#[test]
fn leftovers_of_a_killed_process_are_swept_and_whole_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(folder.path(), &state(1, 1, 3, 8), &origin()).unwrap();
    let left = path.with_file_name(".iter-013.h5.tmp");
    fs::write(&left, b"half a checkpoint").unwrap();
    assert_eq!(checkpoint::sweep(folder.path()).unwrap(), [left]);
    assert_eq!(names(&folder.path().join("checkpoint")), ["iter-012.h5", "iter-012.h5.b3"]);
    checkpoint::load(&path).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("checkpoint"), b"a file, not a folder").unwrap();
    let error = checkpoint::save(folder.path(), &state(1, 1, 3, 8), &origin()).unwrap_err();
    assert!(error.to_string().contains("checkpoint"), "{error}");
}

/// `mount -t tmpfs -o size=12m tmpfs DIR`, then `TEST_SMALL_DISK=DIR cargo test --test suite -- --ignored full_disk`.
#[test]
#[ignore = "needs a small file system"]
fn a_full_disk_leaves_the_previous_file() {
    let (folder, _alone) = small_disk();
    let mut wanted = state(2, 1, 10, 8);
    wanted.iteration = 1;
    let first = checkpoint::save(&folder, &wanted, &origin()).unwrap();
    let bytes = fs::read(&first).unwrap();
    let mut large = state(2, 1, 400_000, 8);
    large.iteration = 2;
    let error = checkpoint::save(&folder, &large, &origin()).unwrap_err();
    assert!(error.code == ExitCode::Io && error.to_string().contains("iter-002.h5"), "{error}");
    assert!(error.problem.contains("bytes (") && error.problem.contains(" are needed, "), "{error}");
    assert!(error.fix.contains("Free some space"), "{error}");
    assert_eq!(names(&folder.join("checkpoint")), ["iter-001.h5", "iter-001.h5.b3"]);
    assert!(fs::read(&first).unwrap() == bytes);
    assert_eq!(checkpoint::load_latest(&folder).unwrap().unwrap().checkpoint.state, wanted);
}

/// A million particles and two maps of box 256.
#[test]
#[ignore = "long: writes 230 MB"]
fn a_million_particles_are_saved_and_loaded_in_seconds() {
    const LIMIT_SECONDS: f64 = 3.0;
    let wanted = state(2, 1, 1_000_000, 256);
    let folder = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let path = checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    let saving = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let loaded = checkpoint::load(&path).unwrap();
    let loading = started.elapsed().as_secs_f64();
    assert!(loaded.state == wanted);
    println!("{} bytes: saved in {saving:.2} s, loaded in {loading:.2} s", fs::metadata(&path).unwrap().len());
    assert!(saving <= LIMIT_SECONDS && loading <= LIMIT_SECONDS, "saved in {saving} s, loaded in {loading} s");
}
