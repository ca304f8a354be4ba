//! Which devices this process sees, and what the CUDA engine needs beside them.

use serde::Deserialize;
use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
#[cfg(not(feature = "cuda"))]
use crate::error::Result;

#[cfg(not(feature = "cuda"))]
use super::Driver;
#[cfg(not(feature = "cuda"))]
use super::Precision;

/// A device that this process may use: a GPU, or a slice of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// As the driver counts for this process.
    pub ordinal: u32,
    /// `GPU-...` or `MIG-...`.
    pub uuid: String,
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub processors: u32,
    pub memory_bytes: u64,
}

/// A library that the CUDA engine loads when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// `driver`, `NVRTC`, `cuFFT`.
    pub name: String,
    /// Of what was loaded; `None`: it was not.
    pub version: Option<String>,
    /// Why not, in the loader's words.
    pub problem: String,
}

/// Why there is no device to compute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// This program was built without the feature `cuda`.
    Feature,
    /// The driver's library cannot be loaded or does not start.
    Driver { cause: String },
    /// Another library cannot be loaded.
    Library { name: String, cause: String },
    /// The driver shows none to this process.
    Device,
    /// Another process has it for itself.
    InUse { device: String },
    /// It is closed to all processes.
    Closed { device: String },
}

/// The driver's numbers for what it answers and for how many processes it lets to a device, as in `cuda.h`.
#[cfg(any(test, feature = "cuda"))]
mod number {
    pub const CONTEXT_ALREADY_IN_USE: u32 = 216;
    pub const DEVICE_UNAVAILABLE: u32 = 46;
    pub const MODE_PROHIBITED: u32 = 2;
    pub const MODE_EXCLUSIVE_PROCESS: u32 = 3;
}

impl Absent {
    /// Why a device refused to be opened, where its mode is the cause: then the driver says no more than `busy or
    /// unavailable`.
    #[cfg(any(test, feature = "cuda"))]
    pub fn refusal(answer: u32, mode: u32, uuid: &str) -> Option<Self> {
        let device = format!("GPU {uuid}");
        match (answer, mode) {
            (number::DEVICE_UNAVAILABLE | number::CONTEXT_ALREADY_IN_USE, number::MODE_EXCLUSIVE_PROCESS) => {
                Some(Self::InUse { device })
            }
            (_, number::MODE_PROHIBITED) => Some(Self::Closed { device }),
            _ => None,
        }
    }

    pub fn error(&self) -> Error {
        Error::new(ExitCode::Unavailable, "backend cuda", self.problem(), self.fix())
    }

    pub fn problem(&self) -> String {
        match self {
            Self::Feature => "this engine was built without CUDA".to_owned(),
            Self::Driver { cause } => format!("the driver of the GPUs cannot be used: {cause}"),
            Self::Library { name, cause } => format!("{name} cannot be loaded: {cause}"),
            Self::Device => "no GPU is visible to this process".to_owned(),
            Self::InUse { device } => format!("{device} is in exclusive use by another process"),
            Self::Closed { device } => format!("{device} is closed to computation (compute mode `prohibited`)"),
        }
    }

    pub fn fix(&self) -> String {
        match self {
            Self::Feature => {
                "Build an engine with CUDA (`cargo build --release --features cuda --bin relion-rs-rank`), or \
                              compute on CPUs: --backend cpu."
                    .to_owned()
            }
            Self::Driver { .. } => {
                "Run on a machine with NVIDIA's driver (libcuda.so.1; `nvidia-smi` shows it), or compute \
                                    on CPUs: --backend cpu."
                    .to_owned()
            }
            Self::Library { .. } => {
                "Load a CUDA module (`modules` in the site file), or put the library's folder into \
                                     LD_LIBRARY_PATH; `relion-rs doctor` tells what is found."
                    .to_owned()
            }
            Self::Device => {
                "Ask for one (`relion-rs submit --gpus 1`), look at CUDA_VISIBLE_DEVICES and `nvidia-smi -L`, or \
                             compute on CPUs: --backend cpu."
                    .to_owned()
            }
            Self::InUse { .. } => "Wait for that process (`nvidia-smi` names it), choose another GPU by \
                                   CUDA_VISIBLE_DEVICES, have the mode changed (nvidia-smi -c DEFAULT), or compute on \
                                   CPUs: --backend cpu."
                .to_owned(),
            Self::Closed { .. } => "Ask the site for another GPU, or to run `nvidia-smi -c DEFAULT`.".to_owned(),
        }
    }
}

/// The devices that this process may use.
///
/// # Errors
/// `Unavailable`: always, without the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn devices() -> Result<Vec<Found>> {
    Err(Absent::Feature.error())
}

/// Opens a device: always an error, without the feature `cuda`.
///
/// # Errors
/// `Unavailable`.
#[cfg(not(feature = "cuda"))]
pub fn open(_: Option<&str>, _: Precision) -> Result<(Box<dyn Driver>, Vec<String>)> {
    Err(Absent::Feature.error())
}

/// The libraries of the CUDA engine: none without the feature `cuda`.
#[cfg(not(feature = "cuda"))]
pub fn libraries() -> Vec<Library> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        for (absent, problem, fix) in [
            (Absent::Feature, "without CUDA", "--features cuda"),
            (Absent::Driver { cause: "libcuda.so.1: not found".to_owned() }, "libcuda.so.1: not found", "nvidia-smi"),
            (Absent::Library { name: "NVRTC".to_owned(), cause: "no file".to_owned() }, "NVRTC", "LD_LIBRARY_PATH"),
            (Absent::Device, "no GPU is visible", "CUDA_VISIBLE_DEVICES"),
            (Absent::InUse { device: "GPU-1".to_owned() }, "GPU-1 is in exclusive use", "nvidia-smi -c DEFAULT"),
            (Absent::Closed { device: "GPU-1".to_owned() }, "GPU-1 is closed", "nvidia-smi -c DEFAULT"),
        ] {
            let error = absent.error();
            assert_eq!(error.code, ExitCode::Unavailable);
            assert!(error.problem.contains(problem) && error.fix.contains(fix), "{error}");
        }
    }

    #[test]
    fn a_device_that_refuses_is_in_use_where_its_mode_says_so() {
        let (default, prohibited, exclusive) = (0, 2, 3);
        let in_use = Some(Absent::InUse { device: "GPU GPU-1".to_owned() });
        let closed = Some(Absent::Closed { device: "GPU GPU-1".to_owned() });
        let out_of_memory = 2;
        for (answer, mode, absent) in [
            (46, exclusive, &in_use),
            (216, exclusive, &in_use),
            (out_of_memory, exclusive, &None),
            (46, default, &None),
            (46, prohibited, &closed),
        ] {
            assert_eq!(&Absent::refusal(answer, mode, "GPU-1"), absent, "{answer} in mode {mode}");
        }
    }
}
