//! The plain expectation step against RELION's numbers, and the product engine against the plain step.

mod golden;
mod products;
