//! A known volume -> a data set with truth.
