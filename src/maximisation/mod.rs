//! Weighted sums -> the next model.
