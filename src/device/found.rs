//! The GPUs of this machine.

/// A GPU, or a part of one, that this process may use.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// CUDA's number, in this process.
    pub ordinal: i32,
    /// `GPU-...`, or `MIG-...` for a part.
    pub uuid: String,
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub processors: u32,
    pub memory_bytes: u64,
}
