//! Disks that are full, read-only or fail at any write: the run goes on or ends with the right code, what was on disk
//! before is still whole, and the same command goes on to the same bits.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use relion_rs::error::ExitCode;
use tempfile::TempDir;

use crate::support::golden;
use crate::support::small_disk;

/// Two iterations of two half sets, with a checkpoint after every block.
const JOB: &str = "run refine3d --particles ../set/particles.star --reference ../ref.mrc --diameter 180 --iterations 2 \
                   --threads 1 --healpix-order 1 --offset-range-pixels 2 --ini-high 40 --block-particles 6 \
                   --blocks-per-batch 1 --checkpoint-minutes 0.00001 --out out";

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EROFS: i32 = 30;

/// Particles, a map, the library that fails, and what a run on a good disk writes.
struct Scene {
    folder: TempDir,
    wanted: BTreeMap<String, Vec<u8>>,
    /// Calls of the engine that write.
    calls: usize,
}

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug)]
struct Fault {
    from: usize,
    /// 0: all from there on.
    count: usize,
    errno: i32,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/faults/failing_disk.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(at("failing_disk.so")).arg(source);
    assert!(compiler.args(["-ldl", "-lpthread"]).status().unwrap().success(), "cc");
    fs::copy(golden("inputs/ref32.mrc"), at("ref.mrc")).unwrap();
    let simulate = "simulate --map ref.mrc --count 24 --snr 0.5 --micrographs 3 --out set";
    assert!(launcher(folder.path()).args(simulate.split(' ')).output().unwrap().status.success());
    fs::create_dir(at("good")).unwrap();
    let log = at("calls");
    let output = failing(folder.path(), "good", Fault { from: 0, count: 0, errno: 0 })
        .env("FAILING_LOG", &log)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(log).unwrap();
    let calls = log.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).max().unwrap();
    assert!(calls > 200, "only {calls} calls: the library was not loaded into the engine");
    Scene { wanted: results(&at("good/out")), folder, calls }
});

fn launcher(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relion-rs"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command
}

/// The job in a working folder, on a disk with a fault.
fn failing(scene: &Path, name: &str, fault: Fault) -> Command {
    let mut command = launcher(&scene.join(name));
    command.args(JOB.split_whitespace()).env("LD_PRELOAD", scene.join("failing_disk.so"));
    command.env("FAILING_UNDER", format!("/{name}/out/")).env("FAILING_FROM", fault.from.to_string());
    command.env("FAILING_COUNT", fault.count.to_string()).env("FAILING_ERRNO", fault.errno.to_string());
    command
}

/// RELION's files of a run folder.
fn results(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(out) else { return BTreeMap::new() };
    let files = entries.map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.filter(|p| name(p).starts_with("run_")).map(|p| (name(&p), fs::read(&p).unwrap())).collect()
}

/// Every checkpoint that is there has the bytes that were recorded for it.
fn assert_whole(out: &Path, what: &str) {
    let Ok(entries) = fs::read_dir(out.join("checkpoint")) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("iter-") && name.ends_with(".h5") && !name.contains(".part.") {
            let recorded = fs::read_to_string(format!("{}.b3", path.display())).unwrap_or_default();
            let found = blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
            assert_eq!(recorded.trim(), found, "{what}: {name}");
        }
        if name.ends_with(".parts.json") {
            for part in parts(&path) {
                assert!(path.with_file_name(&part).is_file(), "{what}: {name} names {part}, which is not there");
            }
        }
    }
}

fn parts(index: &Path) -> Vec<String> {
    let text = fs::read_to_string(index).unwrap();
    let json: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    json["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One run on a disk with a fault, and then the same command on a good one. Returns the first one's code.
fn endure(scene: &Scene, fault: Fault) -> i32 {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("run{}", NUMBER.fetch_add(1, Relaxed));
    let folder = scene.folder.path().join(&name);
    let out = folder.join("out");
    fs::create_dir(&folder).unwrap();
    let first = failing(scene.folder.path(), &name, fault).output().unwrap();
    let code = first.status.code();
    let right = [ExitCode::Done, ExitCode::Io, ExitCode::CannotCreate].map(|code| Some(i32::from(code as u8)));
    assert!(right.contains(&code), "{fault:?}: {code:?}: {}", text(&first));
    if code != right[0] {
        assert!(text(&first).contains("fix: "), "{fault:?}: {}", text(&first));
    }
    assert_whole(&out, &format!("{fault:?}"));
    for (name, bytes) in results(&out) {
        assert!(scene.wanted.get(&name) == Some(&bytes), "{fault:?}: {name} is not what it should be");
    }
    let second = launcher(&folder).args(JOB.split_whitespace()).output().unwrap();
    assert!(second.status.success(), "{fault:?}: {}", text(&second));
    let found = results(&out);
    assert!(found.keys().eq(scene.wanted.keys()), "{fault:?}: {:?}", found.keys());
    for (name, bytes) in found {
        assert!(scene.wanted[&name] == bytes, "{fault:?}: {name} differs after going on");
    }
    // In the run folder itself a young temporary file may be another program's.
    let names = fs::read_dir(out.join("checkpoint")).unwrap().map(|entry| entry.unwrap().file_name());
    let hidden: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{fault:?}: left behind: {hidden:?}");
    fs::remove_dir_all(folder).unwrap();
    code.unwrap()
}

/// All of these faults, a few at a time (they wait for the disk more than they compute). How often each code came.
fn endure_all(faults: &[Fault]) -> BTreeMap<i32, usize> {
    let scene = &*SCENE;
    let (next, codes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Relaxed)) {
                    let code = endure(scene, *fault);
                    *codes.lock().unwrap().entry(code).or_default() += 1;
                }
            });
        }
    });
    codes.into_inner().unwrap()
}

