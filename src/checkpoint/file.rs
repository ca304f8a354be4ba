//! One checkpoint file and its digest.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use hdf5::file::LibraryVersion;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::model::ClassModel;
use crate::model::HalfModel;
use crate::model::State;

use super::durable::Digest;
use super::durable::Draft;
use super::durable::Hashing;
use super::durable::commit;
use super::durable::digest_of;
use super::folder;
use super::format::Format;
use super::origin::FirstOrigin;
use super::origin::Origin;
use super::stored::Stored;

const FORMAT: &str = "format";
const ORIGIN: &str = "origin";
const STATE: &str = "state";
/// Of a BLAKE3 digest in hexadecimal.
const DIGEST_DIGITS: usize = 64;

/// Room for the library's own structures beside the numbers: at least this, and 1 part in 64.
const OVERHEAD_BYTES: u64 = 1 << 20;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub state: State,
    pub origin: Origin,
}

/// Why a file was not taken.
#[derive(Debug)]
pub(super) enum Fault {
    /// Its bytes are not those that were written: an older file may serve.
    Damaged(Error),
    /// It is whole, and using an older one instead would hide something.
    Refused(Error),
}

impl Fault {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Damaged(error) | Self::Refused(error) => error,
        }
    }
}

/// Writes the state after an iteration to `run_folder/checkpoint/iter-NNN.h5` and returns that path. Older files stay
/// (see [`prune`](super::prune)).
///
/// # Errors
/// A full disk or an unwritable folder: whatever was there before stays, and no temporary file is left. A state with
/// a NaN: the field is named.
pub fn save(run_folder: &Path, state: &State, origin: &Origin) -> Result<PathBuf> {
    let folder = folder::folder_of(run_folder);
    fs::create_dir_all(&folder).map_err(|e| Error::writing(&folder, &e))?;
    let path = folder::file_of(&folder, state.iteration);
    let mut draft = Draft::new(&path);
    let fill = |file: &hdf5::File| {
        Format::CURRENT.name().to_owned().write(file, FORMAT)?;
        origin.write(file, ORIGIN)?;
        state.write(file, STATE)
    };
    write_hdf5(&draft, expected_bytes(state), fill).map_err(|e| in_file(&path, e))?;
    let digest = draft.seal(Hashing::Alone)?;
    // The digest goes first: a file without its digest is never seen, a digest without its file is harmless.
    commit([Draft::filled(&digest_path(&path), format!("{digest}\n").as_bytes())?, draft])?;
    Ok(path)
}

/// Reads one checkpoint file.
///
/// # Errors
/// The bytes differ from the digest beside the file, the format is newer than this program, or something is missing:
/// each names the file and what to do.
pub fn load(path: &Path) -> Result<Checkpoint> {
    examine(path).map_err(Fault::into_error)
}

pub(super) fn examine(path: &Path) -> std::result::Result<Checkpoint, Fault> {
    verify_digest(path)?;
    let whole = |e| Fault::Damaged(in_file(path, e));
    let file = open(path).map_err(whole)?;
    let format = String::read(&file, FORMAT).map_err(whole)?;
    let origin = match Format::parse(&format, &path.display().to_string()).map_err(Fault::Refused)? {
        Format::FinishedIteration => FirstOrigin::read(&file, ORIGIN).map(Origin::from),
        Format::KnownBackend => Origin::read(&file, ORIGIN),
    };
    let origin = origin.map_err(whole)?;
    let state = State::read(&file, STATE).map_err(whole)?;
    consistent(&state).map_err(whole)?;
    Ok(Checkpoint { state, origin })
}

/// The sidecar: `iter-012.h5.b3`.
pub(super) fn digest_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".b3");
    PathBuf::from(name)
}

/// The digest that was recorded for a checkpoint file.
///
/// # Errors
/// Its sidecar cannot be read.
pub fn recorded_digest(path: &Path) -> Result<String> {
    let sidecar = digest_path(path);
    let text = fs::read_to_string(&sidecar).map_err(|cause| Error::reading(&sidecar, &cause))?;
    Ok(text.trim().to_owned())
}

