//! Instruction sets the products are compiled for.

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

/// An instruction set; part of a run's numerical identity. Those that a processor may lack come from [`Isa::detect`] and
/// [`Isa::from_name`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512F: 16 floats a register.
    #[non_exhaustive]
    Avx512,
    /// AVX2 with FMA: 8 floats a register.
    #[non_exhaustive]
    Avx2,
    /// Whatever the compiler's baseline has.
    Portable,
}

impl Isa {
    /// The best set this processor has.
    pub fn detect() -> Self {
        [Self::Avx512, Self::Avx2].into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// The set of that name (`auto`, `avx512`, `avx2`, `portable`), if this processor has it.
    pub fn from_name(name: &str) -> Result<Self> {
        let isa = match name {
            "auto" => return Ok(Self::detect()),
            "avx512" => Self::Avx512,
            "avx2" => Self::Avx2,
            "portable" => Self::Portable,
            _ => {
                return Err(Error::usage(
                    format!("unknown instruction set `{name}`"),
                    "Use auto, avx512, avx2 or portable.",
                ));
            }
        };
        if !isa.is_available() {
            return Err(Error::new(
                ExitCode::Unavailable,
                "",
                format!("this processor has no {name}"),
                "Use --isa auto, or a node whose processor has it.",
            ));
        }
        Ok(isa)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        match self {
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_available(self) -> bool {
        self == Self::Portable
    }
}
