//! Tests of expectation.
