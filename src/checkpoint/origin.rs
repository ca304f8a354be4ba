//! Who wrote a checkpoint and from which inputs.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use crate::error::Error;
use crate::error::Result;
use crate::plan::Backend;

/// Bytes at the start of an MRC file that describe it: the main header.
const MRC_HEADER_BYTES: u64 = 1024;

/// All that decides the bits of a result, besides inputs and settings. Two runs with equal identities, inputs and
/// plans give equal files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    pub program_version: String,
    /// `single` or `double`.
    pub precision: String,
    /// Particles summed in floating point before sums become integers.
    pub block_particles: u32,
    /// Vector instructions of the products: `avx512`, `avx2`, `baseline` ...
    pub instruction_set: String,
    /// Where the expectation step runs: `cpu` or `cuda`; `auto` before any ran.
    pub backend: String,
    /// Of `cuda`: compute capability, digest of the kernels, versions of the libraries. Empty for `cpu`.
    pub device: String,
}

/// An input and enough of its content to notice that it was exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputFile {
    /// `particles`, `reference`, `stack`, `mask` ...
    pub role: String,
    /// As the user wrote it.
    pub path: String,
    pub bytes: u64,
    /// BLAKE3, hexadecimal: of the whole file, or of the main header of an image file.
    pub digest: String,
}

/// Where a checkpoint comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub identity: Identity,
    /// BLAKE3 of the settings that decide a result, hexadecimal.
    pub plan_digest: String,
    pub inputs: Vec<InputFile>,
}

/// The same as files of the first version hold it.
pub(super) struct FirstOrigin {
    pub identity: FirstIdentity,
    pub plan_digest: String,
    pub inputs: Vec<InputFile>,
}

pub(super) struct FirstIdentity {
    pub program_version: String,
    pub precision: String,
    pub block_particles: u32,
    pub instruction_set: String,
}

impl From<FirstOrigin> for Origin {
    fn from(first: FirstOrigin) -> Self {
        // There was no other backend.
        let FirstOrigin { identity, plan_digest, inputs } = first;
        let FirstIdentity { program_version, precision, block_particles, instruction_set } = identity;
        let (backend, device) = (Backend::Cpu.name().to_owned(), String::new());
        let identity = Identity { program_version, precision, block_particles, instruction_set, backend, device };
        Self { identity, plan_digest, inputs }
    }
}

impl InputFile {
    /// Fingerprint of a table (STAR file): all of its bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_table(role: &str, as_written: &str, file: &Path) -> Result<Self> {
        Self::take(role, as_written, file, u64::MAX)
    }

    /// Fingerprint of an image file: its size and its header. Stacks are too large to be read twice.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_images(role: &str, as_written: &str, file: &Path) -> Result<Self> {
        Self::take(role, as_written, file, MRC_HEADER_BYTES)
    }

    /// Fingerprint of something that is not a file.
    pub fn of_bytes(role: &str, content: &[u8]) -> Self {
        let digest = blake3::hash(content).to_hex().to_string();
        Self { role: role.to_owned(), path: String::new(), bytes: content.len() as u64, digest }
    }

    fn take(role: &str, as_written: &str, path: &Path, limit: u64) -> Result<Self> {
        let read = || -> io::Result<Self> {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(file.take(limit))?;
            let digest = hasher.finalize().to_hex().to_string();
            Ok(Self { role: role.to_owned(), path: as_written.to_owned(), bytes, digest })
        };
        read().map_err(|e| Error::reading(path, &e))
    }
}

