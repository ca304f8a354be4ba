//! The checkpoint: every bit comes back, and nothing damaged does.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use relion_rs::checkpoint;
use relion_rs::checkpoint::Identity;
use relion_rs::checkpoint::InputFile;
use relion_rs::checkpoint::Origin;
use relion_rs::checkpoint::Retention;
use relion_rs::dataset::Assignment;
use relion_rs::error::ExitCode;
use relion_rs::model::ClassModel;
use relion_rs::model::Convergence;
use relion_rs::model::GroupModel;
use relion_rs::model::HalfModel;
use relion_rs::model::PriorMode;
use relion_rs::model::SamplingState;
use relion_rs::model::Sizes;
use relion_rs::model::State;
use relion_rs::model::Volume;
use relion_rs::rotation::Euler;

/// A small generator (splitmix64): numbers that differ everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [-1, 1), all bits of the mantissa in use.
    fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn floats(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.float()).collect()
    }

    fn small(&mut self) -> u32 {
        (self.next() % 1000) as u32
    }
}

fn class(n: &mut Numbers, box_pixels: usize) -> ClassModel {
    let shells = box_pixels / 2 + 1;
    ClassModel {
        map: Volume {
            box_pixels,
            pixel_size_angstrom: 1.0 + n.float() / 3.0,
            data: (0..box_pixels.pow(3)).map(|_| n.float() as f32).collect(),
        },
        share: n.float(),
        directions: n.floats(192),
        tau2: n.floats(shells),
        sigma2: n.floats(shells),
        ssnr: n.floats(shells),
        fsc: n.floats(shells),
        coverage: n.floats(shells),
        orientability: Vec::new(),
        accuracy_degrees: n.float(),
        accuracy_angstrom: 999.0,
    }
}

fn half(n: &mut Numbers, box_pixels: usize, classes: usize, groups: usize) -> HalfModel {
    HalfModel {
        classes: (0..classes).map(|_| class(n, box_pixels)).collect(),
        noise: (0..2).map(|_| n.floats(box_pixels / 2 + 1)).collect(),
        groups: (0..groups)
            .map(|i| GroupModel {
                name: format!("mic rographs/é_{i}.mrc"),
                particle_count: n.small() as usize,
                scale: n.float(),
            })
            .collect(),
        average_norm: n.float(),
        sigma_offset_angstrom: n.float(),
        log_likelihood: n.float() * 1e9,
        average_max_probability: n.float(),
    }
}

fn state(halves: usize, classes: usize, particles: usize, box_pixels: usize) -> State {
    let n = &mut Numbers(7);
    let assignments = (0..particles)
        .map(|_| Assignment {
            euler: Euler { rot: n.float() * 180.0, tilt: n.float() * 180.0, psi: n.float() * 180.0 },
            offset_angstrom: [n.float(), n.float()],
            class: n.small(),
            norm_correction: n.float(),
            log_likelihood: n.float() * 1e6,
            max_probability: n.float(),
            significant_samples: n.small(),
        })
        .collect();
    State {
        iteration: 12,
        halves: (0..halves).map(|_| half(n, box_pixels, classes, 5)).collect(),
        assignments,
        half_of: (0..particles).map(|i| (i % 2) as u8 + 1).collect(),
        sampling: SamplingState {
            healpix_order: 4,
            psi_step_degrees: 3.75,
            offset_range_angstrom: n.float(),
            offset_step_angstrom: n.float(),
            oversampling: 1,
            perturbation: n.float(),
            perturbation_factor: 0.5,
            prior: PriorMode::Local { sigma_degrees: [n.float(), n.float(), n.float()] },
            original_healpix_order: 2,
            original_psi_step_degrees: n.float(),
            original_offset_range_angstrom: n.float(),
            original_offset_step_angstrom: n.float(),
        },
        sizes: Sizes {
            current_resolution_per_angstrom: n.float(),
            best_resolution_per_angstrom: n.float(),
            current_size: 28,
            coarse_size: 18,
            increment: 10,
            has_high_fsc_at_limit: true,
        },
        convergence: Convergence {
            iterations_without_resolution_gain: 1,
            iterations_without_large_changes: 2,
            change_degrees: n.float(),
            change_angstrom: n.float(),
            change_classes: n.float(),
            smallest_change_degrees: 999.0,
            smallest_change_angstrom: f64::INFINITY,
            smallest_change_classes: n.float(),
            accuracy_degrees: n.float(),
            accuracy_angstrom: n.float(),
            has_fine_enough_sampling: false,
            has_converged: true,
        },
    }
}

