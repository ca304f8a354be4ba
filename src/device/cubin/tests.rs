use std::os::unix::fs::PermissionsExt;

use super::*;

const KEY: &str = "0123456789abcdef-sm_80-single";
const CUBIN: &[u8] = b"\x7fELF kernels \n with a line";

fn make() -> Result<(Vec<u8>, String)> {
    Ok((CUBIN.to_vec(), "NVRTC 12.9".to_string()))
}

fn never() -> Result<(Vec<u8>, String)> {
    panic!("compiled again")
}

fn cache_in(folder: &Path) -> Places {
    Places { installed: Vec::new(), cache: Some(folder.join("kernels")) }
}

#[test]
fn what_was_compiled_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let places = cache_in(folder.path());
    let made = places.find_or_make(KEY, 12, make).unwrap();
    assert_eq!((made.bytes.as_slice(), made.notes.len()), (CUBIN, 0));
    let found = places.find_or_make(KEY, 12, never).unwrap();
    assert_eq!((found.bytes.as_slice(), found.compiler.as_str()), (CUBIN, "NVRTC 12.9"));
    assert_eq!(found.from, path(&folder.path().join("kernels"), KEY).display().to_string());
    // An installed one comes before the cache.
    let installed = folder.path().join("installed");
    std::fs::create_dir(&installed).unwrap();
    write(&path(&installed, KEY), KEY, "NVRTC 12.2", b"other").unwrap();
    let both = Places { installed: vec![folder.path().join("nowhere"), installed], ..places };
    assert_eq!(both.find_or_make(KEY, 12, never).unwrap().bytes, b"other");
}

#[test]
fn a_damaged_or_foreign_file_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let places = cache_in(folder.path());
    places.find_or_make(KEY, 12, make).unwrap();
    let file = path(&folder.path().join("kernels"), KEY);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let other_key = KEY.replace("single", "double");
    let mut foreign = folder.path().join("foreign");
    write(&foreign, &other_key, "NVRTC 12.9", CUBIN).unwrap();
    let foreign = std::fs::read(std::mem::take(&mut foreign)).unwrap();
    for (content, problem) in [
        (whole[..whole.len() - 5].to_vec(), "it is damaged"),
        (flipped, "it is damaged"),
        (whole[..20].to_vec(), "it is no file of kernels"),
        (Vec::new(), "it is no file of kernels"),
        (vec![b'\n'; 400], "it is no file of kernels"),
        (foreign, "it is of other kernels"),
    ] {
        std::fs::write(&file, content).unwrap();
        let made = places.find_or_make(KEY, 12, make).unwrap();
        assert!(made.notes.len() == 1 && made.notes[0].contains(problem), "{problem}: {:?}", made.notes);
        assert_eq!(std::fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn kernels_of_a_newer_cuda_than_the_drivers_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let installed = folder.path().to_path_buf();
    write(&path(&installed, KEY), KEY, "NVRTC 13.0", b"newer").unwrap();
    let places = Places { installed: vec![installed], cache: None };
    assert_eq!(places.find_or_make(KEY, 13, never).unwrap().bytes, b"newer");
    let made = places.find_or_make(KEY, 12, make).unwrap();
    assert_eq!(made.bytes, CUBIN);
    assert!(made.notes[0].contains("by NVRTC 13.0 and the driver knows CUDA 12"), "{:?}", made.notes);
    assert!(made.notes[1].contains("compiled at every start"), "{:?}", made.notes);
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be: even root cannot write there.
    std::fs::write(folder.path().join("kernels"), "").unwrap();
    let made = cache_in(folder.path()).find_or_make(KEY, 12, make).unwrap();
    assert_eq!(made.bytes, CUBIN);
    assert!(made.notes.iter().any(|note| note.contains("compiled at every start")), "{:?}", made.notes);
}

#[test]
fn of_many_one_compiles() {
    let folder = tempfile::tempdir().unwrap();
    let places = cache_in(folder.path());
    let count = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let slow = || {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    make()
                };
                assert_eq!(places.find_or_make(KEY, 12, slow).unwrap().bytes, CUBIN);
            });
        }
    });
    assert_eq!(count.into_inner(), 1);
}

#[test]
fn a_file_is_for_all_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), KEY);
    write(&file, KEY, "NVRTC 12.9", CUBIN).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn keys_tell_kernels_apart() {
    let keys: std::collections::BTreeSet<String> =
        Arch::ahead().iter().flat_map(|arch| [key(arch, Precision::Single), key(arch, Precision::Double)]).collect();
    assert_eq!(keys.len(), 16);
}
