//! The wire of an engine that was built without MPI: one rank, nobody to talk to.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// Nothing is held.
pub struct Session;

pub const LIBRARY: Option<&str> = None;

pub fn library() -> Option<String> {
    LIBRARY.map(str::to_owned)
}

pub fn open() -> Result<(Session, usize, usize)> {
    Err(Error::new(
        ExitCode::Unavailable,
        "MPI",
        "this engine was built without MPI, and it was started with several ranks",
        "Build it with `make build-mpi` (or `cargo build --release --features mpi --bin relion-rs-rank`), or start one \
         rank.",
    ))
}

fn nobody() -> Error {
    Error::internal("a message in an engine without MPI")
}

pub fn send(_to: usize, _tag: i32, _bytes: &[u8]) -> Result<()> {
    Err(nobody())
}

pub fn poll(_from: Option<usize>, _tag: i32) -> Result<Option<(usize, Vec<u8>)>> {
    Err(nobody())
}

pub fn broadcast_bytes(_root: usize, _bytes: &mut [u8]) -> Result<()> {
    Err(nobody())
}

pub fn broadcast_f32(_root: usize, _values: &mut [f32]) -> Result<()> {
    Err(nobody())
}

pub fn sum_to(_root: usize, _rank: usize, _values: &mut [i64]) -> Result<()> {
    Err(nobody())
}

pub fn exchange(_with: usize, _tag: i32, _ours: &[i64], _theirs: &mut [i64]) -> Result<()> {
    Err(nobody())
}

pub fn abort(code: i32) -> ! {
    std::process::exit(code)
}
