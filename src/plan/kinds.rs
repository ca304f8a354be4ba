//! The choices a job file offers by name, and the size of memory as people write it.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Result;
use crate::product::Isa;

/// What a run computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// One map from two independent halves of the particles, to convergence.
    Refine3d,
    /// Several maps from all particles, for a fixed number of iterations.
    Class3d,
}

/// Scalar of images, transforms and sums of one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    Single,
    Double,
}

/// Where the expectation step runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// A GPU where the engine is built for it and sees one, else CPUs; in a job of Slurm, what the job has.
    #[default]
    Auto,
    Cpu,
    Cuda,
}

/// How a GPU compares images with projections in the coarse search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CoarseForm {
    /// The fastest one whose results are those of single precision.
    #[default]
    Auto,
    /// Squared differences, one pair of image and projection after the other.
    Direct,
    /// Squared differences of tiles of images and projections.
    Tile,
    /// Matrix products, in the precision of the step.
    Product,
    /// Matrix products of numbers that are rounded to 10 bits.
    Tf32,
    /// Matrix products of half precision.
    Fp16,
    /// Three products of 10 bits that make one of single precision.
    #[serde(rename = "3xtf32")]
    #[value(name = "3xtf32")]
    ThreeTf32,
}

/// Vector instructions of the matrix products; part of what decides the bits of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum InstructionSet {
    /// The widest one of the machine the engine runs on.
    Auto,
    Avx512,
    Avx2,
    Portable,
}

impl JobKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Refine3d => "refine3d",
            Self::Class3d => "class3d",
        }
    }
}

impl Backend {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

impl CoarseForm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Tile => "tile",
            Self::Product => "product",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
            Self::ThreeTf32 => "3xtf32",
        }
    }

    /// Whether it has a meaning in single precision only.
    pub fn is_of_single_precision(self) -> bool {
        matches!(self, Self::Tf32 | Self::Fp16 | Self::ThreeTf32)
    }
}

impl InstructionSet {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Avx512, Self::Avx2, Self::Portable].into_iter().find(|set| set.name() == name)
    }

    /// The set the engine uses on this machine.
    ///
    /// # Errors
    /// `Unavailable` when a set was named that this processor lacks.
    pub fn on_this_machine(self) -> Result<Isa> {
        Isa::from_name(self.name())
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes from `"4GiB"`, `"512 MiB"`, `"8G"` (binary, as Slurm reads it), `"1.5GB"` (decimal) or plain bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number * unit;
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes.round() as u64)
}

/// Bytes for people: `384.0 MiB`.
pub fn format_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4GiB", 4 << 30),
            ("4 gib", 4 << 30),
            ("8G", 8 << 30),
            ("1.5MB", 1_500_000),
            ("512", 512),
            ("0", 0),
            ("2 TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "GiB", "-4GiB", "4 GiBs", "1e999", "nan", "4,5GiB"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn bytes_are_shown_with_a_unit() {
        assert_eq!(format_bytes(1000), "1000 B");
        assert_eq!(format_bytes(384 << 20), "384.0 MiB");
        assert_eq!(format_bytes(3 << 41), "6.0 TiB");
    }

    #[test]
    fn names_are_those_of_the_files() {
        use clap::ValueEnum;
        for form in CoarseForm::value_variants() {
            assert_eq!(serde_json::to_value(form).unwrap(), form.name());
            assert_eq!(form.to_possible_value().unwrap().get_name(), form.name());
        }
        for backend in Backend::value_variants() {
            assert_eq!(serde_json::to_value(backend).unwrap(), backend.name());
        }
    }

    #[test]
    fn every_set_is_one_the_products_know() {
        assert_eq!(InstructionSet::Portable.on_this_machine().unwrap(), Isa::Portable);
        for set in [InstructionSet::Auto, InstructionSet::Avx512, InstructionSet::Avx2] {
            if let Err(cause) = set.on_this_machine() {
                assert_eq!(cause.code, crate::error::ExitCode::Unavailable, "{cause}");
            }
        }
    }
}
