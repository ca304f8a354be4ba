//! Compiles the kernels for the CPU, into a folder named by everything the result depends on.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::super::Precision;
use super::super::Source;
use super::super::cache::cache_folder;

const COMPILER: &str = "c++";
const LANGUAGE: &[&str] = &["-std=c++20", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-DON_CPU"];
const USUAL_FLAGS: &str = "-O2";
/// Flags in place of `-O2`, for instance `-O1 -g -fsanitize=address,undefined`.
const FLAGS_VARIABLE: &str = "RELION_RS_KERNEL_FLAGS";

pub struct Built {
    pub path: PathBuf,
    /// Digest, and the compiler.
    pub identity: String,
}

/// The shared library of all kernels and `more`, compiled unless it is there.
pub fn library(precision: Precision, more: &[Source]) -> Result<Built> {
    let flags = std::env::var(FLAGS_VARIABLE).unwrap_or_else(|_| USUAL_FLAGS.to_string());
    let compiler = output(Command::new(COMPILER).arg("-dumpfullversion").arg("-dumpversion"))?;
    let compiler = format!("{COMPILER} {}", compiler.trim());
    let digest = digest(precision, more, &flags, &compiler);
    let folder = cache_folder()?.join("on-cpu");
    let path = folder.join(format!("{digest}-{}.so", precision.name()));
    let identity = format!("{digest} by {compiler} {flags}");
    let built = Built { path, identity };
    if built.path.is_file() {
        return Ok(built);
    }
    std::fs::create_dir_all(&folder).map_err(|cause| Error::writing(&folder, &cause))?;
    // Of many threads and processes one compiles, the others wait for it.
    let lock_path = folder.join(format!("{digest}.lock"));
    let lock = File::create(&lock_path).map_err(|cause| Error::writing(&lock_path, &cause))?;
    lock.lock().map_err(|cause| Error::writing(&lock_path, &cause))?;
    if !built.path.is_file() {
        compile(precision, more, &flags, &folder, &built.path)?;
    }
    Ok(built)
}

fn digest(precision: Precision, more: &[Source], flags: &str, compiler: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in [precision.scalar(), flags, compiler, &Source::digest()] {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    for text in LANGUAGE.iter().copied().chain(Source::ON_CPU.iter().chain(more).map(|source| source.text)) {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_string()
}

fn compile(precision: Precision, more: &[Source], flags: &str, folder: &Path, to: &Path) -> Result<()> {
    let writing = |path: &Path| {
        let path = path.to_path_buf();
        move |cause: std::io::Error| Error::writing(&path, &cause)
    };
    let work = tempfile::tempdir_in(folder).map_err(writing(folder))?;
    for source in Source::ALL.iter().chain(Source::ON_CPU).chain(more) {
        let path = work.path().join(source.name);
        std::fs::write(&path, source.text).map_err(writing(&path))?;
    }
    let program = work.path().join("kernels.cpp");
    std::fs::write(&program, Source::program_of(&[Source::ALL, more].concat())).map_err(writing(&program))?;
    let made = work.path().join("kernels.so");
    let mut command = Command::new(COMPILER);
    command.args(LANGUAGE).arg(format!("-DREAL={}", precision.scalar())).args(flags.split_whitespace());
    // `#pragma unroll` and the like are for GPUs.
    command.args(["-Wno-unknown-pragmas", "kernels.cpp", "-o", "kernels.so"]).current_dir(work.path());
    output(&mut command)?;
    std::fs::rename(&made, to).map_err(writing(to))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|cause| {
        Error::new(
            ExitCode::Unavailable,
            COMPILER,
            format!("the C++ compiler does not start: {cause}"),
            "The kernels' twin on the CPU needs one: install g++.",
        )
    })?;
    if !output.status.success() {
        return Err(Error::internal(format!(
            "{COMPILER} refuses the kernels' twin ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
