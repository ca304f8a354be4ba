//! `bench speedup`: whole iterations of the same jobs on CPUs and on a GPU, in turn, with the same number of ranks.

mod compare;
mod measure;
mod show;

use std::path::PathBuf;

use crate::cli::bench::draw;
use crate::cli::bench::precision_name;
use crate::cli::screen::Screen;
use crate::cli::specimen;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::JobKind;
use crate::plan::Precision;

use compare::Row;
use compare::Side;
use measure::Case;
use measure::Measured;
use measure::Seconds;
use measure::Setup;

const BACKENDS: [Backend; 2] = [Backend::Cpu, Backend::Cuda];

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Particles (default: some are simulated)
    #[arg(long, value_name = "STAR", requires = "reference")]
    pub particles: Option<PathBuf>,
    /// Starting map of these particles
    #[arg(long, value_name = "MAP", requires = "particles")]
    pub reference: Option<PathBuf>,
    /// Number of particles to simulate
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub count: usize,
    /// Box of the simulated particles in pixels
    #[arg(long = "box", value_name = "PIXELS", default_value_t = 64)]
    pub box_pixels: usize,
    /// Jobs
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',', default_values = ["class3d", "refine3d"])]
    pub kinds: Vec<JobKind>,
    /// Precisions
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["single", "double"])]
    pub precision: Vec<Precision>,
    /// Ranks, on either side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub ranks: u32,
    /// Iterations of each job
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: u32,
    /// How often everything is timed; medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Folder for data and runs, kept afterwards (default: a temporary one)
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Picture to write
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
    /// For every run, on either side: -- --diameter 180 --threads 8
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}

/// The rounds of a case, on CPUs and on a GPU.
type Sides = [Vec<Seconds>; 2];

/// A row that could not be measured, and why.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
struct Missing {
    row: String,
    why: String,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let temporary = match &arguments.folder {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("relion-rs-bench-")
                .tempdir()
                .map_err(|cause| Error::writing(&std::env::temp_dir(), &cause))?,
        ),
    };
    let folder = match (&arguments.folder, &temporary) {
        (Some(folder), _) => folder.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err(Error::internal("no folder for the runs")),
    };
    std::fs::create_dir_all(&folder).map_err(|cause| Error::writing(&folder, &cause))?;
    let setup = setup(arguments, folder)?;
    let of_kind =
        |kind: &JobKind| arguments.precision.iter().map(|&precision| Case { kind: *kind, precision }).collect();
    let cases: Vec<Case> = arguments.kinds.iter().flat_map(|kind| -> Vec<Case> { of_kind(kind) }).collect();
    let (seconds, missing) = rounds(&setup, &cases, arguments.rounds, screen)?;
    let sides = cases.iter().zip(seconds);
    let rows: Vec<Row> = sides
        .map(|(case, [cpu, cuda])| {
            let row = Row {
                case: case.name(),
                kind: case.kind.to_string(),
                precision: precision_name(case.precision).to_owned(),
                ranks: setup.ranks,
                cpu: Side::new(&cpu),
                cuda: Side::new(&cuda),
                ..Row::default()
            };
            row.with_ratios()
        })
        .collect();
    if let Some(path) = &arguments.png {
        draw(&show::chart(&rows), path)?;
    }
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "program_version": env!("CARGO_PKG_VERSION"),
            "iterations": setup.iterations,
            "rows": rows,
            "missing": missing,
            "picture": arguments.png,
        }))?;
    } else {
        screen.print(&show::text(&rows))?;
        for Missing { row, why } in &missing {
            screen.print(&format!("missing: {row}: {why}"))?;
        }
        if let Some(path) = &arguments.png {
            screen.print(&format!("the picture is {}", path.display()))?;
        }
    }
    Ok(ExitCode::Done)
}

/// Data, and what all runs are told.
fn setup(arguments: &Arguments, folder: PathBuf) -> Result<Setup> {
    let folder = std::path::absolute(&folder).map_err(|cause| Error::reading(&folder, &cause))?;
    let mut flags = arguments.flags.clone();
    let (particles, reference) = match (&arguments.particles, &arguments.reference) {
        (Some(particles), Some(reference)) => (measure::input(particles)?, measure::input(reference)?),
        _ => {
            let data = folder.join("data");
            specimen::simulate_into(arguments.count, arguments.box_pixels, &data)?;
            for (name, value) in [("--diameter", "180"), ("--ini-high", "40")] {
                if !flags.iter().any(|flag| flag.split('=').next() == Some(name)) {
                    flags.extend([name, value].map(str::to_owned));
                }
            }
            (data.join("particles.star"), data.join("truth.mrc"))
        }
    };
    Ok(Setup { particles, reference, ranks: arguments.ranks, iterations: arguments.iterations, flags, folder })
}

/// Times all cases on both sides, each side first in every other round. A backend that is not there is tried once.
fn rounds(setup: &Setup, cases: &[Case], rounds: u32, screen: &Screen) -> Result<(Vec<Sides>, Vec<Missing>)> {
    let mut seconds = vec![[Vec::new(), Vec::new()]; cases.len()];
    let mut absent: Option<String> = None;
    for round in 0..rounds {
        for (case, seconds) in cases.iter().zip(&mut seconds) {
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for side in order {
                let backend = BACKENDS[side];
                if backend == Backend::Cuda && absent.is_some() {
                    continue;
                }
                match measure::measure(setup, *case, backend, round)? {
                    Measured::Missing(why) => absent = Some(why),
                    Measured::Seconds(found) => {
                        seconds[side].push(found);
                        if !screen.is_json() {
                            let (case, backend) = (case.name(), backend.name());
                            screen.message(&format!("round {}: {case} on {backend}", round + 1));
                        }
                    }
                }
            }
        }
    }
    let row = |case: &Case| format!("{} on {}", case.name(), Backend::Cuda.name());
    let missing = absent
        .map_or_else(Vec::new, |why| cases.iter().map(|case| Missing { row: row(case), why: why.clone() }).collect());
    Ok((seconds, missing))
}
