//! Weighted sums -> the next model, and the decisions between two iterations.
//!
//! Controllers: [`resolution`], [`sizes`], [`changes`], [`sampling_update`], [`convergence`].
//! Maps and spectra: [`symmetrise`], [`join`], [`fsc`], [`ssnr`], [`reconstruct`].
//! Where RELION's rule is an accident of its implementation, `parity` selects it; the default is the sane one.

pub mod changes;
pub mod convergence;
pub mod fsc;
mod gridding;
pub mod join;
pub mod reconstruct;
pub mod resolution;
pub mod sampling_update;
pub mod sizes;
pub mod ssnr;
mod sweep;
pub mod symmetrise;
