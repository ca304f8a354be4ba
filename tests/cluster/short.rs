//! What runs with `.ci/run`: minutes.

mod ends;
mod environment;
mod ranks;
mod sandboxes;
