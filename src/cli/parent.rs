//! A process that ends when the one that started it ends: the engine with its launcher, a launcher with its drill.

use std::process;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::sys::signal::raise;
use nix::unistd::Pid;
use nix::unistd::getppid;

use crate::error::Error;
use crate::error::Result;

/// How often a process that is not the parent is looked for.
const PAUSE: Duration = Duration::from_millis(500);
/// The flag by which a parent gives its process id.
pub(super) const FLAG: &str = "--die-with-parent";

/// The words that tie a child to this process.
pub(super) fn tied() -> [String; 2] {
    [FLAG.to_owned(), process::id().to_string()]
}

/// Ends this process when one of this machine that is not its parent has ended: looks for it now and then.
///
/// # Errors
/// `Internal` when no thread can be started.
pub fn watch(other: u32) -> Result<()> {
    let other = Pid::from_raw(i32::try_from(other).map_err(|_| Error::internal(format!("process {other}")))?);
    let look = move || {
        // On another machine it is not to be seen; its MPI launcher watches there.
        let mut was_there = false;
        loop {
            match kill(other, None) {
                Err(Errno::ESRCH) if was_there => {
                    let _ = raise(Signal::SIGKILL);
                }
                outcome => was_there |= outcome != Err(Errno::ESRCH),
            }
            thread::sleep(PAUSE);
        }
    };
    let spawned = thread::Builder::new().name("watch".to_owned()).spawn(look);
    spawned.map(|_| ()).map_err(|cause| Error::internal(format!("threads: {cause}")))
}

/// Ties this process to its parent, and says whether that is still there: it may have died before.
///
/// # Errors
/// `Internal` when the system refuses.
pub fn tie_to(parent: u32) -> Result<bool> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|cause| Error::internal(format!("prctl: {cause}")))?;
    Ok(u32::try_from(getppid().as_raw()) == Ok(parent))
}
