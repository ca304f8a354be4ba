//! The parts of an unfinished iteration, and their index `iter-013.parts.json`: a line of JSON that names the files with
//! their digests, and a line with the digest of the first. It is renamed last, so what it names is whole.

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

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    /// Among the half sets, from 0.
    half: usize,
    /// All of its blocks are finished.
    whole: bool,
    name: String,
    bytes: u64,
    digest: String,
}

impl Entry {
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
    /// Size of the files it names.
    pub bytes: u64,
    /// Why files that count no more could not be removed.
    pub leftover: Option<Error>,
}

/// Writes the parts of one iteration.
pub struct Parts {
    folder: PathBuf,
    iteration: u32,
    parent: String,
    identity: String,
    inputs: String,
    entries: Vec<Entry>,
    /// Number of the next writing.
    next: u32,
}

impl Parts {
    /// The parts of an iteration that begins from the checkpoint with the digest `parent`; none is written yet.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn new(run_folder: &Path, iteration: u32, parent: &str, origin: &Origin) -> Result<Self> {
        let folder = folder_of(run_folder);
        let numbers = names(&folder)?.into_iter().filter_map(|name| Some((of_part(&name)?, name)));
        let of_this = numbers.filter(|(i, _)| *i == iteration).filter_map(|(_, name)| writing_of(&name));
        let next = of_this.max().map_or(0, |last| last + 1);
        let (identity, inputs) = (words(&origin.identity), origin.digest());
        Ok(Self { folder, iteration, parent: parent.to_owned(), identity, inputs, entries: Vec::new(), next })
    }

    /// Whether all of a half set is in the parts.
    pub fn is_whole(&self, half: usize) -> bool {
        self.entries.iter().any(|entry| entry.half == half && entry.whole)
    }

    /// Writes what is finished of a half set (`whole`: all of it), in place of what was written of it before. It counts
    /// after [`Self::commit`]; until then the earlier parts do. `label` is the half set's number in the file's name.
    ///
    /// # Errors
    /// A full disk or an unwritable folder: the earlier parts stay as they were.
    pub fn write(&mut self, half: usize, label: u8, finished: &Finished, sums: &[&[Voxel]], whole: bool) -> Result<()> {
        let name = format!("iter-{:03}.part.000.half{label}.{:03}.h5", self.iteration, self.next);
        self.next += 1;
        let Written { name, bytes, digest } = part::write(&self.folder, name, finished, sums)?;
        self.entries.retain(|entry| entry.half != half);
        self.entries.push(Entry { half, whole, name, bytes, digest });
        Ok(())
    }

    /// Makes the parts written so far those that count, and removes the others. Returns the index's path and the
    /// size of what it names.
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
            files: self.entries.clone(),
        };
        let line = serde_json::to_string(&index).map_err(|cause| Error::internal(format!("index: {cause}")))?;
        let path = self.folder.join(index_name(self.iteration));
        write_text(&path, &format!("{line}\n{}\n", blake3::hash(line.as_bytes()).to_hex()))?;
        let named = |name: &str| self.entries.iter().any(|entry| entry.name == name);
        let is_old = |name: &String| of_part(name) == Some(self.iteration) && !named(name);
        let removed = names(&self.folder).and_then(|names| {
            names.iter().filter(|name| is_old(name)).try_for_each(|name| remove(&self.folder.join(name)))
        });
        let bytes = self.entries.iter().map(|entry| entry.bytes).sum();
        Ok(Committed { index: path, bytes, leftover: removed.err() })
    }

    /// The parts of an iteration, from the half sets' first to the last one that was begun, and who goes on writing
    /// them; `None` when there are none.
    ///
    /// # Errors
    /// They cannot be used, and why: the iteration is to be done anew.
    pub fn load(run_folder: &Path, iteration: u32, parent: &str, origin: &Origin) -> Result<Option<(Self, Vec<Part>)>> {
        let mut parts = Self::new(run_folder, iteration, parent, origin)?;
        let path = parts.folder.join(index_name(iteration));
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
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
        let mut entries = index.files;
        entries.sort_by_key(|entry| entry.half);
        if !entries.iter().map(|entry| entry.half).eq(0..entries.len()) {
            return Err(wrong("does not name the half sets one after the other".to_owned()));
        }
        let opened = entries.iter().map(|entry| entry.open(&parts.folder)).collect::<Result<Vec<_>>>()?;
        parts.entries = entries;
        Ok(Some((parts, opened)))
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
    let Identity { program_version, precision, block_particles, instruction_set } = identity;
    format!("relion-rs {program_version}, {precision} precision, blocks of {block_particles}, {instruction_set}")
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
