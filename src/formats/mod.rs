//! File formats: records in, records out, no meaning.

pub mod atomic;
pub mod compressed;
pub mod mrc;
pub mod star;
