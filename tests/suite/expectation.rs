//! The plain expectation step against RELION's numbers, and the product engine against the plain step.

pub mod found;
pub mod golden;
mod gpu;
mod midway;
mod precision;
pub mod products;
