//! The files of a run that are promised to be the same, and their digests.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::Digest;
use sha2::Sha256;

use crate::error::Error;
use crate::error::Result;
use crate::plan::RunDir;

/// SHA-256 by name, of all maps and STAR files.
pub type Digests = BTreeMap<String, String>;

/// The digests of the outputs in a run folder.
pub fn digests(root: &Path) -> Result<Digests> {
    let failed = |cause| Error::reading(root, &cause);
    let mut found = Digests::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(RunDir::OUTPUT_PREFIX) && entry.path().is_file() {
            found.insert(name, digest(&entry.path())?);
        }
    }
    Ok(found)
}

fn digest(path: &Path) -> Result<String> {
    let failed = |cause| Error::reading(path, &cause);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Names of files that are not the same, or not in both.
pub fn differing(a: &Digests, b: &Digests) -> Vec<String> {
    let mut names: Vec<&String> = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))).collect();
    names.sort();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_is_named() {
        let [a, b] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for (folder, model) in [(&a, "one"), (&b, "two")] {
            fs::write(folder.path().join("run_it001_model.star"), model).unwrap();
            fs::write(folder.path().join("run_it001_class001.mrc"), "abc").unwrap();
            fs::write(folder.path().join("progress.jsonl"), model).unwrap();
        }
        fs::write(b.path().join("run_data.star"), "").unwrap();
        let [a, b] = [a, b].map(|folder| digests(folder.path()).unwrap());
        assert_eq!(a["run_it001_class001.mrc"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(differing(&a, &b), ["run_data.star", "run_it001_model.star"]);
        assert_eq!(differing(&b, &a), differing(&a, &b));
        assert!(differing(&a, &a).is_empty());
    }
}
