//! relion-rs: refinement of cryo-EM single-particle maps by regularised-likelihood
//! expectation maximisation, as RELION does it.
//!
//! The rooms, in the order in which data flows through them. A room uses rooms above
//! it and never one below; `docs/ARCHITECTURE.md` states the rules, `tests/suite/tidy.rs`
//! enforces them.

#![deny(unsafe_code)]

// Shared by launcher and engine.
pub mod background;
pub mod error;
pub mod units;

// Leaves: no cryo-EM meaning, no files, and none uses another.
pub mod arena;
pub mod comm;
pub mod device;
pub mod fourier;
pub mod product;
pub mod rotation;
pub mod weights;

// What was asked and what was decided: the contract between launcher and engine.
pub mod plan;

// Files: bytes to records and back, without opinion about meaning.
pub mod formats;

// The experiment: volume + pose + CTF -> image, and the particles themselves.
pub mod dataset;
pub mod imaging;
pub mod model;

// One iteration of expectation maximisation, in the order it happens.
pub mod checkpoint;
pub mod expectation;
pub mod maximisation;
pub mod outputs;
pub mod refine;
pub mod sampling;

// A job of RELION -> a run folder.
pub mod import;

// Programs beside the refinement.
pub mod postprocess;
pub mod report;
pub mod simulate;

// The engine measured.
pub mod bench;

// The cluster, for the launcher only.
pub mod site;
pub mod slurm;

// The launcher.
pub mod cli;
