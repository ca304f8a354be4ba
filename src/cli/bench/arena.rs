//! `bench arena`: the memory stack of an iteration beside a list allocator that is asked for the same.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::format_bytes;
use crate::plan::progress::ArenaRequest;
use crate::report::Axis;
use crate::report::Chart;
use crate::report::SERIES;
use crate::report::Series;

use super::draw;
use super::picture;
use super::progress;
use super::replay;
use super::replay::Model;
use super::replay::Outcome;
use super::replay::Step;
use super::table::table;
use crate::cli::screen::Screen;

const MIB: f64 = 1024.0 * 1024.0;
/// A batch frame is repeated so often at most: more of the same tells nothing more.
const MOST_REPEATS: usize = 200;
/// The smallest pool that serves the list is looked for in steps of a percent up to this.
const MOST_PERCENT: u64 = 100;
/// More points are not told apart in a picture.
const MOST_POINTS: usize = 2000;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder
    #[arg(value_name = "RUN")]
    pub run_dir: PathBuf,
    /// The arena of the GPU instead of the host's
    #[arg(long)]
    pub device: bool,
    /// Streams of the list's user: batches that may end out of order
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub streams: u32,
    /// Try the list in a pool that is larger than the arena by this, too
    #[arg(long, value_name = "PERCENT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub more: u32,
    /// Ask the list for less in batches, by up to this: memory taken by need instead of by plan
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=99))]
    pub spread: u32,
    /// Seed of the model's random times and sizes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Picture to write (default: report/bench-arena.png in the run folder)
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
}

/// An allocator in a pool.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    allocator: String,
    pool_bytes: u64,
    peak_bytes: u64,
    /// Smallest that the largest free block ever was.
    least_free_bytes: u64,
    worst_fragmentation: f64,
    /// Most free bytes that were not in the largest free block.
    most_unusable_bytes: u64,
    waits: usize,
    failed_requests: usize,
}

impl Row {
    fn new(allocator: &str, pool_bytes: u64, outcome: &Outcome) -> Self {
        Self {
            allocator: allocator.to_owned(),
            pool_bytes,
            peak_bytes: outcome.peak,
            least_free_bytes: outcome.least_free,
            worst_fragmentation: outcome.worst_fragmentation(),
            most_unusable_bytes: outcome.most_unusable,
            waits: outcome.waits,
            failed_requests: outcome.failed,
        }
    }
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let mut recorded = progress::read(&arguments.run_dir)?;
    let Some((requests, batches)) = recorded.arenas[usize::from(arguments.device)].take() else {
        let (what, fix) = match arguments.device {
            true => ("the memory of a GPU", "Name a run on a GPU, or leave --device out."),
            false => ("its memory", "Name a run of this version of the program."),
        };
        let place = arguments.run_dir.display().to_string();
        return Err(Error::bad_data(place, format!("the run does not tell what it asked {what} for"), fix));
    };
    let repeats = repeats(&requests, batches);
    let steps = replay::steps(&requests, repeats);
    let iteration = recorded.iterations.keys().last().copied().unwrap_or(0);
    let stack = replay::stack(&steps, u64::MAX);
    let pool = stack.peak;
    let stack = replay::stack(&steps, pool);

    let same = Model { streams: arguments.streams as usize, spread: 0.0, seed: arguments.seed };
    let by_need = Model { spread: f64::from(arguments.spread) / 100.0, ..same };
    let larger = more(pool, u64::from(arguments.more));
    let list = replay::list(&steps, larger, &same);
    let mut rows = vec![Row::new("stack", pool, &stack)];
    for (what, model) in [("list", &same), ("list, by need", &by_need)] {
        for bytes in [pool, larger] {
            rows.push(Row::new(what, bytes, &replay::list(&steps, bytes, model)));
        }
    }
    let enough = [&same, &by_need].map(|model| enough(&steps, pool, model));

    let path = picture(arguments.png.as_ref(), &arguments.run_dir, "bench-arena.png");
    draw(&chart(&stack, &list, larger), &path)?;
    let of_fragmentation = path.with_file_name(match path.file_stem() {
        Some(stem) => format!("{}-fragmentation.png", stem.to_string_lossy()),
        None => "fragmentation.png".to_owned(),
    });
    draw(&fragmentation_chart(&stack, &list), &of_fragmentation)?;
    if screen.is_json() {
        screen.print_json(&serde_json::json!({
            "iteration": iteration,
            "device": arguments.device,
            "requests": requests.len(),
            "batches_replayed": repeats * replay::batch_frames(&requests),
            "streams": arguments.streams,
            "allocators": rows,
            "enough_percent_more": { "list": enough[0], "list, by need": enough[1] },
            "pictures": [path, of_fragmentation],
        }))?;
    } else {
        let batches = repeats * replay::batch_frames(&requests);
        screen.print(&format!(
            "iteration {iteration}: {} steps of the arena, {batches} batches replayed, {} streams",
            requests.len(),
            arguments.streams
        ))?;
        screen.print(&text(&rows))?;
        for (what, enough) in ["the same requests", "requests by need"].iter().zip(enough) {
            screen.print(&enough_line(what, enough))?;
        }
        screen.print(&format!("the pictures are {} and {}", path.display(), of_fragmentation.display()))?;
    }
    Ok(ExitCode::Done)
}

