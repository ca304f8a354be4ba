//! Maps and STAR files with RELION's names and schema.

mod atomic;

pub use atomic::atomic;
