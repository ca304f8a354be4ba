//! How this Slurm behaves where the rest relies on it, and the ends of jobs that are rarer: minutes each, with
//! `make test-long`.

mod chains;
mod doctor;
mod facts;
mod nodes;
mod quickstart;
mod refusals;
mod starts;
mod stays;
mod turns;
mod verbs;
