//! How long a run will take yet, against the time that its job has.

use serde::Serialize;

use crate::cli::screen::duration;

use super::gather::Summary;

/// What an estimate is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outlook {
    /// The rest of the present iteration.
    pub iteration_seconds_left: Option<f64>,
    /// The rest of the run; of a refinement nobody knows the number of iterations.
    pub run_seconds_left: Option<f64>,
    /// How often the job will be queued again before the run ends; 0: it ends in time.
    pub restarts_to_come: Option<u32>,
}

impl Outlook {
    /// `seconds_left` and `limit_seconds` are those of the job.
    pub fn of(summary: &Summary, is_counted: bool, seconds_left: Option<f64>, limit_seconds: Option<f64>) -> Self {
        let Some(last) = summary.iterations.last().filter(|last| last.wall_seconds > 0.0) else {
            return Self::default();
        };
        let (present, total) = (summary.iteration.unwrap_or(last.iteration), summary.particles_total);
        let is_between = present <= last.iteration || total == 0;
        let rest = match is_between {
            true => 0.0,
            false => 1.0 - (summary.particles_done as f64 / total as f64).clamp(0.0, 1.0),
        };
        let iteration = (!is_between).then_some(rest * last.wall_seconds);
        let later = summary.last_iteration.saturating_sub(present.max(last.iteration));
        let run = is_counted.then_some(iteration.unwrap_or(0.0) + f64::from(later) * last.wall_seconds);
        Self {
            iteration_seconds_left: iteration,
            run_seconds_left: run,
            restarts_to_come: run.and_then(|run| restarts(run, seconds_left?, limit_seconds)),
        }
    }

    /// A line; nothing when nothing is known.
    pub fn line(&self) -> Option<String> {
        let run = match (self.run_seconds_left, self.iteration_seconds_left) {
            (Some(seconds), _) => format!("about {} left", duration(seconds)),
            (None, Some(seconds)) => format!("about {} left of this iteration", duration(seconds)),
            (None, None) => return None,
        };
        let time = match self.restarts_to_come {
            None => String::new(),
            Some(0) => ": ends within the time of the job".to_owned(),
            Some(1) => ": will be queued again about once".to_owned(),
            Some(count) => format!(": will be queued again about {count} times"),
        };
        Some(format!("{run}{time}"))
    }
}

fn restarts(run: f64, left: f64, limit: Option<f64>) -> Option<u32> {
    if run <= left {
        return Some(0);
    }
    let limit = limit.filter(|limit| *limit > 0.0)?;
    Some(((run - left) / limit).ceil().min(f64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_held_against_the_time_of_the_job() {
        assert_eq!(restarts(100.0, 200.0, None), Some(0));
        assert_eq!(restarts(201.0, 200.0, Some(3600.0)), Some(1));
        assert_eq!(restarts(8000.0, 200.0, Some(3600.0)), Some(3));
        assert_eq!(restarts(8000.0, 200.0, None), None);
        let line = |outlook: Outlook| outlook.line().unwrap_or_default();
        assert_eq!(line(Outlook::default()), "");
        let run = Outlook { run_seconds_left: Some(7620.0), restarts_to_come: Some(2), ..Outlook::default() };
        assert_eq!(line(run), "about 2 h 07 min left: will be queued again about 2 times");
        let iteration = Outlook { iteration_seconds_left: Some(42.0), ..Outlook::default() };
        assert_eq!(line(iteration), "about 42 s left of this iteration");
    }
}
