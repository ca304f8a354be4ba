//! The list of what was installed for one version, so that nothing else is ever removed.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

use super::modulefile::ModuleKind;

/// Lies in the folder of its version.
pub(super) const NAME: &str = "manifest.json";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: String,
    /// In the version's folder, relative to it.
    pub files: Vec<Listed>,
    /// Outside of it.
    pub modules: Vec<ListedModule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    pub path: PathBuf,
    pub blake3: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedModule {
    pub kind: ModuleKind,
    /// Absolute.
    pub path: PathBuf,
    pub blake3: String,
}

impl Manifest {
    /// Of the version in this folder; `None` where nothing was installed by `module install`.
    ///
    /// # Errors
    /// `Config` when it cannot be understood.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(cause) => return Err(Error::reading(&path, &cause)),
        };
        let manifest = serde_json::from_str(&text).map_err(|cause| {
            Error::bad_data(
                path.display().to_string(),
                format!("is no list of installed files: {cause}"),
                "It was changed by hand. Remove the folder of this version yourself.",
            )
        })?;
        Ok(Some(manifest))
    }

    pub(super) fn text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        text.map(|text| format!("{text}\n")).map_err(|cause| Error::internal(format!("manifest: {cause}")))
    }
}

/// BLAKE3 digest of a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn digest(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|cause| Error::reading(path, &cause))?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}

/// Every file below a folder, relative to it, in order. Links are files here.
///
/// # Errors
/// A folder cannot be listed.
pub(super) fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let failed = |cause: io::Error| Error::reading(&folder, &cause);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(entry.path());
            } else if let Ok(path) = entry.path().strip_prefix(root) {
                found.push(path.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}
