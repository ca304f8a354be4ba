//! `report`: one page and its figures from a run folder.

use std::path::PathBuf;

use crate::error::ExitCode;
use crate::error::Result;
use crate::report;

use super::screen::Screen;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "DIR", default_value = ".")]
    pub run_dir: PathBuf,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let page = report::write(&arguments.run_dir)?;
    if screen.is_json() {
        screen.print_json(&serde_json::json!({ "page": page }))?;
    } else {
        screen.print(&format!("the report is {}", page.display()))?;
    }
    Ok(ExitCode::Done)
}
