//! The parts of an unfinished iteration, and their index `iter-013.parts.json`: a line of JSON that names the files with
//! their digests, and a line with the digest of the first. It is renamed last, so what it names is whole. Every rank
//! writes parts of its own, of different blocks; any number of ranks goes on from them.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::formats::atomic::write_text;
use crate::product::Voxel;

use super::folder::folder_of;
use super::origin::Identity;
use super::origin::Origin;
use super::part;
use super::part::Part;
use super::part::Written;

/// Name of the index's format.
const INDEX: &str = "relion-rs-parts-1-halves-and-ranks";

#[derive(Serialize, Deserialize)]
struct Index {
    format: String,
    iteration: u32,
    /// BLAKE3 of the checkpoint that the iteration began from.
    parent: String,
    /// Who summed, and what: other sums are not gone on with.
    identity: String,
    inputs: String,
    files: Vec<Entry>,
}

/// A part that was written, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Among the half sets, from 0.
    pub half: usize,
    /// All of its blocks are finished.
    pub whole: bool,
    name: String,
    bytes: u64,
    digest: String,
}

impl Entry {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The iteration that it is a part of.
    pub fn iteration(&self) -> Option<u32> {
        of_part(&self.name)
    }

    /// Checks the file's bytes.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn read(&self, run_folder: &Path) -> Result<Part> {
        self.open(&folder_of(run_folder))
    }

    fn open(&self, folder: &Path) -> Result<Part> {
        let Self { name, bytes, digest, .. } = self.clone();
        Part::open(folder, &Written { name, bytes, digest })
    }
}

impl Index {
    /// Checks and reads the text of an index.
    fn parse(path: &Path, text: &str) -> Result<Self> {
        let wrong = |problem: String| Error::bad_data(path.display().to_string(), problem, "");
        let (line, digest) = text.split_once('\n').unwrap_or((text, ""));
        if blake3::hash(line.as_bytes()).to_hex().as_str() != digest.trim_end_matches('\n') {
            return Err(wrong("the index is damaged: its digest is another".to_owned()));
        }
        let index: Self = serde_json::from_str(line).map_err(|cause| wrong(format!("is no index: {cause}")))?;
        if index.format != INDEX {
            return Err(wrong(format!("has the format `{}`, this program knows `{INDEX}`", index.format)));
        }
        Ok(index)
    }
}

/// What reading the indices in a checkpoint folder and the parts they name gave, file by file.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn examine(folder: &Path) -> Result<Vec<(PathBuf, Result<()>)>> {
    let mut found = Vec::new();
    let mut indices: Vec<String> = names(folder)?.into_iter().filter(|name| of_index(name).is_some()).collect();
    indices.sort();
    for path in indices.iter().map(|name| folder.join(name)) {
        let text = fs::read(&path).map_err(|cause| Error::reading(&path, &cause));
        match text.and_then(|bytes| Index::parse(&path, &String::from_utf8_lossy(&bytes))) {
            Err(error) => found.push((path, Err(error))),
            Ok(index) => {
                found.push((path, Ok(())));
                for entry in &index.files {
                    let read = entry.open(folder).and_then(|part| part.finished());
                    found.push((folder.join(&entry.name), read.map(|_| ())));
                }
            }
        }
    }
    Ok(found)
}

/// Parts that count from now on.
#[derive(Debug)]
pub struct Committed {
    pub index: PathBuf,
    /// Why files that count no more could not be removed.
    pub leftover: Option<Error>,
}

/// Writes the parts of one rank in one iteration. They count once [`Parts`] names them.
pub struct PartWriter {
    folder: PathBuf,
    iteration: u32,
    rank: usize,
    /// Number of the next writing.
    next: u32,
}

impl PartWriter {
    /// # Errors
    /// The folder cannot be read.
    pub fn new(run_folder: &Path, iteration: u32, rank: usize) -> Result<Self> {
        let folder = folder_of(run_folder);
        let of_this = names(&folder)?.into_iter().filter(|name| of_part(name) == Some(iteration));
        let next = of_this.filter_map(|name| writing_of(&name)).max().map_or(0, |last| last + 1);
        Ok(Self { folder, iteration, rank, next })
    }

