//! Refinements under a real Slurm: controller, three nodes and fake GPUs on this machine (`make test-cluster`).
//!
//! `short::` runs with `.ci/run`, `full::` with `make test-long`. One test at a time: the nodes share few cores.

mod full;
mod processes;
mod runs;
mod sandbox;
mod short;
mod submitted;
