//! `man`: one page for the program and one a verb.

use std::fs;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;

use super::screen::Screen;
use super::words::command;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))?;
    clap_mangen::generate_to(command(), folder).map_err(|cause| Error::writing(folder, &cause))?;
    if screen.is_json() {
        screen.print_json(&serde_json::json!({ "folder": folder }))?;
    } else {
        screen.print(&format!("man pages are in {}", folder.display()))?;
    }
    Ok(ExitCode::Done)
}
