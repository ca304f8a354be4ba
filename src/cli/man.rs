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

/// Name and text of every page.
///
/// # Errors
/// There is no place for temporary files.
pub fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let folder = tempfile::tempdir().map_err(|cause| Error::writing(&std::env::temp_dir(), &cause))?;
    let failed = |cause: std::io::Error| Error::writing(folder.path(), &cause);
    clap_mangen::generate_to(command(), folder.path()).map_err(failed)?;
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder.path()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        pages.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).map_err(failed)?));
    }
    pages.sort();
    Ok(pages)
}
