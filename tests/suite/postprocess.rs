//! Tests of postprocess.
