//! File formats: records in, records out, no meaning.

pub mod atomic;
pub mod mrc;
pub mod star;
