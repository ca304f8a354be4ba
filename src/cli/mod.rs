//! The command line: one file per verb.

mod branch;
mod check;
mod checkpoint;
mod compare;
mod completions;
mod config;
mod drill;
mod engine;
mod follow;
mod import;
mod job;
mod man;
mod maps;
mod mask;
mod new;
mod pace;
mod page;
mod pixels;
mod plan;
mod postprocess;
mod report;
mod resume;
mod run;
mod screen;
mod simulate;
mod start;
mod status;
mod verbs;
mod words;

pub use checkpoint::Export;
pub use checkpoint::Verb as CheckpointVerb;
pub use page::page;
pub use screen::error_json;
pub use verbs::main;
pub use verbs::tell_file_limits;
