//! Signs of life of this rank, and how long its present work may take.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::message::Beat;

/// Work is stuck when it takes this many times as long as it should, but not earlier than after `LEAST`.
const PATIENCE: u32 = 5;
const LEAST: Duration = Duration::from_secs(30);
/// What making maps is taken to need at least.
const MAPS: Duration = Duration::from_secs(120);
/// While nothing is known about a kind of work.
pub const UNKNOWN: Duration = Duration::from_secs(3600);

/// Written by the thread that works, read by the one that shows it.
#[derive(Debug, Default)]
pub struct Pulse {
    deeds: AtomicU64,
    allowance: AtomicU64,
    particles: AtomicU64,
    is_parting: AtomicBool,
}

impl Pulse {
    /// The run stops: this rank only keeps what it has, whether or not rank 0 is still there.
    pub fn part(&self) {
        self.is_parting.store(true, Relaxed);
    }

    pub fn is_parting(&self) -> bool {
        self.is_parting.load(Relaxed)
    }

    /// Maps are being made; the first ones of a larger window may take much longer than those before.
    pub fn begin_maps(&self, expected: Option<Duration>) {
        self.begin(expected.map(|time| time.max(MAPS)));
    }

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
