//! Signals that ask to stop, held back and read one by one, so that none is lost and none ends this process at once.

use std::fs;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SfdFlags;
use nix::sys::signalfd::SignalFd;

use crate::error::Error;
use crate::error::Result;

/// A person or a batch system that sends one of these knows about it.
const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR2];

/// Signals to this process from here on.
#[derive(Debug)]
pub struct Incoming(SignalFd);

impl Incoming {
    /// Holds the signals back, in processes that are started afterwards too until they lift the mask.
    ///
    /// # Errors
    /// `Internal` when the system refuses.
    pub fn new() -> Result<Self> {
        let signals = stopping();
        signals.thread_block().map_err(refused)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&signals, flags).map_err(refused)?))
    }

    /// The next one that has come, as it is to be passed on.
    pub fn next(&self) -> Option<Signal> {
        let signal = self.0.read_signal().ok()??;
        Signal::try_from(signal.ssi_signo as i32).ok().map(passed_on)
    }
}

/// Lifts the mask that this process was started with.
///
/// # Errors
/// `Internal` when the system refuses.
pub fn let_through() -> Result<()> {
    stopping().thread_unblock().map_err(refused)
}

fn stopping() -> SigSet {
    let mut signals: SigSet = STOPPING.into_iter().collect();
    // A closed terminal; under nohup it is to be ignored, and held back it would not be.
    if !is_ignored(Signal::SIGHUP) {
        signals.add(Signal::SIGHUP);
    }
    signals
}

/// A closed terminal is nothing to the engine, which is asked to stop.
fn passed_on(signal: Signal) -> Signal {
    if signal == Signal::SIGHUP { Signal::SIGTERM } else { signal }
}

/// As this process was started; false where the system does not tell.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

fn refused(cause: nix::Error) -> Error {
    Error::internal(format!("signals: {cause}"))
}
