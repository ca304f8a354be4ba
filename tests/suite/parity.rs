//! Expectation and maximisation together, against RELION's numbers.

mod classification;
mod iteration;
mod model;
