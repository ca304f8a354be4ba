//! Damage: whatever happens to the bytes is noticed and named, and the checkpoint before is used.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use relion_rs::checkpoint;
use relion_rs::error::ExitCode;
use tempfile::TempDir;

use super::seal;
use super::state::Numbers;
use super::state::origin;
use super::state::state;

fn saved() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint::save(folder.path(), &state(2, 1, 10, 8), &origin()).unwrap();
    let bytes = fs::read(&path).unwrap();
    (folder, path, bytes)
}

/// A run folder with iterations 11 and 12, and the paths of the newer file and of its digest.
fn run_of_two() -> (TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let mut wanted = state(2, 1, 10, 8);
    wanted.iteration = 11;
    checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    wanted.iteration = 12;
    let file = checkpoint::save(folder.path(), &wanted, &origin()).unwrap();
    let digest = PathBuf::from(format!("{}.b3", file.display()));
    (folder, [file, digest])
}

/// The newer file is refused by name for this cause, and the older one is taken.
fn previous_is_used(folder: &Path, cause: &str, what: &str) {
    let latest = checkpoint::load_latest(folder).unwrap().expect(what);
    assert_eq!(latest.checkpoint.state.iteration, 11, "{what}");
    let [warning] = &latest.warnings[..] else { panic!("{what}: {:?}", latest.warnings) };
    assert!(warning.contains("iter-012.h5") && warning.contains(cause), "{what}: {warning}");
    let error = checkpoint::load(&folder.join("checkpoint/iter-012.h5")).unwrap_err();
    assert!(error.code == ExitCode::BadData && error.place.contains("iter-012.h5"), "{what}: {error}");
}

#[test]
fn every_truncation_is_detected() {
    let (folder, [file, digest]) = run_of_two();
    let n = &mut Numbers(5);
    for path in [&file, &digest] {
        let bytes = fs::read(path).unwrap();
        // The line break at the end of a digest says nothing.
        let longest = if path == &digest { 63 } else { bytes.len() as u64 - 1 };
        let random: Vec<u64> = (0..100).map(|_| n.next() % longest).collect();
        for length in random.into_iter().chain([0, 1, 7, 8, 9, 48, longest]) {
            fs::write(path, &bytes[..length as usize]).unwrap();
            previous_is_used(folder.path(), "damaged", &format!("{} cut to {length}", path.display()));
        }
        fs::write(path, &bytes).unwrap();
    }
    assert_eq!(checkpoint::load_latest(folder.path()).unwrap().unwrap().checkpoint.state.iteration, 12);
}

#[test]
fn every_flipped_bit_is_detected() {
    let (folder, paths) = run_of_two();
    let n = &mut Numbers(3);
    let mut contents = paths.each_ref().map(|path| fs::read(path).unwrap());
    for i in 0..1000 {
        // One in five in the digest; among the others the first bytes of the file, one by one.
        let which = usize::from(i % 5 == 0);
        let (path, bytes) = (&paths[which], &mut contents[which]);
        let at = if which == 0 && i < 250 { i } else { (n.next() % bytes.len() as u64) as usize };
        let bit = 1 << (n.next() % 8);
        bytes[at] ^= bit;
        fs::write(path, &*bytes).unwrap();
        previous_is_used(folder.path(), "damaged", &format!("{} byte {at} bit {bit}", path.display()));
        bytes[at] ^= bit;
        fs::write(path, &*bytes).unwrap();
    }
    assert_eq!(checkpoint::load_latest(folder.path()).unwrap().unwrap().checkpoint.state.iteration, 12);
}

#[test]
fn a_file_or_digest_that_is_gone_or_foreign_is_passed_over() {
    let (folder, [file, digest]) = run_of_two();
    let [whole, sidecar] = [&file, &digest].map(|path| fs::read(path).unwrap());
    fs::remove_file(&digest).unwrap();
    previous_is_used(folder.path(), "is missing", "no digest");
    for foreign in [&b""[..], &b"\n"[..], &sidecar[..64].to_ascii_uppercase(), &sidecar.repeat(2)] {
        fs::write(&digest, foreign).unwrap();
        previous_is_used(folder.path(), "no BLAKE3 digest", "a foreign digest");
    }
    fs::write(&digest, blake3::hash(b"").to_hex().as_bytes()).unwrap();
    previous_is_used(folder.path(), "damaged", "the digest of another file");
    // With the right digest of wrong bytes.
    let mut magic = whole.clone();
    magic[..8].copy_from_slice(b"\x89HDF\r\n\x1a\r");
    for foreign in [&b""[..], &magic, &whole[..whole.len() / 2]] {
        fs::write(&file, foreign).unwrap();
        seal(&file);
        previous_is_used(folder.path(), "HDF5", "no HDF5 file");
    }
    // The newest one gone altogether is no damage.
    fs::remove_file(&file).unwrap();
    let latest = checkpoint::load_latest(folder.path()).unwrap().unwrap();
    assert_eq!((latest.checkpoint.state.iteration, latest.warnings.len()), (11, 0));
}

/// With digests that were made to fit, libhdf5 itself meets the flipped bits: an error, or the same kind of state. Left
/// to the long suite: no file comes so far in practice, and another libhdf5 may do worse than this one.
#[test]
#[ignore = "a matter of libhdf5"]
fn the_library_survives_flipped_bits_behind_a_right_digest() {
    let (_folder, path, mut bytes) = saved();
    let n = &mut Numbers(11);
    for _ in 0..200 {
        let at = (n.next() % bytes.len() as u64) as usize;
        let bit = 1 << (n.next() % 8);
        bytes[at] ^= bit;
        fs::write(&path, &bytes).unwrap();
        seal(&path);
        if let Err(error) = checkpoint::load(&path) {
            assert!(error.code == ExitCode::BadData && error.place.contains("iter-012.h5"), "byte {at}: {error}");
        }
        bytes[at] ^= bit;
    }
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
    let (folder, [path, _]) = run_of_two();
    let file = hdf5::File::open_rw(&path).unwrap();
    edit(&file);
    file.close().unwrap();
    seal(&path);
    let error = checkpoint::load(&path).unwrap_err();
    assert_eq!(error.code, ExitCode::BadData);
    match checkpoint::load_latest(folder.path()) {
        // Of a newer program: what it did is not undone by an older one.
        Err(refused) => {
            assert!(refused.problem.contains("newer"), "{refused}");
            // Unless that is wanted.
            let before = checkpoint::load_latest_of_ours(folder.path()).unwrap().unwrap();
            assert_eq!(before.checkpoint.state.iteration, 11);
            assert!(before.warnings[0].contains("newer"), "{:?}", before.warnings);
        }
        Ok(_) => previous_is_used(folder.path(), "", &error.problem),
    }
    error.to_string()
}

#[test]
fn a_newer_format_is_refused_with_a_sentence() {
    let message = edited(|file| {
        let newer: hdf5::types::VarLenUnicode = "relion-rs-checkpoint-3-tomograms".parse().unwrap();
        file.attr("format").unwrap().write_scalar(&newer).unwrap();
    });
    assert!(message.contains("relion-rs-checkpoint-3-tomograms") && message.contains("newer"), "{message}");
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