/// How many batches used the buffers of one batch frame, one after the other.
fn repeats(requests: &[ArenaRequest], batches: usize) -> usize {
    batches.div_ceil(replay::batch_frames(requests).max(1)).clamp(1, MOST_REPEATS)
}

fn more(bytes: u64, percent: u64) -> u64 {
    bytes + (bytes as f64 * percent as f64 / 100.0) as u64
}

/// By how many percent a pool must be larger than the arena for the list to serve every request.
fn enough(steps: &[Step], pool: u64, model: &Model) -> Option<u64> {
    (0..=MOST_PERCENT).find(|percent| replay::list(steps, more(pool, *percent), model).failed == 0)
}

fn enough_line(what: &str, enough: Option<u64>) -> String {
    match enough {
        Some(0) => format!("for {what} the list does with a pool of the arena's size"),
        Some(percent) => format!("for {what} the list needs a pool {percent} % larger than the arena"),
        None => format!("for {what} the list needs a pool more than {MOST_PERCENT} % larger than the arena"),
    }
}

fn text(rows: &[Row]) -> String {
    let cells: Vec<[String; 8]> = rows
        .iter()
        .map(|row| {
            [
                row.allocator.clone(),
                format_bytes(row.pool_bytes),
                format_bytes(row.peak_bytes),
                format_bytes(row.least_free_bytes),
                format!("{:.1} %", 100.0 * row.worst_fragmentation),
                format_bytes(row.most_unusable_bytes),
                row.waits.to_string(),
                row.failed_requests.to_string(),
            ]
        })
        .collect();
    let head = ["allocator", "pool", "peak", "largest hole, least", "fragmentation", "lost to it", "waits", "failed"];
    table(head, &cells)
}

/// Levels over the number of the step; of steps that fall together the highest counts.
fn levels(values: &[f64]) -> Vec<[f64; 2]> {
    let stride = values.len().div_ceil(MOST_POINTS).max(1);
    let chunks = values.chunks(stride).enumerate();
    chunks
        .flat_map(|(i, chunk)| {
            let level = chunk.iter().copied().fold(0.0, f64::max);
            [i * stride, i * stride + chunk.len()].map(|at| [at as f64, level])
        })
        .collect()
}

fn series(colour: usize, values: &[f64]) -> Series {
    Series { width: 1.2, dots: false, ..Series::new(SERIES[colour], levels(values)) }
}

fn axis(steps: usize) -> Axis {
    let mut x = Axis::linear("request", 0.0, steps as f64);
    x.high = steps.max(1) as f64;
    x.ticks.retain(|(value, _)| *value <= x.high);
    x
}

fn chart(stack: &Outcome, list: &Outcome, pool: u64) -> Chart {
    let mib = |outcome: &Outcome| outcome.tops.iter().map(|top| *top as f64 / MIB).collect::<Vec<f64>>();
    let highest = pool.max(list.peak) as f64 / MIB;
    let title = "Top of the memory in use, over an iteration";
    let mut chart = Chart::new(title, axis(stack.tops.len()), Axis::linear("MiB", 0.0, highest));
    chart.legend(&[("list", SERIES[1]), ("stack", SERIES[0])]);
    chart.series(&series(1, &mib(list)));
    chart.series(&series(0, &mib(stack)));
    chart.threshold(stack.peak as f64 / MIB, "arena");
    chart
}

fn fragmentation_chart(stack: &Outcome, list: &Outcome) -> Chart {
    let y = Axis::linear("%", 0.0, (100.0 * list.worst_fragmentation()).max(10.0));
    let mut chart = Chart::new("Free memory that no single request can have", axis(stack.tops.len()), y);
    chart.legend(&[("list", SERIES[1]), ("stack", SERIES[0])]);
    let percent = |outcome: &Outcome| outcome.fragmentation.iter().map(|share| 100.0 * share).collect::<Vec<f64>>();
    chart.series(&series(1, &percent(list)));
    chart.series(&series(0, &percent(stack)));
    chart
}
