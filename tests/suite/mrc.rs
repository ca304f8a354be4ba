//! Tests of mrc.
