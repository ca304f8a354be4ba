//! Tests of star.
