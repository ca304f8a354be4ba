//! Data, run folders and processes for runs that are interrupted.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use relion_rs::plan::RunDir;
use relion_rs::plan::progress;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::Record;
use sha2::Digest;
use sha2::Sha256;
use tempfile::TempDir;

use crate::support::golden;

/// Blocks of 16, a batch of one of them, and a part every 0.18 s: there is always something to interrupt.
pub const COMMON: &str = "--particles set/particles.star --reference ref.mrc --out out --diameter 180 --ini-high 40 \
                      --offset-range-pixels 2 --block-particles 16 --checkpoint-minutes 0.003";
/// A run may go on with any of these.
pub const VARIANTS: [&str; 3] =
    ["--threads 1 --blocks-per-batch 1", "--threads 2 --blocks-per-batch 1", "--threads 2 --blocks-per-batch 3"];
/// Nothing here takes so long.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const PAUSE: Duration = Duration::from_micros(500);

/// Random numbers that a seed makes again.
pub struct Random(u64);

impl Random {
    /// From CONTINUATION_SEED, else from the clock; told, so that a failure can be looked for again.
    pub fn seeded(name: &str) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("CONTINUATION_SEED").map_or_else(|_| clock(), |text| text.parse().unwrap());
        println!("{name}: CONTINUATION_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A data set, in a folder for runs.
pub struct Scene {
    pub folder: TempDir,
    pub job: String,
    runs: usize,
}

impl Scene {
    pub fn new(job: &str, particles: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(golden("inputs/ref32.mrc"), folder.path().join("ref.mrc")).unwrap();
        let words = format!("simulate --map ref.mrc --count {particles} --snr 0.1 --out set");
        let made = command(folder.path(), &words, &[]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { folder, job: format!("{job} {COMMON}"), runs: 0 }
    }

    /// A working folder with the inputs under the same names: files name each other from there.
    pub fn place(&mut self) -> Place {
        self.runs += 1;
        let folder = self.folder.path().join(format!("place{}", self.runs));
        fs::create_dir(&folder).unwrap();
        for input in ["set", "ref.mrc"] {
            symlink(self.folder.path().join(input), folder.join(input)).unwrap();
        }
        Place { folder, job: self.job.clone() }
    }
}

/// The folder of one run.
pub struct Place {
    pub folder: PathBuf,
    pub job: String,
}

impl Place {
    pub fn run_dir(&self) -> RunDir {
        RunDir::new(self.folder.join("out"))
    }

    pub fn start(&self, variant: usize) -> Running {
        self.start_with(&format!("run {} {}", self.job, VARIANTS[variant]), &[])
    }

    pub fn start_with(&self, words: &str, environment: &[(&str, String)]) -> Running {
        let told = self.folder.join("told.txt");
        let mut command = command(&self.folder, words, environment);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&told).unwrap());
        Running { launcher: command.spawn().unwrap(), begin: Instant::now(), told }
    }

    pub fn records(&self) -> Vec<Record> {
        progress::read(&self.run_dir().progress()).unwrap_or_default()
    }

    /// The files that are promised to be the same, with their digests.
    pub fn files(&self) -> BTreeMap<String, String> {
        let listed = fs::read_dir(self.run_dir().root()).unwrap().map(|entry| entry.unwrap());
        let outputs = listed.filter(|entry| entry.file_name().to_str().unwrap().starts_with("run_"));
        let digest = |path: &Path| {
            let bytes = Sha256::digest(fs::read(path).unwrap());
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        outputs.map(|entry| (entry.file_name().into_string().unwrap(), digest(&entry.path()))).collect()
    }

    /// Names of files of checkpoints that are not finished.
    pub fn drafts(&self) -> Vec<String> {
        let entries = fs::read_dir(self.run_dir().checkpoint()).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with(".iter-") && name.ends_with(".tmp")).collect()
    }

    /// Waits until something is so in the progress file.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&[Record]) -> bool) {
        let begin = Instant::now();
        while !is_so(&self.records()) {
            assert!(begin.elapsed() < PATIENCE, "{what} did not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until nobody works in the run folder: the engine of a killed launcher dies a moment after it.
    pub fn wait_for_silence(&self) {
        let begin = Instant::now();
        while self.run_dir().root().join("log").is_dir() && self.run_dir().lock().is_err() {
            assert!(begin.elapsed() < PATIENCE, "the engine outlives its launcher");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn assert_equals(&self, whole: &Whole, story: &str) {
        let files = self.files();
        let names: BTreeSet<&String> = files.keys().chain(whole.files.keys()).collect();
        let differ: Vec<_> = names.into_iter().filter(|name| files.get(*name) != whole.files.get(*name)).collect();
        assert!(differ.is_empty(), "{differ:?} differ from an uninterrupted run; {story}");
        assert!(files.len() >= 10, "{:?}", files.keys());
    }
}

pub fn command(folder: &Path, words: &str, environment: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relion-rs"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("SLURM_JOB_END_TIME");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.args(words.split_whitespace());
    command
}

/// A launcher at work.
pub struct Running {
    pub launcher: Child,
    pub begin: Instant,
    told: PathBuf,
}

impl Running {
    /// Its end, if it comes within this time.
    pub fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.launcher.try_wait().unwrap() {
                Some(status) => return Some(status),
                None if begin.elapsed() >= time => return None,
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    pub fn end(&mut self) -> ExitStatus {
        self.ends_within(PATIENCE).expect("it ends")
    }

    pub fn code(&mut self) -> i32 {
        self.end().code().unwrap_or(-1)
    }

    pub fn told(&self) -> String {
        fs::read_to_string(&self.told).unwrap()
    }

    pub fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.launcher.id() as i32), signal).unwrap();
    }

    /// The engine's process, once it is started.
    pub fn engine(&self) -> Option<Pid> {
        let is_child = |process: &i32| {
            // `1234 (name) S parent ...`
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
            parent.is_some_and(|parent| parent == self.launcher.id().to_string())
        };
        let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        processes.into_iter().find(is_child).map(Pid::from_raw)
    }
}

/// Where something lay in the arena: digest and peak.
pub type Arena = (String, u64);

/// What an uninterrupted run leaves.
pub struct Whole {
    pub files: BTreeMap<String, String>,
    /// By variant and iteration.
    pub arenas: Vec<BTreeMap<u32, Arena>>,
    pub warnings: BTreeSet<String>,
    /// Time of a run, little more than the shortest took: an instant within it mostly lies within a run.
    pub usual: Duration,
}

impl Whole {
    /// Runs without interruption, once a variant: all leave the same files.
    pub fn of(scene: &mut Scene) -> Self {
        let mut whole = Self { files: BTreeMap::new(), arenas: vec![], warnings: BTreeSet::new(), usual: PATIENCE };
        for variant in 0..VARIANTS.len() {
            let place = scene.place();
            let mut running = place.start(variant);
            assert_eq!(running.code(), 0, "{}", running.told());
            whole.usual = whole.usual.min(running.begin.elapsed().mul_f64(1.1));
            let records = place.records();
            whole.arenas.push(arenas(&records).collect());
            whole.warnings = warnings(&records);
            if variant == 0 {
                whole.files = place.files();
            }
            place.assert_equals(&whole, VARIANTS[variant]);
        }
        whole
    }
}

pub fn arenas(records: &[Record]) -> impl Iterator<Item = (u32, Arena)> {
    records.iter().filter_map(|record| match &record.event {
        Event::IterationFinished(f) => Some((f.iteration, (f.arena_layout.clone(), f.arena_peak_bytes))),
        _ => None,
    })
}

pub fn warnings(records: &[Record]) -> BTreeSet<String> {
    let text = |record: &Record| match &record.event {
        Event::Warning { text } => Some(text.clone()),
        _ => None,
    };
    records.iter().filter_map(text).collect()
}
