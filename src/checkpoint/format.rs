//! Named versions of the file format.

use crate::error::Error;
use crate::error::Result;

/// What a checkpoint file looks like. A change of the layout adds a variant at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// The state after a finished iteration: class models, half sets, assignments, controllers.
    FinishedIteration,
    /// The same with the backend in the numerical identity.
    KnownBackend,
}

impl Format {
    pub const ALL: [Self; 2] = [Self::FinishedIteration, Self::KnownBackend];
    /// What this program writes.
    pub const CURRENT: Self = Self::KnownBackend;

    /// The name in the file: the order of the versions and a word a person can remember.
    pub fn name(self) -> &'static str {
        match self {
            Self::FinishedIteration => "relion-rs-checkpoint-1-finished-iteration",
            Self::KnownBackend => "relion-rs-checkpoint-2-known-backend",
        }
    }

    /// The place in the order of the versions, from 1: the number in the name.
    pub fn number(self) -> usize {
        1 + Self::ALL.iter().take_while(|format| **format != self).count()
    }

    /// The version with this name.
    ///
    /// # Errors
    /// A name with a larger number was written by a newer program; any other is not ours.
    pub fn parse(name: &str, place: &str) -> Result<Self> {
        if let Some(known) = Self::ALL.into_iter().find(|format| format.name() == name) {
            return Ok(known);
        }
        let number = name
            .strip_prefix("relion-rs-checkpoint-")
            .and_then(|rest| rest.split('-').next())
            .and_then(|digits| digits.parse::<usize>().ok());
        Err(match number {
            Some(number) if number > Self::ALL.len() => Error::bad_data(
                place,
                format!(
                    "the checkpoint has format `{name}`, newer than `{}`, the newest this program knows",
                    Self::CURRENT.name()
                ),
                "Continue the run with the version of relion-rs that wrote it, or with a newer one; `relion-rs resume \
                 --force` goes on from the checkpoint before it.",
            ),
            _ => Error::bad_data(
                place,
                format!("`{name}` is not the format of a relion-rs checkpoint"),
                "Point to a file that relion-rs wrote under checkpoint/ of a run folder.",
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_newer_is_told_from_foreign() {
        for format in Format::ALL {
            assert_eq!(Format::parse(format.name(), "f").unwrap(), format);
            assert!(format.name().starts_with(&format!("relion-rs-checkpoint-{}-", format.number())));
        }
        let newer = Format::parse("relion-rs-checkpoint-3-half-an-iteration", "iter-003.h5").unwrap_err().to_string();
        assert!(newer.contains("newer") && newer.contains("iter-003.h5"), "{newer}");
        for foreign in ["", "1", "relion-rs-checkpoint-x", "relion-rs-checkpoint-0-old"] {
            assert!(Format::parse(foreign, "f").unwrap_err().to_string().contains("not the format"));
        }
    }
}
