//! Signs of life of this rank, and how long its present work may take.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::message::Beat;

/// Work is stuck when it takes this many times as long as it should, but not earlier than after `LEAST`.
const PATIENCE: u32 = 5;
const LEAST: Duration = Duration::from_secs(30);
/// While nothing is known about a kind of work.
pub const UNKNOWN: Duration = Duration::from_secs(3600);

/// Written by the thread that works, read by the one that shows it.
#[derive(Debug, Default)]
pub struct Pulse {
    deeds: AtomicU64,
    allowance: AtomicU64,
    particles: AtomicU64,
}

impl Pulse {
    /// Work begins that should take `expected`, as far as that is known.
    pub fn begin(&self, expected: Option<Duration>) {
        let allowance = expected.map_or(UNKNOWN, |time| (time * PATIENCE).max(LEAST));
        self.allowance.store(allowance.as_secs().max(1), Relaxed);
        self.deeds.fetch_add(1, Relaxed);
    }

    /// This rank waits for others, as long as they need.
    pub fn wait(&self) {
        self.allowance.store(0, Relaxed);
        self.deeds.fetch_add(1, Relaxed);
    }

    /// Particles of the present iteration that this rank finished.
    pub fn tell_particles(&self, count: usize) {
        self.particles.store(count as u64, Relaxed);
    }

    pub fn beat(&self) -> Beat {
        Beat {
            deeds: self.deeds.load(Relaxed),
            allowance: self.allowance.load(Relaxed),
            particles: self.particles.load(Relaxed),
        }
    }
}
