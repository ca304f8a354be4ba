//! Compiled kernels as files: named by everything their content depends on, checked when they are read.
//!
//! A file is one line (what it is, its key, compiler, digest) and the cubin. It is looked for where the site installed
//! some, then in the user's cache; what is nowhere is compiled and put into the cache.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;

use super::Arch;
use super::Precision;
use super::Source;
use super::cache::cache_folder;
use super::nvrtc;
use super::nvrtc::Nvrtc;

/// A folder of kernels, before all others.
const FOLDER_VARIABLE: &str = "RELION_RS_KERNELS";
const MAGIC: &str = "relion-rs kernels 1";
/// Longer than any first line.
const LONGEST_LINE: usize = 300;

/// Kernels that are ready to be loaded.
#[derive(Clone, Debug)]
pub struct Cubin {
    pub bytes: Vec<u8>,
    /// `NVRTC 12.9`.
    pub compiler: String,
    /// The file, or that it was compiled now.
    pub from: String,
    /// What a user should hear of: files that were wrong, a cache that cannot be written.
    pub notes: Vec<String>,
}

/// Where kernels are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Read only.
    pub installed: Vec<PathBuf>,
    /// Read, and written.
    pub cache: Option<PathBuf>,
}

/// The name of a file without its ending: digest of sources and options, GPU, precision.
pub fn key(arch: &Arch, precision: Precision) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in nvrtc::OPTIONS.iter().copied().chain([Source::digest().as_str()]) {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    format!("{}-{}-{}", &hasher.finalize().to_hex()[..16], arch.name(), precision.name())
}

impl Places {
    /// `$RELION_RS_KERNELS`; beside the program (`PREFIX/bin` has `PREFIX/lib/relion-rs/kernels`, a build has
    /// `kernels`); the user's cache.
    pub fn usual() -> Self {
        let program = std::env::current_exe().ok();
        let folder = program.as_deref().and_then(Path::parent);
        let prefix = folder.and_then(Path::parent).map(|prefix| prefix.join("lib/relion-rs/kernels"));
        let named = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from);
        let installed = named.into_iter().chain(prefix).chain(folder.map(|folder| folder.join("kernels"))).collect();
        Self { installed, cache: cache_folder().ok().map(|folder| folder.join("kernels")) }
    }

    /// The kernels for a GPU whose driver knows CUDA up to `newest_major`.
    ///
    /// # Errors
    /// They are nowhere, and there is no compiler.
    pub fn find(&self, arch: &Arch, precision: Precision, newest_major: i32) -> Result<Cubin> {
        self.find_or_make(&key(arch, precision), newest_major, || {
            let nvrtc = Nvrtc::find(arch, Some(newest_major))?;
            Ok((nvrtc.compile(arch, precision)?.cubin, nvrtc.name()))
        })
    }

    /// What compiled the kernels for a GPU, if they are there in both precisions.
    pub fn compiler(&self, arch: &Arch, newest_major: i32) -> Option<String> {
        let folders = || self.installed.iter().chain(&self.cache);
        let of = |precision| {
            let key = key(arch, precision);
            folders().find_map(|folder| look(&path(folder, &key), &key, newest_major, &mut Vec::new()))
        };
        let (single, double) = (of(Precision::Single)?, of(Precision::Double)?);
        (single.compiler == double.compiler).then_some(single.compiler)
    }

    /// The file of a key, made by `make` (cubin, compiler) if it is nowhere.
    pub fn find_or_make(
        &self,
        key: &str,
        newest_major: i32,
        make: impl FnOnce() -> Result<(Vec<u8>, String)>,
    ) -> Result<Cubin> {
        let mut notes = Vec::new();
        for folder in &self.installed {
            if let Some(found) = look(&path(folder, key), key, newest_major, &mut notes) {
                return Ok(Cubin { notes, ..found });
            }
        }
        let Some(cache) = &self.cache else {
            notes.push(
                "kernels are compiled at every start: neither XDG_CACHE_HOME nor HOME names a folder".to_string(),
            );
            return compiled(make, notes);
        };
        let file = path(cache, key);
        if let Some(found) = look(&file, key, newest_major, &mut notes) {
            return Ok(Cubin { notes, ..found });
        }
        // Of many ranks one compiles, the others wait for it.
        let lock = match lock(cache, key) {
            Ok(lock) => lock,
            Err(error) => {
                notes.push(format!("kernels are compiled at every start: {error}"));
                return compiled(make, notes);
            }
        };
        if let Some(found) = look(&file, key, newest_major, &mut Vec::new()) {
            return Ok(Cubin { notes, ..found });
        }
        let mut made = compiled(make, notes)?;
        if let Err(error) = write(&file, key, &made.compiler, &made.bytes) {
            made.notes.push(format!("kernels are compiled at every start: {error}"));
        }
        drop(lock);
        Ok(made)
    }
}

