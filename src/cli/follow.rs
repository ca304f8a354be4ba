//! Shows progress while the engine works: a bar on a terminal, a line an iteration elsewhere, events as JSON.

use std::io::IsTerminal;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::error::Result;
use crate::plan::progress::Event;
use crate::plan::progress::IterationFinished;
use crate::plan::progress::Record;
use crate::plan::progress::Started;

use super::screen::Screen;
use super::screen::duration;

/// One screen, shared by the loop that reads progress and the thread that copies messages.
#[derive(Clone, Debug)]
pub struct Display {
    screen: Screen,
    bar: Option<ProgressBar>,
}

impl Display {
    pub fn new(screen: Screen) -> Self {
        let is_drawn = !screen.is_json() && std::io::stderr().is_terminal();
        let bar = is_drawn.then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} particles, {eta} left");
            let bar = ProgressBar::no_length();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { screen, bar }
    }

    /// One event.
    pub fn show(&self, record: &Record) -> Result<()> {
        if self.screen.is_json() {
            return self.screen.print_json(record);
        }
        match &record.event {
            Event::Started(started) => self.line(&started_line(started)),
            Event::IterationStarted { iteration } => {
                if let Some(bar) = &self.bar {
                    bar.reset();
                    bar.set_message(format!("iteration {iteration}"));
                }
                Ok(())
            }
            Event::Batch { particles_done, particles_total, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(*particles_total as u64);
                    bar.set_position(*particles_done as u64);
                }
                Ok(())
            }
            Event::IterationFinished(finished) => self.line(&iteration_line(finished)),
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
            Event::Phase { .. } | Event::ArenaTrace { .. } | Event::Checkpoint { .. } | Event::Failed { .. } => Ok(()),
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

fn started_line(started: &Started) -> String {
    let how = match started.resumed_from {
        Some(iteration) => format!("going on after iteration {iteration}"),
        None => "starting".to_string(),
    };
    let classes = if started.classes > 1 { format!(", {} classes", started.classes) } else { String::new() };
    format!(
        "{} {how}: {} particles of {} px, {:.3} A{classes}, {} threads, {}, {} precision",
        started.kind,
        started.particles,
        started.box_pixels,
        started.pixel_size_angstrom,
        started.threads,
        started.instruction_set,
        started.precision
    )
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
