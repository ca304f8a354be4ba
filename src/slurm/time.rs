//! Time limits as Slurm writes and reads them.

/// A limit: seconds, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Seconds(u64),
    None,
}

/// Reads what `sbatch --time` takes: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes,
/// days-hours:minutes:seconds, UNLIMITED.
pub fn parse(text: &str) -> Option<Limit> {
    let text = text.trim();
    if ["unlimited", "infinite"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Some(Limit::None);
    }
    let number =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten();
    let numbers = |text: &str| text.split(':').map(number).collect::<Option<Vec<u32>>>();
    let [days, hours, minutes, seconds] = match text.split_once('-') {
        Some((days, clock)) => match numbers(clock)?[..] {
            [hours] => [number(days)?, hours, 0, 0],
            [hours, minutes] => [number(days)?, hours, minutes, 0],
            [hours, minutes, seconds] => [number(days)?, hours, minutes, seconds],
            _ => return None,
        },
        None => match numbers(text)?[..] {
            [minutes] => [0, 0, minutes, 0],
            [minutes, seconds] => [0, 0, minutes, seconds],
            [hours, minutes, seconds] => [0, hours, minutes, seconds],
            _ => return None,
        },
    }
    .map(u64::from);
    Some(Limit::Seconds(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
}

/// Seconds as Slurm reads them back.
pub fn text(seconds: u64) -> String {
    let (days, hours, minutes, rest) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let clock = format!("{hours:02}:{minutes:02}:{rest:02}");
    if days == 0 { clock } else { format!("{days}-{clock}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_limit_is_read() {
        for (text, seconds) in [
            ("90", 5400),
            ("30:00", 1800),
            ("12:00:00", 43200),
            ("2-00:00:00", 172_800),
            ("1-2", 93600),
            ("1-02:03", 93780),
        ] {
            assert_eq!(parse(text), Some(Limit::Seconds(seconds)), "{text}");
        }
        assert_eq!(parse("infinite"), Some(Limit::None));
        for text in ["", "4h", "1:2:3:4", "-1", "n/a", "1-"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!((text(43200).as_str(), text(93784).as_str()), ("12:00:00", "1-02:03:04"));
    }
}