impl Identity {
    /// One sentence for each part in which `self` (the checkpoint's) differs from `now`; none when the bits of the
    /// results will be the same.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut sentences = Vec::new();
        let mut compare = |what: &str, then: &str, now: &str| {
            if then != now {
                sentences.push(format!("{what} was {then} and is now {now}"));
            }
        };
        compare("the program version", &self.program_version, &now.program_version);
        compare("the precision", &self.precision, &now.precision);
        compare("the block size", &self.block_particles.to_string(), &now.block_particles.to_string());
        compare("the instruction set", &self.instruction_set, &now.instruction_set);
        // A state that was taken over from RELION was computed by neither.
        if self.backend != Backend::Auto.name() {
            compare("the backend", &self.backend, &now.backend);
        }
        if self.backend == now.backend {
            compare("the GPU", &self.device, &now.device);
        }
        sentences
    }

    /// `, cuda (8.0, kernels ...)`; nothing for CPUs.
    pub fn gpu_words(&self) -> String {
        if self.device.is_empty() { String::new() } else { format!(", {} ({})", self.backend, self.device) }
    }
}

impl Origin {
    /// BLAKE3, hexadecimal, of inputs and settings: what is summed within an iteration belongs to all of them.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        };
        add(&self.plan_digest);
        for InputFile { role, path, bytes, digest } in &self.inputs {
            [role, path, &bytes.to_string(), digest].into_iter().for_each(|text| add(text));
        }
        hasher.finalize().to_hex().to_string()
    }

    /// One sentence for each input that is not what it was when the checkpoint `self` was written.
    pub fn changed_inputs(&self, now: &[InputFile]) -> Vec<String> {
        let mut sentences = Vec::new();
        for then in &self.inputs {
            match now.iter().find(|input| input.role == then.role && input.path == then.path) {
                None => {
                    sentences.push(format!("the run was started from {} {}, which is absent now", then.role, then.path))
                }
                Some(input) if input.bytes != then.bytes => sentences
                    .push(format!("{} {} had {} bytes and has {} now", then.role, then.path, then.bytes, input.bytes)),
                Some(input) if input.digest != then.digest => {
                    sentences.push(format!("{} {} has the same size but another content", then.role, then.path));
                }
                Some(_) => {}
            }
        }
        for input in now {
            if !self.inputs.iter().any(|then| input.role == then.role && input.path == then.path) {
                sentences.push(format!("{} {} is new", input.role, input.path));
            }
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_input_is_noticed_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("particles.star");
        std::fs::write(&path, "data_particles\n").unwrap();
        let then = InputFile::of_table("particles", "particles.star", &path).unwrap();
        let identity = Identity {
            program_version: "0.1.0".into(),
            precision: "single".into(),
            block_particles: 64,
            instruction_set: "avx2".into(),
            backend: "cpu".into(),
            device: String::new(),
        };
        let origin = Origin { identity: identity.clone(), plan_digest: String::new(), inputs: vec![then.clone()] };
        assert!(origin.changed_inputs(std::slice::from_ref(&then)).is_empty());
        assert!(identity.differences(&identity).is_empty());

        std::fs::write(&path, "data_particlez\n").unwrap();
        let same_size = InputFile::of_table("particles", "particles.star", &path).unwrap();
        assert!(origin.changed_inputs(&[same_size])[0].contains("another content"));
        std::fs::write(&path, "data_particles\n\n").unwrap();
        let longer = InputFile::of_table("particles", "particles.star", &path).unwrap();
        assert!(origin.changed_inputs(&[longer])[0].contains("15 bytes and has 16 now"));
        assert!(origin.changed_inputs(&[])[0].contains("absent"));

        let other = Identity { instruction_set: "avx512".into(), ..identity.clone() };
        assert_eq!(identity.differences(&other), ["the instruction set was avx2 and is now avx512"]);
        assert!(Identity { backend: "auto".into(), ..identity.clone() }.differences(&identity).is_empty());
        let gpu = |device: &str| Identity { backend: "cuda".into(), device: device.into(), ..identity.clone() };
        assert_eq!(identity.differences(&gpu("8.0")), ["the backend was cpu and is now cuda"]);
        assert_eq!(gpu("8.0").differences(&gpu("9.0")), ["the GPU was 8.0 and is now 9.0"]);
        assert!(InputFile::of_images("stack", "no.mrcs", &folder.path().join("no.mrcs")).is_err());
    }
}