/// A full disk for good, and an error that comes once, at the calls with these numbers.
fn faults(calls: impl Iterator<Item = usize>) -> Vec<Fault> {
    let both = |from| [Fault { from, count: 0, errno: ENOSPC }, Fault { from, count: 1, errno: EIO }];
    calls.flat_map(both).collect()
}

#[test]
fn a_disk_may_fail_at_some_writes() {
    let codes = endure_all(&faults((1..=SCENE.calls).step_by(SCENE.calls / 8)));
    assert!(codes.len() >= 2, "some runs end, some go on: {codes:?}");
}

#[test]
#[ignore = "minutes: every write of a run fails once, and for good"]
fn a_disk_may_fail_at_every_write() {
    let codes = endure_all(&faults(1..=SCENE.calls));
    println!("{} calls; runs by exit code: {codes:?}", SCENE.calls);
    assert!(codes.len() >= 2, "some runs end, some go on: {codes:?}");
}

#[test]
fn a_folder_that_became_read_only_is_refused_and_untouched() {
    let scene = &*SCENE;
    let folder = scene.folder.path().join("readonly");
    fs::create_dir(&folder).unwrap();
    let words = format!("{JOB} --max-hours 0.0000001");
    let stopped = launcher(&folder).args(words.split_whitespace()).output().unwrap();
    assert_eq!(stopped.status.code(), Some(ExitCode::Checkpointed as i32), "{}", text(&stopped));
    let before = results(&folder.join("out"));
    let output = failing(scene.folder.path(), "readonly", Fault { from: 1, count: 0, errno: EROFS }).output().unwrap();
    assert_eq!(output.status.code(), Some(ExitCode::CannotCreate as i32), "{}", text(&output));
    assert!(text(&output).contains("fix: ") && text(&output).contains("out"), "{}", text(&output));
    assert!(results(&folder.join("out")) == before);
    assert!(launcher(&folder).args(JOB.split_whitespace()).output().unwrap().status.success());
    assert!(results(&folder.join("out")) == scene.wanted);
}

/// A real full disk: TEST_SMALL_DISK is a folder on a file system of a few MiB.
#[test]
#[ignore = "needs TEST_SMALL_DISK, a folder on a file system of a few MiB"]
fn a_run_endures_a_full_disk() {
    let (disk, _alone) = small_disk();
    let scene = &*SCENE;
    let mut codes = BTreeMap::new();
    for room in [0, 20, 100, 300, 500, 700, 900, 1200, 1600] {
        let folder = disk.join("small");
        fs::create_dir_all(&folder).unwrap();
        let job = JOB.replace("../set", &format!("{}/set", scene.folder.path().display()));
        let job = job.replace("../ref", &format!("{}/ref", scene.folder.path().display()));
        // A file that takes all but `room` KiB.
        let filler = disk.join("filler");
        let mut size = 64 << 20;
        let status = nix::sys::statvfs::statvfs(&disk).unwrap();
        size = (status.blocks_available() * status.fragment_size()).min(size).saturating_sub(room << 10);
        fs::write(&filler, vec![1; size as usize]).unwrap();
        let first = launcher(&folder).args(job.split_whitespace()).output().unwrap();
        let right = [ExitCode::Done, ExitCode::Io, ExitCode::CannotCreate].map(|code| Some(i32::from(code as u8)));
        assert!(right.contains(&first.status.code()), "{room} KiB: {}", text(&first));
        *codes.entry(first.status.code().unwrap()).or_insert(0) += 1;
        assert_whole(&folder.join("out"), &format!("{room} KiB"));
        fs::remove_file(&filler).unwrap();
        let second = launcher(&folder).args(job.split_whitespace()).output().unwrap();
        assert!(second.status.success(), "{room} KiB: {}", text(&second));
        let found = results(&folder.join("out"));
        let maps = |all: &BTreeMap<String, Vec<u8>>| {
            all.iter()
                .filter(|(name, _)| name.ends_with(".mrc"))
                .map(|(n, b)| (n.clone(), b.clone()))
                .collect::<Vec<_>>()
        };
        assert!(found.keys().eq(scene.wanted.keys()) && maps(&found) == maps(&scene.wanted), "{room} KiB");
        fs::remove_dir_all(&folder).unwrap();
    }
    assert!(codes.len() >= 2, "some runs end, some go on: {codes:?}");
}
