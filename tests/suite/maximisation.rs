//! Tests of maximisation.
