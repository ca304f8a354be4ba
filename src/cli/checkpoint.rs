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
    /// Show what is inside the newest whole checkpoint, or in the file that is named
    Show(Place),
    /// Read every checkpoint and its digest, and say which are whole
    Verify(Place),
    /// Write RELION's files of a checkpoint, from which `relion_refine --continue` goes on
    Export(Export),
}

#[derive(clap::Args, Debug)]
pub struct Place {
    /// Run folder, or one checkpoint file
    #[arg(value_name = "DIR", default_value = ".")]
    pub path: PathBuf,
}

#[derive(clap::Args, Debug)]
pub struct Export {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
    /// Iteration to export; without it the newest whole checkpoint
    #[arg(long, value_name = "N")]
    pub iteration: Option<u32>,
    /// Folder for the files; start RELION where the run was started
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

pub fn run(verb: &Verb, screen: &Screen) -> Result<ExitCode> {
    let pass = |name, arguments: &[&OsStr]| engine::verb(&["checkpoint", name], arguments, screen);
    let end = OsStr::new("--");
    match verb {
        Verb::Show(place) => pass("show", &[end, place.path.as_os_str()]),
        Verb::Verify(place) => pass("verify", &[end, place.path.as_os_str()]),
        Verb::Export(export) => {
            let iteration = export.iteration.map(|iteration| iteration.to_string());
            let mut arguments = vec![OsStr::new("--out"), export.out.as_os_str()];
            if let Some(iteration) = &iteration {
                arguments.extend([OsStr::new("--iteration"), OsStr::new(iteration)]);
            }
            if export.force {
                arguments.push(OsStr::new("--force"));
            }
            arguments.extend([end, export.run_dir.as_os_str()]);
            pass("export", &arguments)
        }
    }
}
