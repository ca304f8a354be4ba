//! The state between iterations, in HDF5.
