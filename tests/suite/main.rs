//! The test suite: one binary, no hardware needed. One module a room.

mod bad_input;
mod checkpoint;
mod cli;
mod conformance;
mod continuation;
mod dataset;
mod drill;
mod expectation;
mod faults;
mod imaging;
mod import;
mod launcher;
mod maximisation;
mod memory;
mod mrc;
mod optics;
mod outputs;
mod parity;
mod plan;
mod postprocess;
mod refine;
mod sampling;
mod star;
mod support;
mod tidy;
mod verbs;