    /// Writes what this rank finished of a half set. `label` is the half set's number in the file's name.
    ///
    /// # Errors
    /// A full disk or an unwritable folder: earlier parts stay as they were.
    pub fn write(&mut self, half: usize, label: u8, finished: &Finished, sums: &[&[Voxel]]) -> Result<Entry> {
        let whole = finished.blocks.iter().flatten().all(|flag| *flag > 0);
        let name = format!("iter-{:03}.part.{:03}.half{label}.{:03}.h5", self.iteration, self.rank, self.next);
        self.next += 1;
        let Written { name, bytes, digest } = part::write(&self.folder, name, finished, sums)?;
        Ok(Entry { half, whole, name, bytes, digest })
    }
}

/// The parts of one iteration that count, and their index.
pub struct Parts {
    folder: PathBuf,
    iteration: u32,
    parent: String,
    identity: String,
    inputs: String,
    /// Each with the rank that goes on with it: the next part of that rank and half takes its place.
    entries: Vec<(usize, Entry)>,
    /// Files that are replaced, until the index says so.
    replaced: Vec<String>,
}

impl Parts {
    /// The parts of an iteration that begins from the checkpoint with the digest `parent`; none is written yet.
    pub fn new(run_folder: &Path, iteration: u32, parent: &str, origin: &Origin) -> Self {
        Self {
            folder: folder_of(run_folder),
            iteration,
            parent: parent.to_owned(),
            identity: words(&origin.identity),
            inputs: origin.digest(),
            entries: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// The parts that a rank goes on with.
    pub fn of_rank(&self, rank: usize) -> Vec<Entry> {
        self.entries.iter().filter(|(of, _)| *of == rank).map(|(_, entry)| entry.clone()).collect()
    }

    /// A part of a rank, in place of what it had written or taken over of that half set. It counts after
    /// [`Self::commit`]; until then the earlier ones do.
    pub fn put(&mut self, rank: usize, part: Entry) {
        let (replaced, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(|(of, old)| *of == rank && old.half == part.half);
        self.replaced.extend(replaced.into_iter().map(|(_, old)| old.name));
        self.entries = kept;
        self.entries.push((rank, part));
    }

    /// Makes the parts put so far those that count, and removes what they replace. Returns the index's path.
    ///
    /// # Errors
    /// The index cannot be written: the earlier parts count.
    pub fn commit(&mut self) -> Result<Committed> {
        let index = Index {
            format: INDEX.to_owned(),
            iteration: self.iteration,
            parent: self.parent.clone(),
            identity: self.identity.clone(),
            inputs: self.inputs.clone(),
            files: self.entries.iter().map(|(_, entry)| entry.clone()).collect(),
        };
        let line = serde_json::to_string(&index).map_err(|cause| Error::internal(format!("index: {cause}")))?;
        let path = self.folder.join(index_name(self.iteration));
        write_text(&path, &format!("{line}\n{}\n", blake3::hash(line.as_bytes()).to_hex()))?;
        let removed = self.replaced.iter().try_for_each(|name| remove(&self.folder.join(name)));
        if removed.is_ok() {
            self.replaced.clear();
        }
        Ok(Committed { index: path, leftover: removed.err() })
    }

    /// The parts of an iteration, dealt out to `ranks`. `None` when there are none. What no index names is removed.
    /// Called before any rank writes a part.
    ///
    /// # Errors
    /// They cannot be used, and why: the iteration is to be done anew.
    pub fn load(
        run_folder: &Path,
        iteration: u32,
        parent: &str,
        origin: &Origin,
        ranks: usize,
    ) -> Result<Option<(Self, Vec<Finished>)>> {
        let mut parts = Self::new(run_folder, iteration, parent, origin);
        let path = parts.folder.join(index_name(iteration));
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                remove_unnamed(&parts.folder, iteration, &[]);
                return Ok(None);
            }
            Err(cause) => return Err(Error::reading(&path, &cause)),
        };
        let wrong = |problem: String| Error::bad_data(path.display().to_string(), problem, "");
        let index = Index::parse(&path, &text)?;
        if index.iteration != iteration || index.parent != parent {
            return Err(wrong("belongs to another checkpoint than the one the run goes on from".to_owned()));
        }
        if index.identity != parts.identity {
            return Err(wrong(format!("was written by {}; this is {}", index.identity, parts.identity)));
        }
        if index.inputs != parts.inputs {
            return Err(wrong("was summed from other inputs or with other settings".to_owned()));
        }
        if let Some(other) = index.files.iter().find(|entry| entry.iteration() != Some(iteration)) {
            return Err(wrong(format!("names {}, a part of another iteration", other.name)));
        }
        let opened = index.files.iter().map(|entry| entry.open(&parts.folder)).collect::<Result<Vec<_>>>()?;
        let finished = opened.iter().map(Part::finished).collect::<Result<Vec<_>>>()?;
        if let Some(half) = done_twice(&index.files, &finished) {
            return Err(wrong(format!("names parts of half set {half} that hold the same blocks")));
        }
        remove_unnamed(&parts.folder, iteration, &index.files);
        parts.entries = index.files.into_iter().enumerate().map(|(n, entry)| (n % ranks, entry)).collect();
        Ok(Some((parts, finished)))
    }

    /// The half set of every part, in the order of [`Self::load`]'s.
    pub fn halves(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries.iter().map(|(_, entry)| entry.half)
    }
}

/// A half set of which two parts hold the same block.
fn done_twice(entries: &[Entry], finished: &[Finished]) -> Option<usize> {
    let mut seen = std::collections::BTreeSet::new();
    for (entry, part) in entries.iter().zip(finished) {
        for (optics, flags) in part.blocks.iter().enumerate() {
            let done = flags.iter().enumerate().filter(|(_, flag)| **flag > 0);
            for (block, _) in done {
                if !seen.insert((entry.half, optics, block)) {
                    return Some(entry.half);
                }
            }
        }
    }
    None
}

/// Parts that a killed process left without naming them. One that stays counts for nothing, and goes with the others.
fn remove_unnamed(folder: &Path, iteration: u32, named: &[Entry]) {
    let is_named = |name: &str| named.iter().any(|entry| entry.name == name);
    let unnamed = |name: &String| of_part(name) == Some(iteration) && !is_named(name);
    for name in names(folder).unwrap_or_default().iter().filter(|name| unnamed(name)) {
        let _ = remove(&folder.join(name));
    }
}

/// Removes the parts of all iterations up to this one: it is finished.
///
/// # Errors
/// A file cannot be removed.
pub fn remove_parts(run_folder: &Path, iteration: u32) -> Result<()> {
    let folder = folder_of(run_folder);
    let mut gone: Vec<String> = names(&folder)?;
    gone.retain(|name| of_part(name).or_else(|| of_index(name)).is_some_and(|i| i <= iteration));
    // The index first: it never names what is gone.
    gone.sort_by_key(|name| of_index(name).is_none());
    gone.iter().try_for_each(|name| remove(&folder.join(name)))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(Error::writing(path, &cause)),
        _ => Ok(()),
    }
}

