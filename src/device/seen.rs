//! The devices that the engine may compute on: GPUs, or the kernels' twin where a test asks for it.

use crate::error::Result;

use super::Driver;
use super::Found;
use super::Library;
use super::OnCpu;
use super::Precision;

/// `yes`: the twin is the one device there is. For tests of everything but speed.
const TWIN: &str = "RELION_RS_TWIN";
/// Identity of the twin.
const UUID: &str = "TWIN-of-the-kernels";
/// The twin has as much memory as anybody wants.
const MEMORY_BYTES: u64 = 64 << 30;

fn is_twin_asked_for() -> bool {
    std::env::var(TWIN).is_ok_and(|value| value == "yes")
}

/// The devices that this process may use.
///
/// # Errors
/// `Unavailable` where there is no CUDA.
pub fn seen() -> Result<Vec<Found>> {
    if !is_twin_asked_for() {
        return super::devices();
    }
    Ok(vec![Found {
        ordinal: 0,
        uuid: UUID.to_owned(),
        name: "the kernels' twin on the CPU".to_owned(),
        capability: (0, 0),
        processors: 1,
        memory_bytes: MEMORY_BYTES,
    }])
}

/// Whether this program computes on devices at all.
pub fn can_compute() -> bool {
    cfg!(feature = "cuda") || is_twin_asked_for()
}

/// The libraries that these devices need.
pub fn needed_libraries() -> Vec<Library> {
    if is_twin_asked_for() { Vec::new() } else { super::libraries() }
}

/// Opens a device that was [`seen`]; with what there is to say about its kernels.
///
/// # Errors
/// Those of the driver; kernels that cannot be compiled.
pub fn open_seen(found: &Found, precision: Precision) -> Result<(Box<dyn Driver>, Vec<String>)> {
    if found.uuid == UUID {
        return Ok((Box::new(OnCpu::open(precision)?), Vec::new()));
    }
    super::open(Some(&found.uuid), precision)
}