fn origin() -> Origin {
    Origin {
        identity: Identity {
            program_version: "0.1.0".into(),
            precision: "single".into(),
            block_particles: 64,
            instruction_set: "avx512".into(),
        },
        plan_digest: "00ff".into(),
        inputs: vec![InputFile { role: "particles".into(), path: "p.star".into(), bytes: 17, digest: "ab".into() }],
    }
}

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

fn saved() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(folder.path(), &state(2, 1, 10, 8), &origin()).unwrap();
    let bytes = fs::read(&path).unwrap();
    (folder, path, bytes)
}

#[test]
fn every_truncation_is_detected() {
    let (_folder, path, bytes) = saved();
    let steps = (0..60).map(|i| i * bytes.len() / 60).chain([1, 7, 8, 9, 96, bytes.len() - 1]);
    for length in steps {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = checkpoint::load(&path).unwrap_err();
        assert!(error.code == ExitCode::BadData && error.place.contains("iter-012.h5"), "{length}: {error}");
        assert!(error.problem.contains("damaged"), "{length}: {error}");
    }
}

#[test]
fn every_flipped_bit_is_detected() {
    let (_folder, path, mut bytes) = saved();
    let n = &mut Numbers(3);
    for i in 0..200 {
        let at = if i < 100 { i } else { (n.next() % bytes.len() as u64) as usize };
        let bit = 1 << (n.next() % 8);
        bytes[at] ^= bit;
        fs::write(&path, &bytes).unwrap();
        let error = checkpoint::load(&path).unwrap_err();
        assert!(error.problem.contains("damaged"), "byte {at}: {error}");
        bytes[at] ^= bit;
    }
    fs::write(&path, &bytes).unwrap();
    checkpoint::load(&path).unwrap();
}

