//! Takes a version away: what the manifest lists and nobody has changed, and nothing else.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::manifest;
use super::manifest::Manifest;
use super::tree::NAME;
use super::tree::set_default;

/// What an uninstallation did.
#[derive(Clone, Debug)]
pub struct Removed {
    pub root: PathBuf,
    /// Files that stay: changed since, or never installed by us.
    pub kept: Vec<PathBuf>,
    pub warnings: Vec<String>,
}

/// Uninstalls a version. The manifest goes last, so that an attempt that was cut off can be repeated.
///
/// # Errors
/// `NoInput` when it is not installed; `CannotCreate` or `Io` when something cannot be removed.
pub fn uninstall(prefix: &Path, version: &str) -> Result<Removed> {
    if version.is_empty() || version.starts_with('.') || version.contains('/') {
        return Err(Error::usage(
            format!("{version:?} is no version"),
            "Name it as the folders below PREFIX/relion-rs are named: 0.1.0",
        ));
    }
    let base = prefix.join(NAME);
    let root = base.join(version);
    let Some(list) = Manifest::read(&root)? else {
        return Err(not_installed(&base, version));
    };
    let (mut kept, mut warnings) = (Vec::new(), Vec::new());
    let modules = list.modules.iter().map(|module| (module.path.clone(), module.blake3.as_str()));
    let files = list.files.iter().map(|file| (root.join(&file.path), file.blake3.as_str()));
    for (path, digest) in modules.chain(files) {
        match manifest::digest(&path) {
            Ok(found) if found == digest => {
                fs::remove_file(&path).map_err(|cause| Error::writing(&path, &cause))?;
            }
            Err(error) if error.code == ExitCode::NoInput && !path.exists() => {}
            Ok(_) => kept.push(path),
            Err(error) => return Err(error),
        }
    }
    for module in &list.modules {
        if let Some(folder) = module.path.parent() {
            warnings.extend(set_default(module.kind, folder)?);
        }
    }
    let own = root.join(manifest::NAME);
    fs::remove_file(&own).map_err(|cause| Error::writing(&own, &cause))?;
    for left in manifest::files_below(&root)?.into_iter().map(|path| root.join(path)) {
        if !kept.contains(&left) {
            kept.push(left);
        }
    }
    remove_empty(&root).map_err(|cause| Error::writing(&root, &cause))?;
    // Other versions may be there; then it stays.
    let _ = fs::remove_dir(&base);
    Ok(Removed { root, kept, warnings })
}

/// The error for a version that is not there, with those that are.
fn not_installed(base: &Path, version: &str) -> Error {
    let mut there: Vec<String> = fs::read_dir(base)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(manifest::NAME).is_file())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    there.sort_by(|left, right| super::version::compare(left, right));
    let fix = match there.is_empty() {
        true => "Name the PREFIX that was given to `relion-rs module install`.".to_owned(),
        false => format!("Installed there: {}. Name one after the PREFIX.", there.join(", ")),
    };
    Error::new(ExitCode::NoInput, base.join(version).display().to_string(), "is not installed", fix)
}

/// Removes the folders that hold no file.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    if fs::read_dir(folder)?.next().is_none() {
        fs::remove_dir(folder)?;
    }
    Ok(())
}
