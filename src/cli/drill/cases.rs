//! What is done to a run: from the flags, or the whole set.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Arguments;

/// Signals that ask a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sent {
    #[value(name = "USR2", alias = "SIGUSR2")]
    Usr2,
    #[value(name = "TERM", alias = "SIGTERM")]
    Term,
    #[value(name = "INT", alias = "SIGINT")]
    Int,
}

impl Sent {
    const ALL: [Self; 3] = [Self::Usr2, Self::Term, Self::Int];

    pub fn signal(self) -> Signal {
        match self {
            Self::Usr2 => Signal::SIGUSR2,
            Self::Term => Signal::SIGTERM,
            Self::Int => Signal::SIGINT,
        }
    }
}

/// How a run is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interruption {
    Signal(Signal),
    Kill,
    /// One of several ranks is killed.
    KillRank(u32),
    /// Killed, and a bit of its newest checkpoint is flipped.
    Corrupt,
    /// Stopped, and for one start nothing large can be written.
    FullDisk,
    /// Every start has so much time.
    Walltime(Option<Duration>),
}

impl Interruption {
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal(signal) => signal.as_str(),
            Self::Kill => "SIGKILL",
            Self::KillRank(_) => "SIGKILL of a rank",
            Self::Corrupt => "damaged checkpoint",
            Self::FullDisk => "full disk",
            Self::Walltime(_) => "walltime",
        }
    }
}

/// One run that is interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// From 1.
    pub number: usize,
    pub what: Interruption,
    /// As asked for, from the start.
    pub after: Option<Duration>,
    /// Else this share of an uninterrupted run's time.
    pub share: f64,
}

/// What the flags ask for; all there is when they ask for nothing.
pub fn wanted(arguments: &Arguments) -> Vec<Case> {
    let mut kinds: Vec<Interruption> =
        arguments.signal.iter().map(|sent| Interruption::Signal(sent.signal())).collect();
    kinds.extend(arguments.kill.then_some(Interruption::Kill));
    kinds.extend(arguments.kill_rank.map(Interruption::KillRank));
    kinds.extend(arguments.corrupt_checkpoint.then_some(Interruption::Corrupt));
    kinds.extend((arguments.fill_disk || arguments.disk.is_some()).then_some(Interruption::FullDisk));
    kinds.extend(arguments.walltime.map(|time| Interruption::Walltime(Some(time))));
    if kinds.is_empty() {
        kinds.extend(Sent::ALL.map(|sent| Interruption::Signal(sent.signal())));
        kinds.extend([Interruption::Kill, Interruption::Corrupt, Interruption::FullDisk, Interruption::Walltime(None)]);
    }
    let times = arguments.times.max(1) as usize;
    let all = (0..times).flat_map(|_| kinds.iter().copied()).enumerate();
    all.map(|(i, what)| Case { number: i + 1, what, after: arguments.after, share: share(i) }).collect()
}

/// Spread over the middle of a run, far from each other.
fn share(i: usize) -> f64 {
    const GOLDEN: f64 = 0.618_034;
    0.2 + 0.6 * ((i as f64 + 0.5) * GOLDEN).fract()
}

/// `500ms`, `30s`, `2m`, `1.5h`; a number alone is seconds.
pub fn time(text: &str) -> std::result::Result<Duration, String> {
    let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let with_unit = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (number, unit) = with_unit.unwrap_or((text, 1.0));
    let seconds = number.trim().parse::<f64>().ok().map(|number| number * unit);
    let time = seconds.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| "a time is a number and a unit: 500ms, 30s, 2m, 1.5h".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("500ms", 0.5), ("30s", 30.0), ("2m", 120.0), ("1.5h", 5400.0), ("3", 3.0)] {
            assert_eq!(time(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "s", "-3s", "0", "1d", "NaN", "inf", "3 parsecs"] {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instants_lie_within_the_run() {
        assert!((0..1000).map(share).all(|share| (0.2..0.8).contains(&share)));
    }
}
