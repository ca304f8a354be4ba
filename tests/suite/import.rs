//! Jobs of RELION taken over: what the checkpoint holds, and where the run goes from there.

mod dialects;
mod golden;
mod refusals;
mod round_trip;
mod stage;
