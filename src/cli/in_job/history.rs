//! What the jobs of a run have done so far, from its `progress.jsonl`.

use crate::plan::Plan;
use crate::plan::progress::Event;
use crate::plan::progress::JobEnded;
use crate::plan::progress::JobStarted;
use crate::plan::progress::Outcome;
use crate::plan::progress::Record;

/// So many restarts in a row without any progress are enough.
pub const FRUITLESS_RESTARTS: usize = 3;

/// How far a run is on disk: the last checkpoint, and the particles of the iteration after it.
type Point = (Option<u32>, usize);

/// The jobs since a person submitted the run last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Starts after the first: of the same job, or of jobs that go on after it.
    pub restarts: u32,
    /// The last restarts have brought nothing to the disk.
    pub is_stuck: bool,
    /// The present start, or the last one.
    pub start: Option<JobStarted>,
    /// Why the engine was asked to stop in it.
    pub cause: Option<String>,
    /// Code and message of the error that the engine ended with in it.
    pub failure: Option<(u8, String)>,
}

impl History {
    pub fn of(records: &[Record]) -> Self {
        let starts = starts(records);
        let fresh = starts.iter().rposition(|(_, start)| start.restarts == 0 && start.continues.is_none());
        let chain = &starts[fresh.unwrap_or(0)..];
        let mut history = Self {
            restarts: chain.len().saturating_sub(1) as u32,
            start: chain.last().map(|(_, start)| (*start).clone()),
            ..Self::default()
        };
        // The first start is none of the restarts.
        if chain.len() > FRUITLESS_RESTARTS {
            let before = chain[chain.len() - FRUITLESS_RESTARTS].0;
            history.is_stuck = point(&records[..before]) == point(records);
        }
        for record in &records[chain.last().map_or(0, |(at, _)| *at)..] {
            match &record.event {
                // Without a job's start in the file, of the last engine only.
                Event::Started(_) => (history.cause, history.failure) = (None, None),
                Event::Stopping { cause, .. } => history.cause = Some(cause.clone()),
                Event::Failed { code, message } => history.failure = Some((*code, message.clone())),
                _ => {}
            }
        }
        history
    }
}

fn starts(records: &[Record]) -> Vec<(usize, &JobStarted)> {
    let mut starts = Vec::new();
    for (at, record) in records.iter().enumerate() {
        if let Event::JobStarted(start) = &record.event {
            starts.push((at, start));
        }
    }
    starts
}

fn point(records: &[Record]) -> Point {
    records.iter().fold((None, 0), |point, record| match record.event {
        Event::Checkpoint { iteration, .. } => point.max((Some(iteration), 0)),
        Event::Part { iteration, particles_done, .. } => point.max((iteration.checked_sub(1), particles_done)),
        _ => point,
    })
}

/// How a job of the run ended, as far as it said so, and the error of its engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predecessor {
    pub outcome: Option<Outcome>,
    pub failure: Option<(u8, String)>,
    pub cause: Option<String>,
}

/// Looks at the last start of one job.
pub fn predecessor(records: &[Record], job: &str) -> Predecessor {
    let mut found = Predecessor::default();
    let begins = |record: &Record| matches!(&record.event, Event::JobStarted(start) if start.job == job);
    let Some(at) = records.iter().rposition(begins) else { return found };
    for record in &records[at + 1..] {
        match &record.event {
            Event::JobStarted(_) => break,
            Event::JobEnded(JobEnded { job: ended, outcome, .. }) if ended == job => found.outcome = Some(*outcome),
            Event::Failed { code, message } => found.failure = Some((*code, message.clone())),
            Event::Stopping { cause, .. } => found.cause = Some(cause.clone()),
            _ => {}
        }
    }
    found
}

/// Whether nothing is left to do: it has converged, or done all iterations that the plan wants by now.
pub fn is_finished(plan: &Plan, records: &[Record]) -> bool {
    let last = records.iter().rev().find_map(|record| match &record.event {
        Event::Started(_) | Event::Failed { .. } => Some(false),
        Event::Finished { checkpointed, converged, iteration, .. } => {
            Some(!checkpointed && (*converged || *iteration >= plan.iterations))
        }
        _ => None,
    });
    last.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn start(job: &str, restarts: u32, continues: Option<&str>) -> Event {
        let continues = continues.map(str::to_owned);
        Event::JobStarted(JobStarted { job: job.to_owned(), restarts, continues, ..JobStarted::default() })
    }

    fn part(iteration: u32, particles_done: usize) -> Event {
        Event::Part { iteration, file: PathBuf::new(), bytes: 1, seconds: 0.1, particles_done }
    }

    fn records(events: Vec<Event>) -> Vec<Record> {
        events.into_iter().map(|event| Record { unix_seconds: 1.0, event }).collect()
    }

    #[test]
    fn restarts_are_counted_from_the_last_submission_of_a_person() {
        let mut events = vec![start("1", 0, None), start("1", 1, None), start("2", 0, None)];
        assert_eq!(History::of(&records(events.clone())).restarts, 0);
        events.extend([start("2", 1, None), start("3", 0, Some("2")), start("3", 1, None)]);
        let history = History::of(&records(events));
        assert_eq!((history.restarts, history.start.unwrap().restarts), (3, 1));
        assert_eq!(History::of(&[]), History::default());
    }

    #[test]
    fn three_restarts_without_a_new_particle_on_disk_are_stuck() {
        let checkpoint = Event::Checkpoint { iteration: 0, file: PathBuf::new(), bytes: 1, seconds: 0.1 };
        let restart = |n| start("1", n, None);
        let is_stuck = |events: &[Event]| History::of(&records(events.to_vec())).is_stuck;
        let mut events = vec![restart(0), checkpoint, part(1, 64), restart(1), restart(2)];
        assert!(!is_stuck(&events));
        events.push(restart(3));
        assert!(is_stuck(&events));
        events.push(part(1, 64));
        assert!(is_stuck(&events), "what was there before is no progress");
        events.push(part(1, 128));
        assert!(!is_stuck(&events));
    }

    #[test]
    fn causes_and_errors_of_the_present_start_count() {
        let stopping = |cause: &str| Event::Stopping { cause: cause.to_owned(), iteration: 1, particles_done: 0 };
        let failed = Event::Failed { code: 74, message: "disk full".to_owned() };
        let ended = Event::JobEnded(JobEnded {
            job: "1".to_owned(),
            code: 74,
            outcome: Outcome::Failed,
            why: "disk full".to_owned(),
        });
        let mut events = vec![start("1", 0, None), failed, ended, start("2", 0, Some("1"))];
        assert_eq!(History::of(&records(events.clone())).failure, None);
        events.push(stopping("SIGUSR2"));
        let history = History::of(&records(events.clone()));
        assert_eq!((history.cause.as_deref(), history.failure), (Some("SIGUSR2"), None));
        let earlier = predecessor(&records(events), "1");
        assert_eq!((earlier.outcome, earlier.failure.unwrap().0, earlier.cause), (Some(Outcome::Failed), 74, None));
        assert_eq!(predecessor(&[], "1"), Predecessor::default());
    }
}
