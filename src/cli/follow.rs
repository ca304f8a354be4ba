//! Shows progress while the engine works: a bar on a terminal, lines elsewhere, events as JSON.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;
use indicatif::ProgressState;
use indicatif::ProgressStyle;

use crate::error::Result;
use crate::plan::JobKind;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::RankPlace;
use crate::plan::progress::Record;
use crate::plan::progress::Started;

use super::pace::Pace;
use super::screen::Screen;
use super::screen::counted;
use super::screen::duration;

/// How often the bar moves on by itself.
const TICK: Duration = Duration::from_millis(200);

/// One screen, shared by the loop that reads progress and the thread that copies messages.
#[derive(Clone, Debug)]
pub struct Display {
    screen: Screen,
    bar: Option<ProgressBar>,
    pace: Pace,
    /// The next word about particles is the first of its iteration.
    iteration_begins: bool,
}

impl Display {
    pub fn new(screen: Screen) -> Self {
        let is_drawn = !screen.is_json() && std::io::stderr().is_terminal();
        let bar = is_drawn.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(waiting());
            bar.set_message("reading the inputs");
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { screen, bar, pace: Pace::default(), iteration_begins: false }
    }

    /// One event.
    pub fn show(&mut self, record: &Record) -> Result<()> {
        if self.screen.is_json() {
            return self.screen.print_json(record);
        }
        match &record.event {
            Event::Started(started) => {
                // A refinement ends when it has converged.
                let is_counted = started.kind == JobKind::Class3d.name();
                self.pace.last_iteration = is_counted.then_some(started.last_iteration);
                self.wait("looking at the images".to_string());
                self.line(&started_line(started))
            }
            Event::Ranks { ranks } => ranks_table(ranks).iter().try_for_each(|line| self.line(line)),
            Event::IterationStarted { iteration } => {
                self.pace.iteration = *iteration;
                self.iteration_begins = true;
                if let Some(bar) = &self.bar {
                    bar.reset();
                }
                self.wait(format!("iteration {iteration}"));
                Ok(())
            }
            Event::Batch { particles_done, particles_total, .. } => {
                let begins = self.iteration_begins;
                self.iteration_begins = false;
                if begins {
                    self.pace.begin(record.unix_seconds, *particles_done);
                }
                if let Some(bar) = &self.bar {
                    if begins {
                        bar.reset();
                        bar.set_length(*particles_total as u64);
                        bar.set_style(counting());
                    }
                    bar.set_position(*particles_done as u64);
                    return Ok(());
                }
                match self.pace.line(record.unix_seconds, *particles_done, *particles_total) {
                    Some(line) => self.line(&line),
                    None => Ok(()),
                }
            }
            Event::Phase { iteration, name, .. } => {
                if name == "expectation" {
                    self.wait(format!("iteration {iteration}, maps"));
                }
                Ok(())
            }
            Event::IterationFinished(finished) => {
                let left = self.pace.after(finished);
                self.line(&format!("{}{left}", iteration_line(finished)))
            }
            Event::Stopping { cause, iteration, particles_done } => {
                let kept = match particles_done {
                    0 => String::new(),
                    count => format!(", {count} particles into iteration {iteration}"),
                };
                self.line(&format!("stopping: {cause}{kept}"))
            }
            Event::Warning { text } => {
                self.aside(|| self.screen.warning(text));
                Ok(())
            }
            Event::Finished { checkpointed, converged, resolution_angstrom, wall_seconds, cpu_seconds, .. } => {
                let how = match (checkpointed, converged) {
                    (true, _) => "stopped with a checkpoint; the same command goes on",
                    (_, true) => "converged",
                    (_, false) => "finished",
                };
                self.line(&format!(
                    "{how}: {resolution_angstrom:.2} A, {} ({} of CPU)",
                    duration(*wall_seconds),
                    duration(*cpu_seconds)
                ))
            }
            // The engine tells its own error on standard error.
            Event::ArenaTrace { .. } | Event::Checkpoint { .. } | Event::Part { .. } | Event::Failed { .. } => Ok(()),
            // Those of a batch script are in its own log.
            Event::JobStarted(_) | Event::JobEnded(_) => Ok(()),
        }
    }

    /// Says what is done while there is nothing to count.
    fn wait(&self, what: String) {
        if let Some(bar) = &self.bar {
            bar.set_style(waiting());
            bar.set_message(what);
        }
    }

    /// A line of the engine's standard error.
    pub fn message(&self, text: &str) {
        self.aside(|| self.screen.message(text));
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) -> Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.screen.print(text)),
            None => self.screen.print(text),
        }
    }

    fn aside(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

/// The bar's look without something to count, and with.
fn waiting() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg}, {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn counting() -> ProgressStyle {
    let left = |state: &ProgressState, out: &mut dyn Write| {
        // Nothing is known before the first batch is done. A bar that cannot be drawn is no error.
        if state.pos() > 0 {
            let _ = write!(out, ", {} left", duration(state.eta().as_secs_f64()));
        }
    };
    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} particles{left}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left)
}

fn started_line(started: &Started) -> String {
    let how = match started.resumed_from {
        Some(iteration) => format!("going on after iteration {iteration}"),
        None => "starting".to_string(),
    };
    let classes = if started.classes > 1 { format!(", {} classes", started.classes) } else { String::new() };
    format!(
        "{} {how}: {} of {} px, {:.3} A{classes}, {}, {}, {} precision{}",
        started.kind,
        counted(started.particles, "particle"),
        started.box_pixels,
        started.pixel_size_angstrom,
        counted(started.threads, "thread"),
        started.instruction_set,
        started.precision,
        backend_words(started)
    )
}

/// `, backend cuda (the job has GPUs), NVIDIA A100, GPU-...`
fn backend_words(started: &Started) -> String {
    if started.backend.is_empty() {
        return String::new();
    }
    let device = started.device.as_ref().map(|device| format!(", {}, {}", device.name, device.uuid));
    format!(", backend {} ({}){}", started.backend, started.backend_why, device.unwrap_or_default())
}

/// Who works where: a line a rank, in columns.
fn ranks_table(ranks: &[RankPlace]) -> Vec<String> {
    let none = || "-".to_owned();
    let mut rows = vec![["rank", "node", "process", "threads", "cores", "NUMA", "device"].map(str::to_owned)];
    for place in ranks {
        let or_none = |text: &str| if text.is_empty() { none() } else { text.to_owned() };
        rows.push([
            place.rank.to_string(),
            or_none(&place.host),
            place.process.to_string(),
            place.threads.to_string(),
            or_none(&place.cores),
            or_none(&place.numa),
            place.device.clone().unwrap_or_else(none),
        ]);
    }
    let widths: Vec<usize> = (0..7).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The sum of an iteration in one line.
pub fn iteration_line(finished: &IterationFinished) -> String {
    let search = if finished.is_local_search { "local" } else { "global" };
    format!(
        "iteration {:3}: {:7.2} A, Pmax {:.3}, size {} ({}), HEALPix {} {search}, changes {:.2} deg {:.2} A, {}",
        finished.iteration,
        finished.resolution_angstrom,
        finished.average_max_probability,
        finished.current_size,
        finished.coarse_size,
        finished.healpix_order,
        finished.change_degrees,
        finished.change_angstrom,
        duration(finished.wall_seconds)
    )
}
