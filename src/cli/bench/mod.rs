//! `bench`: the program measured, one file a benchmark.

mod arena;
mod gsd;
mod list;
mod progress;
mod replay;
mod speedup;
mod table;
mod weights;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Precision;
use crate::report;
use crate::report::Chart;

use super::screen::Screen;

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Memory of the largest weight array in each iteration of a run: dense, CSR, blocks of 32
    Weights(weights::Arguments),
    /// The memory stack of a run's latest iteration beside a list allocator that is asked for the same
    Arena(arena::Arguments),
    /// Whole iterations on CPUs and on a GPU, with the same number of ranks, in turn
    Speedup(Box<speedup::Arguments>),
    /// The coarse pass's squared differences on a GPU, form by form, beside the engine's own
    Gsd(gsd::Arguments),
}

pub fn run(verb: &Verb, screen: &Screen) -> Result<ExitCode> {
    match verb {
        Verb::Weights(arguments) => weights::run(arguments, screen),
        Verb::Arena(arguments) => arena::run(arguments, screen),
        Verb::Speedup(arguments) => speedup::run(arguments, screen),
        Verb::Gsd(arguments) => gsd::run(arguments, screen),
    }
}

fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Single => "single",
        Precision::Double => "double",
    }
}

/// Where a picture goes: to `wanted`, else beside the figures of the report.
fn picture(wanted: Option<&PathBuf>, run_dir: &Path, name: &str) -> PathBuf {
    wanted.cloned().unwrap_or_else(|| run_dir.join("report").join(name))
}

fn draw(chart: &Chart, path: &Path) -> Result<()> {
    let failed = |cause| Error::writing(path, &cause);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::File::create(path).and_then(|mut file| file.write_all(&report::png(&chart.scene))).map_err(failed)
}
