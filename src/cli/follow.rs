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
use crate::plan::progress::Record;
use crate::plan::progress::Started;

use super::screen::Screen;
use super::screen::counted;
use super::screen::duration;

/// How often the bar moves on by itself.
const TICK: Duration = Duration::from_millis(200);
/// Without a terminal, a long iteration tells how far it is after so many seconds ...
const LINE_SECONDS: f64 = 60.0;
/// ... and after this share of its particles.
const LINE_SHARE: f64 = 0.1;

/// One screen, shared by the loop that reads progress and the thread that copies messages.
#[derive(Clone, Debug)]
pub struct Display {
    screen: Screen,
    bar: Option<ProgressBar>,
    pace: Pace,
}

/// What an estimate of the time left needs.
#[derive(Clone, Debug, Default)]
struct Pace {
    /// The last iteration, where its number is known beforehand.
    last_iteration: Option<u32>,
    iteration: u32,
    /// When the present iteration began to look at particles, and what was told last: when, and after how many.
    began: f64,
    told: f64,
    told_particles: usize,
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
        Self { screen, bar, pace: Pace::default() }
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
            Event::IterationStarted { iteration } => {
                self.pace.iteration = *iteration;
                if let Some(bar) = &self.bar {
                    bar.reset();
                }
                self.wait(format!("iteration {iteration}"));
                Ok(())
            }
            Event::Batch { particles_done, particles_total, .. } => {
                if *particles_done == 0 {
                    self.pace.began = record.unix_seconds;
                    (self.pace.told, self.pace.told_particles) = (record.unix_seconds, 0);
                }
                if let Some(bar) = &self.bar {
                    if *particles_done == 0 {
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
            Event::ArenaTrace { .. } | Event::Checkpoint { .. } | Event::Failed { .. } => Ok(()),
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

impl Pace {
    /// A line within an iteration, when it is time for one.
    fn line(&mut self, now: f64, done: usize, total: usize) -> Option<String> {
        let is_news = (done - self.told_particles.min(done)) as f64 >= LINE_SHARE * total as f64;
        if done == 0 || now - self.told < LINE_SECONDS || !is_news {
            return None;
        }
        (self.told, self.told_particles) = (now, done);
        let left = (now - self.began) * (total.saturating_sub(done) as f64 / done as f64);
        let iteration = self.iteration;
        Some(format!("iteration {iteration:3}: {done} of {total} particles, about {} left of it", duration(left)))
    }

    /// The time that the iterations after this one will take, if they take as long.
    fn after(&self, finished: &IterationFinished) -> String {
        match self.last_iteration.and_then(|last| last.checked_sub(finished.iteration)) {
            None | Some(0) => String::new(),
            Some(left) => format!(", about {} left", duration(f64::from(left) * finished.wall_seconds)),
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
        "{} {how}: {} of {} px, {:.3} A{classes}, {}, {}, {} precision",
        started.kind,
        counted(started.particles, "particle"),
        started.box_pixels,
        started.pixel_size_angstrom,
        counted(started.threads, "thread"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_iteration_tells_how_far_it_is_now_and_then() {
        let mut pace = Pace { iteration: 4, began: 100.0, told: 100.0, ..Pace::default() };
        assert_eq!(pace.line(130.0, 250, 1000), None, "too soon");
        assert_eq!(pace.line(165.0, 50, 1000), None, "too little");
        let text = "iteration   4: 250 of 1000 particles, about 3 min 30 s left of it";
        assert_eq!(pace.line(170.0, 250, 1000).as_deref(), Some(text));
        assert_eq!(pace.line(171.0, 500, 1000), None);
        assert_eq!(pace.line(400.0, 0, 0), None);
    }

    #[test]
    fn the_end_is_estimated_where_it_is_known() {
        let finished = IterationFinished { iteration: 20, wall_seconds: 90.0, ..IterationFinished::default() };
        let after = |last_iteration| Pace { last_iteration, ..Pace::default() }.after(&finished);
        assert_eq!([None, Some(20), Some(25)].map(after), ["", "", ", about 7 min 30 s left"]);
    }
}
