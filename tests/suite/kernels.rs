//! The kernels of `kernels/`, on their twin on the CPU and on a GPU where there is one.

mod coarse;
mod compile;
mod gsd;
