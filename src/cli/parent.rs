//! A process that ends when the one that started it ends: the engine with its launcher, a launcher with its drill.

use std::process;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

use crate::error::Error;
use crate::error::Result;

/// The flag by which a parent gives its process id.
pub(super) const FLAG: &str = "--die-with-parent";

/// The words that tie a child to this process.
pub(super) fn tied() -> [String; 2] {
    [FLAG.to_owned(), process::id().to_string()]
}

/// Ties this process to its parent, and says whether that is still there: it may have died before.
///
/// # Errors
/// `Internal` when the system refuses.
pub fn tie_to(parent: u32) -> Result<bool> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|cause| Error::internal(format!("prctl: {cause}")))?;
    Ok(u32::try_from(getppid().as_raw()) == Ok(parent))
}
