//! How this Slurm behaves where the rest relies on it: minutes each, with `make test-long`.

mod facts;
mod ranks;
