//! A small refinement that takes long enough to be interrupted, and what it leaves when nobody does.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use relion_rs::plan::RunDir;
use relion_rs::plan::progress;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::Record;
use sha2::Digest;
use sha2::Sha256;

use crate::sandbox::Sandbox;

/// Simulated; half a minute on one core, so that a quiet machine is not done before a job can be interrupted twice.
const PARTICLES: usize = 1000;
/// Inputs by the names that files of a run know them by, from its working folder.
const INPUTS: [&str; 2] = ["set", "ref.mrc"];
/// Small blocks and a part after each: there is always something to interrupt, and something to go on from.
pub const JOB: &str = "refine3d --particles set/particles.star --reference ref.mrc --out out --diameter 180 --ini-high 40 \
                       --symmetry O --healpix-order 1 --offset-range-pixels 2 --block-particles 16 --checkpoint-minutes 0.003 \
                       --threads 1 --blocks-per-batch 1";

/// One of the two programs: of this build, or of the folder RELION_RS_BIN.
pub fn program(name: &str) -> PathBuf {
    let built = match name {
        "relion-rs" => env!("CARGO_BIN_EXE_relion-rs"),
        _ => env!("CARGO_BIN_EXE_relion-rs-rank"),
    };
    std::env::var_os("RELION_RS_BIN").map_or_else(|| PathBuf::from(built), |folder| PathBuf::from(folder).join(name))
}

/// The data set and an uninterrupted run of it by `relion-rs run`, made once a process.
pub struct Data {
    folder: PathBuf,
    pub whole: BTreeMap<String, String>,
}

pub fn data() -> &'static Data {
    static DATA: OnceLock<Data> = OnceLock::new();
    DATA.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
        remove_old(&root);
        let folder = root.join(std::process::id().to_string());
        fs::create_dir_all(&folder).unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inputs/ref32.mrc");
        fs::copy(golden, folder.join("ref.mrc")).unwrap();
        let tell = |words: &str| {
            let output = launcher(&folder, words).output().unwrap();
            assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        };
        tell(&format!("simulate --map ref.mrc --count {PARTICLES} --snr 0.1 --out set"));
        let begin = Instant::now();
        tell(&format!("run {JOB}"));
        println!("an uninterrupted run: {:.1} s", begin.elapsed().as_secs_f64());
        let whole = digests(&folder.join("out"));
        assert!(whole.len() >= 10, "{:?}", whole.keys());
        Data { folder, whole }
    })
}

/// What processes left here that are gone.
fn remove_old(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().filter_map(Result::ok) {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// The launcher outside of any Slurm.
fn launcher(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(program("relion-rs"));
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| ["RELION_RS_", "SLURM"].iter().any(|b| name.to_string_lossy().starts_with(b))) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").args(words.split_whitespace());
    command
}

/// The files that are promised to be the same.
fn digests(run: &Path) -> BTreeMap<String, String> {
    let listed = fs::read_dir(run).unwrap().map(|entry| entry.unwrap());
    let outputs = listed.filter(|entry| entry.file_name().to_str().unwrap().starts_with("run_"));
    let digest = |path: &Path| {
        let bytes = Sha256::digest(fs::read(path).unwrap());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    outputs.map(|entry| (entry.file_name().into_string().unwrap(), digest(&entry.path()))).collect()
}

/// A working folder under a sandbox, with the inputs and a run folder.
pub struct Run {
    pub folder: PathBuf,
}

impl Run {
    /// With the inputs only.
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        let folder = sandbox.jobs().join(name);
        fs::create_dir(&folder).unwrap();
        for input in INPUTS {
            symlink(data().folder.join(input), folder.join(input)).unwrap();
        }
        Self { folder }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.join("out")
    }

    pub fn dir(&self) -> RunDir {
        RunDir::new(self.root())
    }

    pub fn records(&self) -> Vec<Record> {
        progress::read(&self.dir().progress()).unwrap_or_default()
    }

    /// Every start, with the particles that were done before in the iteration and those that are repeated.
    pub fn starts(&self) -> Vec<(usize, usize)> {
        let start = |record: Record| match record.event {
            Event::Started(started) => Some((started.resumed_particles, started.repeated_particles)),
            _ => None,
        };
        self.records().into_iter().filter_map(start).collect()
    }

    /// Why the engine stopped, each time that it did.
    pub fn causes(&self) -> Vec<String> {
        let cause = |record: Record| match record.event {
            Event::Stopping { cause, .. } => Some(cause),
            _ => None,
        };
        self.records().into_iter().filter_map(cause).collect()
    }

    pub fn assert_equals_whole(&self) {
        let (files, whole) = (digests(&self.root()), &data().whole);
        let names: BTreeSet<&String> = files.keys().chain(whole.keys()).collect();
        let differ: Vec<_> = names.into_iter().filter(|name| files.get(*name) != whole.get(*name)).collect();
        assert!(differ.is_empty(), "{differ:?} differ from an uninterrupted run in {}", self.root().display());
    }
}