fn verify_digest(path: &Path) -> std::result::Result<(), Fault> {
    const FIX: &str = "Continue from an older file of the same folder; relion-rs resume does so by itself.";
    let place = || path.display().to_string();
    let recorded = match fs::read(digest_path(path)) {
        Ok(bytes) => digest_in(&bytes).ok_or_else(|| {
            let problem = format!("its digest {} is damaged: it is no BLAKE3 digest", digest_path(path).display());
            Fault::Damaged(Error::bad_data(place(), problem, FIX))
        })?,
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.exists() => {
            let problem = format!("its digest {} is missing", digest_path(path).display());
            return Err(Fault::Damaged(Error::bad_data(place(), problem, FIX)));
        }
        Err(e) => return Err(Fault::Damaged(Error::reading(path, &e))),
    };
    let found = digest_of(path).map_err(|e| Fault::Damaged(Error::reading(path, &e)))?;
    if found == recorded {
        return Ok(());
    }
    let problem = format!("the file is damaged: its BLAKE3 digest is {found}, recorded is `{recorded}`");
    Err(Fault::Damaged(Error::bad_data(place(), problem, FIX)))
}

/// The digest that a sidecar's bytes are, and nothing else.
fn digest_in(bytes: &[u8]) -> Option<Digest> {
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_digest = digits.len() == DIGEST_DIGITS && digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then(|| String::from_utf8_lossy(digits).into_owned())
}

pub(super) fn open(path: &Path) -> Result<hdf5::File> {
    let mut builder = hdf5::FileBuilder::new();
    // Many parallel file systems have no locks; only one process writes here, and never under this name.
    builder.with_fapl(|access| access.file_locking(false));
    builder.open(path).map_err(|e| Error::bad_data("", format!("not an HDF5 file: {e}"), ""))
}

/// Makes a file of the library's with room for so many bytes; `fill` writes what is in it.
pub(super) fn write_hdf5(draft: &Draft, bytes: u64, fill: impl FnOnce(&hdf5::File) -> Result<()>) -> Result<()> {
    let failed = |e: hdf5::Error| Error::new(ExitCode::Io, "", format!("cannot be written: {e}"), "");
    let mut builder = hdf5::FileBuilder::new();
    builder
        .with_fapl(|access| access.libver_bounds(LibraryVersion::V110, LibraryVersion::V110).file_locking(false))
        .with_fcpl(|create| create.obj_track_times(false));
    draft.reserve(bytes)?;
    let file = builder.create(draft.temporary()).map_err(failed)?;
    // The library has just truncated what was reserved.
    let reserved = draft.reserve(bytes);
    let written = reserved.and_then(|()| fill(&file)).and_then(|()| file.flush().map_err(failed));
    let closed = file.close().map_err(failed);
    written.and(closed)
}

/// Size of the file to come: maps, arrays a class, columns a particle and a micrograph group.
fn expected_bytes(state: &State) -> u64 {
    let class = |class: &ClassModel| {
        4 * class.map.data.len() + 8 * (class.directions.len() + class.orientability.len() + 5 * class.tau2.len())
    };
    let half = |half: &HalfModel| {
        half.classes.iter().map(class).sum::<usize>()
            + half.groups.iter().map(|group| group.name.len() + 1 + 2 * 8).sum::<usize>()
            + half.noise.iter().map(|noise| 8 * noise.len()).sum::<usize>()
    };
    let particles = state.assignments.len() * (8 * 8 + 2 * 4 + 1);
    let numbers = (state.halves.iter().map(half).sum::<usize>() + particles) as u64;
    numbers + numbers / 64 + OVERHEAD_BYTES
}

/// What every state obeys, whoever wrote the file.
fn consistent(state: &State) -> Result<()> {
    let wrong = |problem: String| Err(Error::bad_data("/state", problem, ""));
    if !matches!(state.halves.len(), 1 | 2) {
        return wrong(format!("{} half sets; there are one or two", state.halves.len()));
    }
    if state.half_of.len() != state.assignments.len() {
        return wrong(format!("{} half numbers for {} particles", state.half_of.len(), state.assignments.len()));
    }
    if state.halves.iter().any(|half| half.classes.len() != state.halves[0].classes.len()) {
        return wrong("the half sets have different numbers of classes".to_owned());
    }
    Ok(())
}

/// `... errno = 28, error message = ...` -> 28.
fn errno(text: &str) -> Option<i32> {
    let digits = text.split_once("errno = ")?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Puts the file's name before the place inside it, and adds a fix by cause.
pub(super) fn in_file(path: &Path, mut error: Error) -> Error {
    // The library reports the system's cause as text only.
    if let (ExitCode::Io, Some(number)) = (error.code, errno(&error.problem)) {
        return Error::writing(path, &io::Error::from_raw_os_error(number));
    }
    let file = path.display().to_string();
    if error.place != file {
        error.place = format!("{file}, {}", error.place).trim_end_matches(", ").to_owned();
    }
    if error.fix.is_empty() {
        error.fix = match error.code {
            ExitCode::BadData => "Continue from an older file of the same folder; relion-rs resume does so by itself.",
            _ => "Check the file system the file lives on.",
        }
        .to_owned();
    }
    error
}
