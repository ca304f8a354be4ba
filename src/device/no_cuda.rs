//! In place of CUDA in a program that was built without it.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::Driver;
use super::Found;
use super::Precision;

fn absent<T>() -> Result<T> {
    Err(Error::new(
        ExitCode::Unavailable,
        "CUDA",
        "this program was built without CUDA",
        "Take a build with it (`cargo build --release --features cuda`), or compute on the CPU: --backend cpu.",
    ))
}

/// The GPUs that this process may use: an error, there is no CUDA.
///
/// # Errors
/// Always.
pub fn devices() -> Result<Vec<Found>> {
    absent()
}

/// Opens a GPU: an error, there is no CUDA.
///
/// # Errors
/// Always.
pub fn open(_: Option<&str>, _: Precision) -> Result<(Box<dyn Driver>, Vec<String>)> {
    absent()
}
