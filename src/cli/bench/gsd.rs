//! `bench gsd`: the coarse pass's squared differences, form by form and box by box. The engine measures.

use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::engine;
use crate::cli::job::Job;
use crate::cli::job::JobArguments;
use crate::cli::run;
use crate::cli::screen::Screen;
use crate::cli::specimen;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::GsdRecord;
use crate::plan::GsdRow;
use crate::plan::GsdSettings;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::plan::RunDir;
use crate::report::Axis;
use crate::report::Chart;
use crate::report::SERIES;
use crate::report::Series;
use crate::site;

use super::draw;
use super::precision_name;
use super::table::table;

/// Boxes of simulated particles: larger ones are padded, since only the largest GPU needs full rows at 512 pixels.
const SOURCE_BOX: usize = 64;
const SOURCE_BOX_FOR_GPU: usize = 256;
const FEWEST_SIMULATED: u32 = 64;
/// As wide as the simulated particle.
const DIAMETER_ANGSTROM: f64 = 180.0;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Run folder whose particles and reference are taken (default: some are simulated)
    #[arg(value_name = "RUN")]
    pub run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub settings: GsdSettings,
    /// Box of the simulated particles (default: the largest of --box up to 256)
    #[arg(long, value_name = "PIXELS", conflicts_with = "run_dir")]
    pub source_box: Option<usize>,
    /// Folder for the simulated particles, kept afterwards (default: a temporary one)
    #[arg(long, value_name = "DIR", conflicts_with = "run_dir")]
    pub folder: Option<PathBuf>,
    /// Picture to write
    #[arg(long, value_name = "FILE")]
    pub png: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, screen: &Screen) -> Result<ExitCode> {
    let temporary = match (&arguments.run_dir, &arguments.folder) {
        (None, None) => {
            let made = tempfile::Builder::new().prefix("relion-rs-bench-").tempdir();
            Some(made.map_err(|cause| Error::writing(&std::env::temp_dir(), &cause))?)
        }
        _ => None,
    };
    let folder = temporary.as_ref().map(tempfile::TempDir::path).or(arguments.folder.as_deref());
    let run_dir = match (&arguments.run_dir, folder) {
        (Some(run_dir), _) => run_dir.clone(),
        (None, Some(folder)) => simulated(arguments, folder)?,
        (None, None) => return Err(Error::internal("a benchmark without a folder")),
    };
    let words = arguments.settings.words();
    let flags = words.iter().map(OsStr::new).chain([OsStr::new("--"), run_dir.as_os_str()]);
    let (code, text) = engine::answer(&["bench", "gsd"], &flags.collect::<Vec<_>>(), screen)?;
    if code != ExitCode::Done {
        return Ok(code);
    }
    let record: GsdRecord =
        serde_json::from_str(text.trim()).map_err(|cause| Error::internal(format!("the engine's answer: {cause}")))?;
    if let Some(path) = &arguments.png {
        draw(&chart(&record), path)?;
    }
    if screen.is_json() {
        let told = serde_json::to_value(&record).map_err(|cause| Error::internal(format!("record: {cause}")))?;
        screen.print_json(&with_picture(told, arguments.png.as_deref()))?;
    } else {
        screen.print(&shown(&record))?;
        if let Some(path) = &arguments.png {
            screen.print(&format!("the picture is {}", path.display()))?;
        }
    }
    Ok(code)
}

fn with_picture(mut told: Value, path: Option<&Path>) -> Value {
    told["picture"] = path.map_or(Value::Null, |path| path.display().to_string().into());
    told
}

/// A run folder that nobody has run, with particles of its own.
fn simulated(arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
    let folder = std::path::absolute(folder).map_err(|cause| Error::reading(folder, &cause))?;
    let (data, root) = (folder.join("data"), folder.join("run"));
    let count = arguments.settings.particles.unwrap_or(0).max(FEWEST_SIMULATED) as usize;
    specimen::simulate_into(count, source_box(arguments)?, &data)?;
    let flags = JobFile {
        particles: Some(data.join("particles.star")),
        reference: Some(data.join("truth.mrc")),
        out: Some(root.clone()),
        diameter: Some(DIAMETER_ANGSTROM),
        ..JobFile::default()
    };
    let job = Job::load(JobArguments { job: Some(JobKind::Class3d.name().into()), flags })?;
    run::prepare(&RunDir::new(&root), &job.resolve()?.plan, &job.layers)?;
    Ok(root)
}

