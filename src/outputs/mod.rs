//! Maps and STAR files with RELION's names and schema.

mod atomic;
pub mod data_star;

pub use atomic::atomic;
