//! The finished blocks of one half set within an iteration, in one file: `iter-013.part.RRR.halfH.SSS.h5` (rank, half,
//! number of the writing). Which files belong together says their index ([`Parts`](super::Parts)).

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::expectation::products::Finished;
use crate::product::Voxel;

use super::durable::Draft;
use super::durable::Hashing;
use super::durable::commit;
use super::durable::digest_of;
use super::file::in_file;
use super::file::open;
use super::file::write_hdf5;
use super::stored::Stored;
use super::stored::add_sums;
use super::stored::create_group;
use super::stored::open_group;
use super::stored::write_sums;

/// Name of the file's format.
const PART: &str = "relion-rs-part-1-sums-of-blocks";
const FORMAT: &str = "format";
const FINISHED: &str = "finished";
const SUMS: &str = "sums";

/// Room for the library's own structures.
const OVERHEAD_BYTES: u64 = 1 << 20;
/// A particle's columns, and its terms in each class.
const PARTICLE_BYTES: u64 = 160;

/// What was written: enough to find it again and to trust it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub name: String,
    pub bytes: u64,
    pub digest: String,
}

/// Writes one part; it is durable when this returns.
///
/// # Errors
/// A full disk or an unwritable folder; nothing is left under the name.
pub(super) fn write(folder: &Path, name: String, finished: &Finished, sums: &[&[Voxel]]) -> Result<Written> {
    let path = folder.join(&name);
    let mut draft = Draft::new(&path);
    let fill = |file: &hdf5::File| {
        PART.to_owned().write(file, FORMAT)?;
        finished.write(file, FINISHED)?;
        let group = create_group(file, SUMS)?;
        sums.iter().enumerate().try_for_each(|(class, sums)| write_sums(&group, &class_name(class), sums))
    };
    write_hdf5(&draft, expected_bytes(finished, sums), fill).map_err(|error| in_file(&path, error))?;
    let digest = draft.seal(Hashing::Together)?;
    commit([draft])?;
    let bytes = fs::metadata(&path).map_err(|cause| Error::reading(&path, &cause))?.len();
    Ok(Written { name, bytes, digest })
}

/// An upper bound of the file's size.
fn expected_bytes(finished: &Finished, sums: &[&[Voxel]]) -> u64 {
    let voxels: usize = sums.iter().map(|sums| size_of_val(*sums)).sum();
    let directions: usize = finished.directions.iter().map(|of_class| size_of_val(of_class.as_slice())).sum();
    let particles = (finished.positions.len() + finished.origin_terms.len()) as u64 * PARTICLE_BYTES;
    let numbers = (voxels + directions) as u64 + particles;
    numbers + numbers / 64 + OVERHEAD_BYTES
}

fn class_name(class: usize) -> String {
    format!("{class:03}")
}

/// A part whose bytes are those that were written.
#[derive(Clone, Debug)]
pub struct Part {
    path: PathBuf,
}

impl Part {
    /// Checks the file's bytes.
    ///
    /// # Errors
    /// It is missing, or damaged.
    pub(super) fn open(folder: &Path, written: &Written) -> Result<Self> {
        let path = folder.join(&written.name);
        let digest = digest_of(&path).map_err(|cause| Error::reading(&path, &cause))?;
        if digest != written.digest {
            let problem =
                format!("the file is damaged: its BLAKE3 digest is {digest}, recorded is `{}`", written.digest);
            return Err(Error::bad_data(path.display().to_string(), problem, ""));
        }
        Ok(Self { path })
    }

    /// Everything beside the sums.
    ///
    /// # Errors
    /// The format is unknown, or something is missing: the place is named.
    pub fn finished(&self) -> Result<Finished> {
        let read = || {
            let file = open(&self.path)?;
            let format = String::read(&file, FORMAT)?;
            if format != PART {
                let problem = format!("the part has the format `{format}`, this program knows `{PART}`");
                return Err(Error::bad_data("", problem, ""));
            }
            Finished::read(&file, FINISHED)
        };
        read().map_err(|error| in_file(&self.path, error))
    }

    /// Adds the integers of a class to a volume.
    ///
    /// # Errors
    /// There is none, or it has another size.
    pub fn add_sums(&self, class: usize, sums: &mut [Voxel]) -> Result<()> {
        let mut read = || add_sums(&open_group(&*open(&self.path)?, SUMS)?, &class_name(class), sums);
        read().map_err(|error| in_file(&self.path, error))
    }
}
