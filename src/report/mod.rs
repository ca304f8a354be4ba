//! Run folder -> one HTML page and PNGs.
