//! Squared differences in, posterior weights out; stored in blocks of 32.
