//! Kernels compiled ahead, for a site or a cluster whose nodes have no compiler.

use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use crate::error::Error;
use crate::error::Result;

use super::Arch;
use super::Nvrtc;
use super::Precision;
use super::cubin;

/// A file that was made.
#[derive(Clone, Debug)]
pub struct Built {
    pub file: PathBuf,
    pub arch: Arch,
    pub precision: Precision,
    pub bytes: u64,
    pub seconds: f64,
    /// `NVRTC 12.9`.
    pub compiler: String,
}

/// Compiles the kernels for these GPUs, in both precisions, into a folder; `tell` hears of each file.
///
/// # Errors
/// No compiler, or the folder cannot be written.
pub fn build(to: &Path, archs: &[Arch], mut tell: impl FnMut(&Built) -> Result<()>) -> Result<()> {
    std::fs::create_dir_all(to).map_err(|cause| Error::writing(to, &cause))?;
    for arch in archs {
        let nvrtc = Nvrtc::find(arch, None)?;
        for precision in [Precision::Single, Precision::Double] {
            let start = Instant::now();
            let compiled = nvrtc.compile(arch, precision)?;
            let key = cubin::key(arch, precision);
            let file = cubin::path(to, &key);
            cubin::write(&file, &key, &nvrtc.name(), &compiled.cubin)?;
            tell(&Built {
                bytes: std::fs::metadata(&file).map_err(|cause| Error::reading(&file, &cause))?.len(),
                file,
                arch: arch.clone(),
                precision,
                seconds: start.elapsed().as_secs_f64(),
                compiler: nvrtc.name(),
            })?;
        }
    }
    Ok(())
}
