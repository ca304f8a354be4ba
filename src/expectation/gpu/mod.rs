//! The expectation step on a device.
