//! `relion-template`: the batch script that RELION's GUI fills in.

use crate::error::ExitCode;
use crate::error::Result;

use super::screen::Screen;

/// A RELION_QSUB_TEMPLATE.
pub const TEMPLATE: &str = include_str!("../../slurm/relion-qsub.sh");

pub fn run(screen: &Screen) -> Result<ExitCode> {
    if screen.is_json() {
        screen.print_json(&serde_json::json!({ "template": TEMPLATE }))?;
    } else {
        screen.print(TEMPLATE)?;
    }
    Ok(ExitCode::Done)
}
