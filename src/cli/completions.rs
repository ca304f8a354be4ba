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
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "relion-rs", &mut script);
    screen.print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::Done)
}
