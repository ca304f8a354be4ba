//! How long a run will take yet, for those who read lines.

use crate::plan::progress::IterationFinished;

use super::screen::duration;

/// Without a terminal, a long iteration tells how far it is after so many seconds ...
const LINE_SECONDS: f64 = 60.0;
/// ... and after this share of its particles.
const LINE_SHARE: f64 = 0.1;

/// What an estimate of the time left needs.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// The last iteration, where its number is known beforehand.
    pub last_iteration: Option<u32>,
    pub iteration: u32,
    /// When the present iteration began to look at particles, and what was told last: when, and after how many.
    began: f64,
    told: f64,
    told_particles: usize,
    /// Particles that were done when it began.
    had: usize,
}

impl Pace {
    /// An iteration begins to look at particles; `had` of them are done already.
    pub fn begin(&mut self, now: f64, had: usize) {
        (self.began, self.told, self.told_particles, self.had) = (now, now, had, had);
    }

    /// A line within an iteration, when it is time for one.
    pub fn line(&mut self, now: f64, done: usize, total: usize) -> Option<String> {
        let is_news = (done - self.told_particles.min(done)) as f64 >= LINE_SHARE * total as f64;
        if done <= self.had || now - self.told < LINE_SECONDS || !is_news {
            return None;
        }
        (self.told, self.told_particles) = (now, done);
        let left = (now - self.began) * (total.saturating_sub(done) as f64 / (done - self.had) as f64);
        let iteration = self.iteration;
        Some(format!("iteration {iteration:3}: {done} of {total} particles, about {} left of it", duration(left)))
    }

    /// The time that the iterations after this one will take, if they take as long.
    pub fn after(&self, finished: &IterationFinished) -> String {
        match self.last_iteration.and_then(|last| last.checked_sub(finished.iteration)) {
            None | Some(0) => String::new(),
            Some(left) => format!(", about {} left", duration(f64::from(left) * finished.wall_seconds)),
        }
    }
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
