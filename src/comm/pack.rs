//! Values to bytes and back, exactly: floating-point numbers keep their bits.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::error::Result;

pub fn pack(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|cause| Error::internal(format!("a message cannot be made: {cause}")))
}

/// # Errors
/// `Internal`: the bytes are no such value; ranks of different programs.
pub fn unpack<V: DeserializeOwned>(bytes: &[u8]) -> Result<V> {
    postcard::from_bytes(bytes).map_err(|cause| Error::internal(format!("a message cannot be read: {cause}")))
}
