//! `bench weights`: how much the largest weight array of any particle takes in three forms, iteration by iteration.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Precision;
use crate::plan::format_bytes;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::WeightMemory;
use crate::report::Axis;
use crate::report::Chart;
use crate::report::SERIES;
use crate::report::Series;
use crate::weights;

use super::draw;
use super::picture;
use super::precision_name;
use super::progress;
use super::table::table;
use crate::cli::screen::Screen;

const MIB: f64 = 1024.0 * 1024.0;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run_dir: PathBuf,
    /// Bytes of a weight: as in the run, or of this precision
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Picture to write (default: report/bench-weights.png in the run folder)
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
}

/// An iteration's largest weight array.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    iteration: u32,
    /// Coarse samples of a particle, and the most that any particle kept.
    samples: usize,
    kept: usize,
    dense_bytes: usize,
    csr_bytes: usize,
    blocks_bytes: usize,
    /// Dense over blocks.
    ratio: f64,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let recorded = progress::read(&arguments.run_dir)?;
    let precision = recorded.started.as_ref().and_then(|started| precision_named(&started.precision));
    let Some(of_run) = precision else {
        let place = arguments.run_dir.display().to_string();
        return Err(Error::bad_data(place, "the run does not tell its precision", "Name a run of this program."));
    };
    let shown = arguments.precision.unwrap_or(of_run);
    let rows = rows(recorded.iterations.values(), bytes(of_run), bytes(shown));
    if rows.is_empty() {
        let place = arguments.run_dir.display().to_string();
        return Err(Error::bad_data(place, "no iteration tells its weights", "Name a run of this program."));
    }
    let path = picture(arguments.png.as_ref(), &arguments.run_dir, "bench-weights.png");
    draw(&chart(&rows, shown), &path)?;
    if screen.is_json() {
        let scalar = bytes(shown);
        screen.print_json(&serde_json::json!({ "bytes_of_a_weight": scalar, "iterations": rows, "picture": path }))?;
    } else {
        screen.print(&text(&rows, shown))?;
        screen.print(&format!("the picture is {}", path.display()))?;
    }
    Ok(ExitCode::Done)
}

fn precision_named(name: &str) -> Option<Precision> {
    [Precision::Single, Precision::Double].into_iter().find(|precision| precision_name(*precision) == name)
}

fn bytes(precision: Precision) -> usize {
    match precision {
        Precision::Single => size_of::<f32>(),
        Precision::Double => size_of::<f64>(),
    }
}

/// The run tells bytes with `told` bytes a weight; from them follow the samples, and any other number of bytes.
fn rows<'a>(iterations: impl Iterator<Item = &'a IterationFinished>, told: usize, scalar: usize) -> Vec<Row> {
    let row = |finished: &IterationFinished| {
        let WeightMemory { blocks_bytes, dense_bytes, .. } = finished.weights;
        let kept = blocks_bytes as usize / weights::block_bytes(1, told);
        let samples = dense_bytes as usize / weights::dense_bytes(1, told);
        let (dense, blocks) = (weights::dense_bytes(samples, scalar), weights::block_bytes(kept, scalar));
        Row {
            iteration: finished.iteration,
            samples,
            kept,
            dense_bytes: dense,
            csr_bytes: weights::csr_bytes(kept, scalar),
            blocks_bytes: blocks,
            ratio: dense as f64 / blocks as f64,
        }
    };
    iterations.map(row).filter(|row| row.kept > 0).collect()
}

fn text(rows: &[Row], precision: Precision) -> String {
    let size = |bytes: usize| format_bytes(bytes as u64);
    let cells: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            [
                row.iteration.to_string(),
                row.samples.to_string(),
                row.kept.to_string(),
                size(row.dense_bytes),
                size(row.csr_bytes),
                size(row.blocks_bytes),
                format!("{:.1}", row.ratio),
            ]
        })
        .collect();
    let head = ["iteration", "samples N", "kept n", "dense", "CSR", "blocks of 32", "dense/blocks"];
    let largest = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (dense, blocks) = (largest(|row| row.dense_bytes), largest(|row| row.blocks_bytes));
    format!(
        "largest weight array of any particle, {} precision\n{}\nlargest of all: dense {}, blocks {}: 1/{:.1} of it",
        precision_name(precision),
        table(head, &cells),
        size(dense),
        size(blocks),
        dense as f64 / blocks as f64
    )
}

fn chart(rows: &[Row], precision: Precision) -> Chart {
    let of = |bytes: fn(&Row) -> usize| -> Vec<[f64; 2]> {
        rows.iter().map(|row| [f64::from(row.iteration), bytes(row) as f64 / MIB]).collect()
    };
    let curves = [
        ("dense", of(|row| row.dense_bytes), SERIES[4]),
        ("CSR", of(|row| row.csr_bytes), SERIES[1]),
        ("blocks of 32", of(|row| row.blocks_bytes), SERIES[0]),
    ];
    let values = || curves.iter().flat_map(|(_, points, _)| points).map(|point| point[1]);
    let y = Axis::log("MiB", values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let [first, last] = [rows.first(), rows.last()].map(|row| row.map_or(0.0, |row| f64::from(row.iteration)));
    let title = format!("Largest weight array, {} precision", precision_name(precision));
    let mut chart = Chart::new(&title, Axis::iterations(first, last), y);
    chart.legend(&curves.each_ref().map(|(name, _, colour)| (*name, *colour)));
    for (_, points, colour) in curves {
        chart.series(&Series::new(colour, points));
    }
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(kept: usize, samples: usize, scalar: usize) -> IterationFinished {
        let weights = WeightMemory {
            blocks_bytes: weights::block_bytes(kept, scalar) as u64,
            dense_bytes: weights::dense_bytes(samples, scalar) as u64,
            csr_bytes: weights::csr_bytes(kept, scalar) as u64,
        };
        IterationFinished { iteration: 3, weights, ..IterationFinished::default() }
    }

    #[test]
    fn samples_follow_from_bytes_in_either_precision() {
        for told in [4, 8] {
            let iterations = [finished(1000, 20_000, told), finished(0, 0, told)];
            let rows = rows(iterations.iter(), told, 8);
            assert_eq!(rows.len(), 1, "an iteration without weights tells nothing");
            assert_eq!((rows[0].kept, rows[0].samples), (1000, 20_000));
            assert_eq!((rows[0].dense_bytes, rows[0].csr_bytes, rows[0].blocks_bytes), (5_120_000, 384_000, 260_000));
        }
    }
}
