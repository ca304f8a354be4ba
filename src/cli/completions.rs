//! `completions`: a script that teaches a shell the verbs and flags.

use clap_complete::Shell;

use crate::error::ExitCode;
use crate::error::Result;

use super::screen::Screen;
use super::words::command;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    screen.print(&String::from_utf8_lossy(&script(arguments.shell)))?;
    Ok(ExitCode::Done)
}

/// The script for a shell.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "relion-rs", &mut script);
    script
}
