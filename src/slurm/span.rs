//! Lengths of time as Slurm writes them.

use std::fmt;

use serde::Serialize;
use serde::Serializer;

/// A time limit, or what is left of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Seconds(u64),
    Unlimited,
}

impl Span {
    /// Reads `4:56`, `2:07:00` and `1-02:03:04`, and `UNLIMITED`. What Slurm writes where there is none (`INVALID` after
    /// the end of a limit, `NOT_SET`, `N/A`, `Partition_Limit`) and what is no length of time is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("unlimited") || text.eq_ignore_ascii_case("infinite") {
            return Some(Self::Unlimited);
        }
        let (days, clock) = match text.split_once('-') {
            Some((days, clock)) => (number(days)?, clock),
            None => (0, text),
        };
        let parts: Vec<u64> = clock.split(':').map(number).collect::<Option<_>>()?;
        let seconds = match parts[..] {
            [hours, minutes, seconds] => hours * 3600 + minutes * 60 + seconds,
            [minutes, seconds] => minutes * 60 + seconds,
            // One number alone could be anything.
            _ => return None,
        };
        Some(Self::Seconds(days * 86400 + seconds))
    }

    pub fn seconds(self) -> Option<u64> {
        match self {
            Self::Seconds(seconds) => Some(seconds),
            Self::Unlimited => None,
        }
    }
}

/// Digits only, and few enough that nothing overflows.
fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds} s"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

/// Seconds, or null for no limit.
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.seconds().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_the_rest_is_none() {
        for (text, seconds) in
            [("4:56", 296), ("00:00", 0), ("2:07:00", 7620), ("01:00:00", 3600), ("1-02:03:04", 93784)]
        {
            assert_eq!(Span::parse(text), Some(Span::Seconds(seconds)), "{text}");
        }
        assert_eq!(Span::parse(" UNLIMITED\n"), Some(Span::Unlimited));
        for text in ["INVALID", "NOT_SET", "N/A", "Partition_Limit", "", "5", "-1:00", "1:2:3:4", "1-", "9999999999:00"]
        {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }
}
