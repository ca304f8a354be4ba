//! Jobs of Slurm, by fake commands on the PATH: what happens in a job before and after the ranks, and looking at jobs.

mod begin;
mod cancel;
mod end;
mod logs;
mod stage;
mod status;
