//! What runs with `.ci/run`: minutes.

mod environment;
mod preemption;
mod sandboxes;
