//! Tests of outputs.
