//! Words about a job in the progress of its run.

use crate::cli::screen::Screen;
use crate::plan::RunDir;
use crate::plan::progress::Event;
use crate::plan::progress::ProgressWriter;

/// Writes an event. What cannot be written is told; the job matters more.
pub fn record(run_dir: &RunDir, event: Event, screen: &Screen) {
    let written = ProgressWriter::open(&run_dir.progress()).and_then(|mut writer| writer.write(event));
    if let Err(error) = written {
        screen.warning(&error.to_string());
    }
}
