//! A small job that works, in a folder of its own for each case, and the words to spoil it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::sync::OnceLock;

use relion_rs::formats::mrc;
use relion_rs::formats::star::StarFile;
use tempfile::TempDir;

use crate::support::golden;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");
pub const BOX: usize = 32;
pub const PIXEL_ANGSTROM: f64 = 7.0;
pub const PARTICLES: usize = 12;
const HEADER_BYTES: usize = 1024;
/// A coarse search of one iteration.
const JOB: [(&str, &str); 9] = [
    ("particles", "particles.star"),
    ("reference", "ref.mrc"),
    ("out", "out"),
    ("diameter", "180"),
    ("iterations", "1"),
    ("threads", "1"),
    ("healpix-order", "1"),
    ("offset-range-pixels", "2"),
    ("ini-high", "40"),
];

/// `particles.star`, `particles.mrcs` and `ref.mrc`, made once.
fn inputs() -> &'static Path {
    static INPUTS: OnceLock<TempDir> = OnceLock::new();
    let folder = INPUTS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(golden("inputs/ref32.mrc"), folder.path().join("ref.mrc")).unwrap();
        let words = format!("simulate --map ref.mrc --count {PARTICLES} --snr 0.5 --micrographs 3 --out .");
        let made = program(folder.path()).args(words.split(' ')).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    folder.path()
}

/// The launcher, without the settings of the person who runs the tests.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(LAUNCHER);
    settle(&mut command, folder);
    command
}

fn settle(command: &mut Command, folder: &Path) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
}

/// A copy of the inputs.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["particles.star", "particles.mrcs", "ref.mrc"] {
            fs::copy(inputs().join(name), folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    /// Simulates `count` particles into `many/`.
    pub fn simulate(&self, count: usize) {
        let words = format!("simulate --map ref.mrc --count {count} --snr 0.5 --micrographs 3 --out many");
        let made = program(self.folder.path()).args(words.split(' ')).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The words of a job: the usual ones, less or other where `flags` (`--key value ...`) says so. A flag with the
    /// value `-` is left out.
    fn words(verb: &str, kind: &str, flags: &str) -> Vec<String> {
        let given: Vec<&str> = flags.split_whitespace().collect();
        let mut words = vec![verb.to_string(), kind.to_string()];
        for (key, value) in JOB.iter().filter(|(key, _)| !given.contains(&format!("--{key}").as_str())) {
            words.extend([format!("--{key}"), value.to_string()]);
        }
        for pair in given.chunks(2).filter(|pair| pair.get(1) != Some(&"-")) {
            words.extend(pair.iter().map(ToString::to_string));
        }
        words
    }

    pub fn job(&self, verb: &str, kind: &str, flags: &str) -> Output {
        program(self.folder.path()).args(Self::words(verb, kind, flags)).output().unwrap()
    }

    /// Runs the job where no file may grow beyond `bytes`: what a full disk or a quota does to a program.
    pub fn job_with_room(&self, kind: &str, flags: &str, bytes: u64) -> Output {
        let mut command = Command::new("sh");
        settle(&mut command, self.folder.path());
        // The shell counts in units of 512 bytes.
        let script = format!("ulimit -f {}; exec \"$@\"", bytes / 512);
        command.args(["-c", &script, "sh", LAUNCHER]).args(Self::words("run", kind, flags)).output().unwrap()
    }

    pub fn text(&self, name: &str, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        fs::write(self.path(name), change(text)).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn star(&self, change: impl FnOnce(&mut StarFile)) {
        let path = self.path("particles.star");
        let mut star = StarFile::read(&path).unwrap();
        change(&mut star);
        star.write(&path).unwrap();
    }

    /// Sets a value of `optics` or `particles`; a column that is not there is added with the value in every row.
    pub fn set(&self, block: &str, label: &str, row: usize, value: &str) {
        self.star(|star| {
            let block = star.block_mut(block).unwrap();
            let mut values: Vec<String> = match block.column(label) {
                Some(column) => column.strs().map(str::to_owned).collect(),
                None => vec![value.to_string(); block.rows()],
            };
            values[row] = value.to_string();
            block.set_str(label, &values);
        });
    }

    pub fn drop_column(&self, block: &str, label: &str) {
        self.star(|star| {
            let block = star.block_mut(block).unwrap();
            assert!(block.has(label), "the inputs have no column {label}");
            block.remove(label);
        });
    }

    pub fn bytes(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Sets a 4-byte word (0-based) of an MRC header.
    pub fn word(&self, name: &str, word: usize, value: i32) {
        self.bytes(name, |bytes| bytes[4 * word..4 * word + 4].copy_from_slice(&value.to_le_bytes()));
    }

    /// Changes the pixels of a section (0-based) of a file with reals.
    pub fn section(&self, name: &str, section: usize, change: impl Fn(usize, f32) -> f32) {
        self.bytes(name, |bytes| {
            let length = 4 * BOX * BOX;
            let start = HEADER_BYTES + section * length;
            for (i, word) in bytes[start..start + length].chunks_exact_mut(4).enumerate() {
                let value = f32::from_le_bytes(word.try_into().unwrap());
                word.copy_from_slice(&change(i, value).to_le_bytes());
            }
        });
    }

    /// A map of edge `n` with a blob times `height`, plus `base`.
    pub fn map(&self, name: &str, n: usize, pixel_angstrom: f64, base: f32, height: f32) {
        let centre = (n / 2) as f32;
        let square = |i: usize| (i as f32 - centre).powi(2);
        let voxel = |i: usize| (-(square(i % n) + square(i / n % n) + square(i / n / n)) / (n as f32)).exp();
        let data: Vec<f32> = (0..n * n * n).map(|i| base + height * voxel(i)).collect();
        mrc::write_volume(&self.path(name), [n, n, n], pixel_angstrom, &data).unwrap();
    }

    /// Replaces the stack by one with images of `nx` x `ny` pixels.
    pub fn stack(&self, nx: usize, ny: usize) {
        let noise = |i: usize| ((i * 7919) % 104_729) as f32 / 52_364.5 - 1.0;
        let pixels: Vec<f32> = (0..PARTICLES * nx * ny).map(noise).collect();
        mrc::write_stack(&self.path("particles.mrcs"), nx, ny, PIXEL_ANGSTROM, &pixels).unwrap();
    }

    /// Names of all files below the run folder, with their lengths.
    pub fn outputs(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for folder in ["out", "out/checkpoint"] {
            for entry in fs::read_dir(self.path(folder)).into_iter().flatten().map(Result::unwrap) {
                let about = entry.metadata().unwrap();
                if about.is_file() {
                    found.push((format!("{folder}/{}", entry.file_name().to_string_lossy()), about.len()));
                }
            }
        }
        found.sort();
        found
    }

    pub fn progress(&self) -> String {
        fs::read_to_string(self.path("out/progress.jsonl")).unwrap_or_default()
    }

    /// The progress file says that the job came to its end.
    pub fn is_finished(&self) -> bool {
        self.progress().contains(r#""event":"finished""#)
    }
}
