//! Weighted sums -> the next model, and the decisions between two iterations.
//!
//! - Before the first iteration: [`initial`].
//! - Decisions: [`resolution`], [`sizes`], [`changes`], [`accuracy`], [`sampling_update`], [`convergence`], [`classes`].
//! - Maps and spectra: [`symmetrise`], [`join`], [`fsc`], [`solvent_fsc`], [`ssnr`], [`reconstruct`], [`flatten`].
//! - Everything else in the model: [`parameters`].
//!
//! Where RELION's rule is an accident of its implementation, `parity` selects it; the default is the sane one.

pub mod accuracy;
pub mod changes;
pub mod classes;
pub mod convergence;
pub mod flatten;
pub mod fsc;
mod gridding;
pub mod initial;
pub mod join;
pub mod parameters;
pub mod reconstruct;
pub mod resolution;
pub mod sampling_update;
pub mod sizes;
pub mod solvent_fsc;
pub mod ssnr;
mod sweep;
pub mod symmetrise;