fn source_box(arguments: &Arguments) -> Result<usize> {
    if let Some(n) = arguments.source_box {
        return Ok(n);
    }
    if let Some(largest) = arguments.settings.boxes.iter().max() {
        return Ok((*largest).clamp(16, SOURCE_BOX_FOR_GPU));
    }
    let probe = site::probe(&engine::program()?).unwrap_or(Value::Null);
    let has_gpu = probe["devices"].as_array().is_some_and(|devices| !devices.is_empty());
    Ok(if has_gpu { SOURCE_BOX_FOR_GPU } else { SOURCE_BOX })
}

fn shown(record: &GsdRecord) -> String {
    let head = [
        "box",
        "form",
        "seconds",
        "GFLOP/s",
        "of peak",
        "over direct",
        "rms error",
        "largest",
        "of terms",
        "of spread",
    ];
    let or_none = |value: Option<f64>, digits: usize| value.map_or("-".to_string(), |v| format!("{v:.digits$}"));
    let cells: Vec<[String; 10]> = record
        .rows
        .iter()
        .map(|row| {
            let on_twin = record.is_twin && row.gigaflops.is_none();
            [
                row.box_pixels.to_string(),
                row.form.clone(),
                format!("{:.3e}{}", row.seconds, if on_twin { " (twin)" } else { "" }),
                or_none(row.gigaflops, 1),
                row.share_of_peak.map_or("-".to_string(), |share| format!("{:.1} %", 100.0 * share)),
                or_none(row.speed_up, 2),
                format!("{:.1e}", row.rms_error),
                format!("{:.1e}", row.largest_error),
                format!("{:.1e}", row.relative_error),
                format!("{:.1e}", row.error_of_spread),
            ]
        })
        .collect();
    let mut text = format!(
        "squared differences of the coarse pass, {} precision, on {} ({}); cpu: {} threads, {}\n",
        precision_name(record.precision),
        record.device,
        record.uuid,
        record.cpu_threads,
        record.instruction_set
    );
    for note in &record.notes {
        text.push_str(note);
        text.push('\n');
    }
    for peak in &record.peaks {
        text.push_str(&format!("peak of {} by {}: {:.0} GFLOP/s\n", peak.unit, peak.instruction, peak.peak_gigaflops));
    }
    for row in first_of_each_box(&record.rows) {
        let how = match row.box_pixels.cmp(&record.source_box_pixels) {
            std::cmp::Ordering::Less => format!(", cropped from {} px in Fourier space", record.source_box_pixels),
            std::cmp::Ordering::Equal => String::new(),
            std::cmp::Ordering::Greater => {
                format!(
                    ", padded from {} px in Fourier space ({} of them filled)",
                    record.source_box_pixels, row.filled_pixels
                )
            }
        };
        text.push_str(&format!(
            "{} px: {} projections x {} particles x {} translations x {} pixels{how}\n",
            row.box_pixels, row.poses, row.particles, row.translations, row.pixels
        ));
    }
    text + &table(head, &cells)
}

fn first_of_each_box(rows: &[GsdRow]) -> impl Iterator<Item = &GsdRow> {
    let is_first = |(i, row): &(usize, &GsdRow)| *i == 0 || rows[i - 1].box_pixels != row.box_pixels;
    rows.iter().enumerate().filter(is_first).map(|(_, row)| row)
}

/// GFLOP/s over the box; on the twin, which has no speed, errors.
fn chart(record: &GsdRecord) -> Chart {
    let value = |row: &GsdRow| if record.is_twin { Some(row.relative_error) } else { row.gigaflops };
    let mut curves: Vec<(&str, Vec<[f64; 2]>)> = Vec::new();
    for row in &record.rows {
        let Some(value) = value(row).filter(|value| *value > 0.0) else { continue };
        let point = [row.box_pixels as f64, value];
        match curves.iter_mut().find(|(form, _)| *form == row.form) {
            Some((_, points)) => points.push(point),
            None => curves.push((&row.form, vec![point])),
        }
    }
    let values = || curves.iter().flat_map(|(_, points)| points).map(|point| point[1]);
    let largest = record.rows.iter().map(|row| row.box_pixels).max().unwrap_or(1);
    let (title, label) = match record.is_twin {
        true => ("Squared differences on the kernels' twin: error over the two terms", "relative error (rms)"),
        false => ("Squared differences of the coarse pass", "GFLOP/s"),
    };
    let y = Axis::log(label, values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let mut chart = Chart::new(title, Axis::linear("box in pixels", 0.0, largest as f64), y);
    let colour = |i: usize| if i < SERIES.len() { SERIES[i] } else { crate::report::INK };
    let legend: Vec<_> = curves.iter().enumerate().map(|(i, (form, _))| (*form, colour(i))).collect();
    chart.legend(&legend);
    for (i, (_, points)) in curves.into_iter().enumerate() {
        chart.series(&Series::new(colour(i), points));
    }
    chart
}
