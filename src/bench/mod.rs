//! Single parts of the engine measured on the machine at hand; `relion-rs bench` shows the figures.

pub mod gsd;
