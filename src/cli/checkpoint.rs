//! `checkpoint`: what is inside the checkpoints of a run. The engine looks; these are its words.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::Subcommand;

use crate::error::ExitCode;
use crate::error::Result;

use super::engine;
use super::screen::Screen;

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Read every checkpoint and its digest, and say which are whole
    Verify(Place),
}

#[derive(clap::Args, Debug)]
pub struct Place {
    /// Run folder, or one checkpoint file
    #[arg(value_name = "DIR", default_value = ".")]
    pub path: PathBuf,
}

pub fn run(verb: &Verb, screen: &Screen) -> Result<ExitCode> {
    match verb {
        Verb::Verify(place) => {
            engine::verb(&["checkpoint", "verify"], &[OsStr::new("--"), place.path.as_os_str()], screen)
        }
    }
}
