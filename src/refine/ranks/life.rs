//! Which ranks live, and which are stuck.

use std::time::Duration;
use std::time::Instant;

use super::message::Beat;

/// A rank without a sign of life for so long is gone: the job ends within half a minute of a death.
pub const SILENCE: Duration = Duration::from_secs(20);

/// A look after so long a pause says nothing of the others.
pub const ABSENCE: Duration = Duration::from_secs(5);

/// What is known of one rank.
#[derive(Clone, Debug)]
struct Sign {
    heard: Instant,
    beat: Beat,
    /// When something was last done.
    done: Instant,
}

/// The ranks' signs of life. Ranks that have not been heard of yet are not judged: starting takes its time, and the
/// MPI launcher watches that.
#[derive(Debug, Default)]
pub struct Life {
    signs: Vec<Option<Sign>>,
}

impl Life {
    pub fn new(ranks: usize) -> Self {
        Self { signs: vec![None; ranks] }
    }

    pub fn hear(&mut self, rank: usize, beat: Beat, now: Instant) {
        let Some(place) = self.signs.get_mut(rank) else { return };
        let done = place.as_ref().filter(|old| old.beat.deeds == beat.deeds).map_or(now, |old| old.done);
        *place = Some(Sign { heard: now, beat, done });
    }

    /// The judge itself was not there for a while, suspended perhaps with all others: nothing follows from their silence.
    pub fn begin_anew(&mut self, now: Instant) {
        self.signs.iter_mut().flatten().for_each(|sign| (sign.heard, sign.done) = (now, now));
    }

    /// The first rank that is gone or stuck, and what to say of it.
    pub fn judge(&self, now: Instant) -> Option<(usize, String)> {
        self.signs.iter().enumerate().find_map(|(rank, sign)| {
            let sign = sign.as_ref()?;
            let silence = now.saturating_duration_since(sign.heard);
            if silence > SILENCE {
                return Some((rank, format!("gives no sign of life for {} s", silence.as_secs())));
            }
            let idle = now.saturating_duration_since(sign.done);
            let is_stuck = sign.beat.allowance > 0 && idle > Duration::from_secs(sign.beat.allowance);
            is_stuck.then(|| {
                let text = format!(
                    "is stuck: nothing was done for {} s, {} s are enough",
                    idle.as_secs(),
                    sign.beat.allowance
                );
                (rank, text)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refine::ranks::Pulse;

    fn after(begin: Instant, seconds: u64) -> Instant {
        begin + Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_death_and_idleness_is_stuck() {
        let begin = Instant::now();
        let mut life = Life::new(3);
        assert_eq!(life.judge(after(begin, 1000)), None, "nobody was heard of yet");
        let pulse = Pulse::default();
        pulse.begin(Some(Duration::from_secs(10)));
        life.hear(1, pulse.beat(), begin);
        assert_eq!(life.judge(after(begin, 20)), None);
        let (rank, text) = life.judge(after(begin, 21)).unwrap();
        assert!(rank == 1 && text.contains("no sign of life"), "{text}");
        // It beats, but nothing is done: 5 times 10 s are allowed.
        life.hear(1, pulse.beat(), after(begin, 45));
        assert_eq!(life.judge(after(begin, 50)), None);
        let (_, text) = life.judge(after(begin, 51)).unwrap();
        assert!(text.contains("stuck"), "{text}");
        // Something was done.
        pulse.begin(None);
        life.hear(1, pulse.beat(), after(begin, 52));
        assert_eq!(life.judge(after(begin, 70)), None);
        // All were suspended.
        life.begin_anew(after(begin, 500));
        assert_eq!(life.judge(after(begin, 510)), None);
        // Waiting for others is no work.
        pulse.wait();
        life.hear(1, pulse.beat(), after(begin, 53));
        life.hear(1, pulse.beat(), after(begin, 9000));
        assert_eq!(life.judge(after(begin, 9001)), None);
    }
}
