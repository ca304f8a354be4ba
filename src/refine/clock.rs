//! How long stopping takes, from what was measured.

use std::time::Duration;
use std::time::Instant;

/// What a disk is expected to take, in bytes a second, before anything was written.
const USUAL_PACE: f64 = 100e6;
/// Shortest time of a writing that a pace is taken from, in seconds.
const SHORTEST_SECONDS: f64 = 1e-3;
/// Spare time before the end of what was given: this share of it, at most so much.
const SPARE_SHARE: f64 = 0.05;
const MOST_SPARE: Duration = Duration::from_secs(60);
/// A rest of an iteration that a batch system may not wait for.
const LONG_REST: Duration = Duration::from_secs(10);

/// Measured times.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What is kept in hand.
    spare: Duration,
    batch_begin: Instant,
    longest_batch: Duration,
    /// Bytes a second of the latest writing.
    pace: f64,
    /// Time of the latest iteration after its expectation step.
    rest: Duration,
}

impl Clock {
    /// `given`: the time until the end, if that is known.
    pub fn new(given: Option<Duration>) -> Self {
        Self {
            spare: given.map_or(MOST_SPARE, |given| given.mul_f64(SPARE_SHARE).min(MOST_SPARE)),
            batch_begin: Instant::now(),
            longest_batch: Duration::ZERO,
            pace: USUAL_PACE,
            rest: Duration::ZERO,
        }
    }

    /// A batch begins.
    pub fn begin_batch(&mut self) {
        self.batch_begin = Instant::now();
    }

    /// The batch ends.
    pub fn end_batch(&mut self) {
        self.longest_batch = self.longest_batch.max(self.batch_begin.elapsed());
    }

    /// Longest batch so far.
    pub fn longest_batch(&self) -> Option<Duration> {
        Some(self.longest_batch).filter(|time| !time.is_zero())
    }

    /// What the latest iteration took after its expectation step.
    pub fn latest_rest(&self) -> Option<Duration> {
        Some(self.rest).filter(|time| !time.is_zero())
    }

    pub fn wrote(&mut self, bytes: u64, seconds: f64) {
        self.pace = bytes as f64 / seconds.max(SHORTEST_SECONDS);
    }

    /// An iteration took so long after its expectation step.
    pub fn rest_took(&mut self, time: Duration) {
        self.rest = time;
    }

    /// Writing so many bytes, with something to spare.
    pub fn writing(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.pace) + self.spare
    }

    /// Whether the rest of an iteration takes so long that writing so many bytes before it is worth its time.
    pub fn is_long_rest(&self, bytes: usize) -> bool {
        self.rest >= LONG_REST && self.rest > self.writing(bytes) - self.spare
    }

    /// Stopping within the expectation step: a batch, and writing.
    pub fn stopping(&self, bytes: usize) -> Duration {
        self.longest_batch + self.writing(bytes)
    }

    /// Finishing the iteration instead, once its expectation step is done.
    pub fn finishing(&self, bytes: usize) -> Duration {
        self.rest + self.stopping(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_counts() {
        let mut clock = Clock::new(Some(Duration::from_secs(100)));
        assert_eq!(clock.writing(200_000_000), Duration::from_secs(7));
        clock.wrote(1_000_000, 0.1);
        clock.rest_took(Duration::from_secs(20));
        assert_eq!(clock.writing(10_000_000), Duration::from_secs(6));
        clock.begin_batch();
        std::thread::sleep(Duration::from_millis(5));
        clock.end_batch();
        let batch = clock.stopping(10_000_000) - clock.writing(10_000_000);
        assert!(batch >= Duration::from_millis(5), "{batch:?}");
        assert_eq!(clock.finishing(0), clock.stopping(0) + Duration::from_secs(20));
        // Of a week only a minute is spared; so it is where the end is not known.
        let week = Clock::new(Some(Duration::from_secs(7 * 86_400)));
        assert_eq!([week.writing(0), Clock::new(None).writing(0)], [MOST_SPARE; 2]);
        clock.wrote(u64::MAX, 0.0);
        assert!(clock.writing(usize::MAX) < Duration::from_secs(6));
    }
}