#[test]
fn a_file_that_was_replaced_is_named_with_the_cause() {
    let (folder, path, bytes) = saved();
    let message = || checkpoint::load(&path).unwrap_err().to_string();

    fs::remove_file(folder.path().join("checkpoint/iter-012.h5.b3")).unwrap();
    assert!(message().contains("digest") && message().contains("missing"), "{}", message());
    for foreign in [&b""[..], b"not HDF5 at all, but with the right digest", &bytes[..bytes.len() / 2]] {
        fs::write(&path, foreign).unwrap();
        seal(&path);
        assert!(message().contains("iter-012.h5") && message().contains("HDF5"), "{}", message());
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(checkpoint::load(&path).unwrap_err().code, ExitCode::NoInput);
}

/// Edits a whole file with the library itself.
fn edited(edit: impl FnOnce(&hdf5::File)) -> String {
    let (folder, path, _) = saved();
    let file = hdf5::File::open_rw(&path).unwrap();
    edit(&file);
    file.close().unwrap();
    seal(&path);
    let error = checkpoint::load(&path).unwrap_err();
    assert_eq!(error.code, ExitCode::BadData);
    assert!(checkpoint::load_latest(folder.path()).is_err());
    error.to_string()
}

#[test]
fn a_newer_format_is_refused_with_a_sentence() {
    let message = edited(|file| {
        let newer: hdf5::types::VarLenUnicode = "relion-rs-checkpoint-2-tomograms".parse().unwrap();
        file.attr("format").unwrap().write_scalar(&newer).unwrap();
    });
    assert!(message.contains("relion-rs-checkpoint-2-tomograms") && message.contains("newer"), "{message}");
}

#[test]
fn anything_missing_or_misshapen_is_named() {
    let message = edited(|file| file.unlink("state/halves/001/classes/000/tau2").unwrap());
    assert!(message.contains("/state/halves/001/classes/000/tau2"), "{message}");
    let message = edited(|file| file.unlink("state/sizes").unwrap());
    assert!(message.contains("/state/sizes"), "{message}");
    let message = edited(|file| file.unlink("state/halves/000/classes").unwrap());
    assert!(message.contains("/state/halves/000/classes"), "{message}");
    let message = edited(|file| {
        let group = file.group("state/assignments").unwrap();
        group.unlink("psi").unwrap();
        group.new_dataset::<f64>().shape(9).create("psi").unwrap().write_raw(&[0.0; 9]).unwrap();
    });
    assert!(message.contains("/state/assignments/psi") && message.contains("9 rows"), "{message}");
    let message = edited(|file| {
        let group = file.group("state/halves/000/classes/000").unwrap();
        group.unlink("map").unwrap();
        group.new_dataset::<f32>().shape([2, 2, 3]).create("map").unwrap().write_raw(&[0f32; 12]).unwrap();
    });
    assert!(message.contains("not a cube"), "{message}");
    let message = edited(|file| {
        let group = file.group("state/halves/000/classes/000").unwrap();
        group.unlink("map").unwrap();
        // Declared and never written: a terabyte that is not there.
        group.new_dataset::<f32>().no_chunk().shape([6500, 6500, 6500]).create("map").unwrap();
    });
    assert!(message.contains("are declared"), "{message}");
    let message = edited(|file| {
        let group = file.group("state/assignments").unwrap();
        group.dataset("rot").unwrap().write_raw(&[f64::NAN; 10]).unwrap();
    });
    assert!(message.contains("/state/assignments/rot") && message.contains("NaN"), "{message}");
    let message = edited(|file| {
        let group = file.group("state").unwrap();
        group.unlink("half_of").unwrap();
        group.new_dataset::<u8>().shape(9).create("half_of").unwrap().write_raw(&[1u8; 9]).unwrap();
    });
    assert!(message.contains("9 half numbers for 10 particles"), "{message}");
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
    checkpoint::prune(folder.path(), &Retention { keep_last: 2, keep_every: Some(3) }).unwrap();
    let kept: Vec<u32> = checkpoint::list(folder.path()).unwrap().into_iter().map(|(i, _)| i).collect();
    assert_eq!(kept, [0, 3, 6, 7]);
    assert_eq!(names(&inside).len(), 9);
    checkpoint::prune(folder.path(), &Retention { keep_last: 0, keep_every: None }).unwrap();
    assert_eq!(names(&inside), ["iter-001.part.000.h5", "iter-007.h5", "iter-007.h5.b3"]);
}

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

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("checkpoint"), b"a file, not a folder").unwrap();
    let error = checkpoint::save(folder.path(), &state(1, 1, 3, 8), &origin()).unwrap_err();
    assert!(error.to_string().contains("checkpoint"), "{error}");
}

/// Needs a mounted file system with less than 3 MB: `mount -t tmpfs -o size=3m tmpfs DIR`, then
/// `TEST_SMALL_DISK=DIR cargo test --test suite -- --ignored full_disk`.
#[test]
#[ignore = "needs a small file system"]
fn a_full_disk_leaves_the_previous_file() {
    let folder = PathBuf::from(std::env::var("TEST_SMALL_DISK").expect("TEST_SMALL_DISK names the folder"));
    let mut wanted = state(2, 1, 10, 8);
    wanted.iteration = 1;
    let first = checkpoint::save(&folder, &wanted, &origin()).unwrap();
    let bytes = fs::read(&first).unwrap();
    let mut large = state(2, 1, 100_000, 8);
    large.iteration = 2;
    let error = checkpoint::save(&folder, &large, &origin()).unwrap_err();
    assert!(error.code == ExitCode::Io && error.to_string().contains("iter-002.h5"), "{error}");
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