fn words(identity: &Identity) -> String {
    let Identity { program_version, precision, block_particles, instruction_set, .. } = identity;
    let words = format!("relion-rs {program_version}, {precision} precision, blocks of {block_particles}");
    // As ever on CPUs: parts of earlier versions count.
    format!("{words}, {instruction_set}{}", identity.gpu_words())
}

fn index_name(iteration: u32) -> String {
    format!("iter-{iteration:03}.parts.json")
}

/// `iter-013.parts.json` -> 13.
fn of_index(name: &str) -> Option<u32> {
    name.strip_prefix("iter-")?.strip_suffix(".parts.json")?.parse().ok()
}

/// `iter-013.part.000.half1.002.h5` -> 13.
fn of_part(name: &str) -> Option<u32> {
    let (digits, rest) = name.strip_prefix("iter-")?.split_once(".part.")?;
    if rest.ends_with(".h5") { digits.parse().ok() } else { None }
}

/// `iter-013.part.000.half1.002.h5` -> 2.
fn writing_of(name: &str) -> Option<u32> {
    name.strip_suffix(".h5")?.rsplit('.').next()?.parse().ok()
}

/// File names in the folder; none when it is not there.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|cause| Error::reading(folder, &cause))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        Ok(entry.map_err(|cause| Error::reading(folder, &cause))?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_told_from_others() {
        assert_eq!(of_part("iter-013.part.000.half1.002.h5"), Some(13));
        assert_eq!(writing_of("iter-013.part.000.half1.002.h5"), Some(2));
        assert_eq!(of_index("iter-1013.parts.json"), Some(1013));
        for other in ["iter-013.h5", "iter-013.h5.b3", ".iter-013.part.000.half1.002.h5.tmp", "x"] {
            assert_eq!((of_part(other), of_index(other)), (None, None), "{other}");
        }
    }
}
