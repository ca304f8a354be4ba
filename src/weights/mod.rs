//! Squared differences in, posterior weights out; stored in blocks of 32.
//!
//! An *energy* is a squared difference minus the log of the priors; the weight of a sample is
//! `exp(min - energy)`, so the best sample of a particle weighs 1. Sums over weights are made in
//! integers ([`mass`]), so that they do not depend on the order of the samples.

mod blocks;
mod select;
mod sizes;

pub use blocks::{BLOCK, Blocks, Cell, assign, gather, spread};
pub use select::{BINS, Selection, Selector, mass};
pub use sizes::{block_bytes, csr_bytes, dense_bytes};