fn compiled(make: impl FnOnce() -> Result<(Vec<u8>, String)>, notes: Vec<String>) -> Result<Cubin> {
    let (bytes, compiler) = make()?;
    Ok(Cubin { bytes, from: format!("compiled now by {compiler}"), compiler, notes })
}

fn lock(folder: &Path, key: &str) -> Result<File> {
    std::fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))?;
    let path = folder.join(format!("{key}.lock"));
    let lock = File::create(&path).map_err(|cause| Error::writing(&path, &cause))?;
    lock.lock().map_err(|cause| Error::writing(&path, &cause))?;
    Ok(lock)
}

pub fn path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.cubin"))
}

/// The file's kernels; none if it is not there, or with a note why it cannot be used.
fn look(file: &Path, key: &str, newest_major: i32, notes: &mut Vec<String>) -> Option<Cubin> {
    let content = match std::fs::read(file) {
        Ok(content) => content,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return None,
        Err(cause) => {
            notes.push(format!("{}: passed over, it cannot be read: {cause}", file.display()));
            return None;
        }
    };
    match parse(&content, key) {
        Ok((compiler, bytes)) => {
            let major = compiler.trim_start_matches("NVRTC ").split('.').next().and_then(|text| text.parse().ok());
            if major.is_none_or(|major: i32| major > newest_major) {
                let file = file.display();
                notes
                    .push(format!("{file}: passed over, it is by {compiler} and the driver knows CUDA {newest_major}"));
                return None;
            }
            let (bytes, from) = (bytes.to_vec(), file.display().to_string());
            Some(Cubin { bytes, compiler, from, notes: Vec::new() })
        }
        Err(problem) => {
            notes.push(format!("{}: passed over, {problem}", file.display()));
            None
        }
    }
}

/// Compiler and cubin of a file's content.
fn parse<'a>(content: &'a [u8], key: &str) -> std::result::Result<(String, &'a [u8]), String> {
    let end = content.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n').ok_or("it is no file of kernels")?;
    let line = std::str::from_utf8(&content[..end]).map_err(|_| "it is no file of kernels")?;
    let bytes = &content[end + 1..];
    let fields: Vec<&str> = line.split("; ").collect();
    let [magic, of, compiler, digest] = fields[..] else { return Err("it is no file of kernels".to_string()) };
    if magic != MAGIC || of != key {
        return Err(format!("it is of other kernels ({of})"));
    }
    if seal(key, compiler, bytes) != digest {
        return Err("it is damaged".to_string());
    }
    Ok((compiler.to_string(), bytes))
}

fn seal(key: &str, compiler: &str, cubin: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in [key.as_bytes(), compiler.as_bytes(), cubin] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}

/// Writes the file under another name and renames it, so that nobody reads half of one.
///
/// # Errors
/// The folder cannot be written.
pub fn write(file: &Path, key: &str, compiler: &str, cubin: &[u8]) -> Result<()> {
    let failed = |cause: std::io::Error| Error::writing(file, &cause);
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(".kernels-").tempfile_in(folder).map_err(failed)?;
    writeln!(temporary, "{MAGIC}; {key}; {compiler}; {}", seal(key, compiler, cubin)).map_err(failed)?;
    temporary.write_all(cubin).map_err(failed)?;
    // Others may read what a site installs.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    temporary.as_file().set_permissions(readable).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(file).map_err(|failure| failed(failure.error))?;
    Ok(())
}

#[cfg(test)]
mod tests;
