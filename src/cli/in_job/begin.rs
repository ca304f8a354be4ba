//! `job begin`: whether there is work, until when, and a word about it.

use std::fs;
use std::fs::File;
use std::time::Duration;
use std::time::Instant;

use crate::cli::resume::not_a_run;
use crate::cli::screen::Screen;
use crate::cli::screen::duration;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::progress;
use crate::plan::progress::Event;
use crate::plan::progress::JobStarted;
use crate::plan::progress::Outcome;
use crate::plan::progress::Record;
use crate::slurm;
use crate::slurm::Span;
use crate::slurm::State;
use crate::slurm::Submission;

use super::BeginArguments;
use super::history;
use super::history::Predecessor;
use super::place;
use super::place::Place;
use super::record::record;

/// How long ranks that outlived their job are waited for; a file system forgets the locks of a dead node in that time.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(180);
/// Ends the script, which has nothing to do.
const NOTHING: &str = "exit 0";

pub fn run(arguments: &BeginArguments, screen: &Screen) -> Result<ExitCode> {
    let run_dir = RunDir::new(&arguments.run_dir);
    let plan = Plan::read(&run_dir.plan()).map_err(not_a_run)?;
    let records = progress::read_or_none(&run_dir.progress())?;
    let say = |text: &str| screen.message(&format!("relion-rs: {text}"));
    if history::is_finished(&plan, &records) {
        say("nothing is left to do: the run is finished");
        screen.print(NOTHING)?;
        return Ok(ExitCode::Done);
    }
    let Some(place) = Place::of_process() else {
        // By hand, without Slurm: there is neither a job nor a limit.
        return Ok(ExitCode::Done);
    };
    let submissions = place::submitted(&run_dir)?;
    let own = submissions.iter().rfind(|submission| submission.id == place.id);
    let continues = own.and_then(|submission| submission.after.clone());
    // A job that Slurm or a person starts again goes on, whatever was before it.
    if let (Some(earlier), 0) = (&continues, place.restarts)
        && let Some(why) = stays(&records, earlier)
    {
        say(&why);
        screen.print(NOTHING)?;
        return Ok(ExitCode::Done);
    }
    if own.is_none() {
        // Somebody typed `sbatch`; `status` and `cancel` are to find the job all the same.
        place::append(&run_dir.jobid(), &Submission::new(&place.id, None).line())?;
    }
    if place.restarts > 0 || continues.is_some() {
        free(&run_dir, &say)?;
    }
    let left = time_left(&place, arguments.time_limit, &run_dir, &say);
    let end = left.map(|left| (progress::unix_seconds() + left).round());
    let log_bytes = fs::metadata(place.log(&run_dir)).map_or(0, |metadata| metadata.len());
    let until = left.map_or_else(|| "no known end".to_owned(), |left| format!("{} left", duration(left)));
    let restart = if place.restarts > 0 { format!(", restart {}", place.restarts) } else { String::new() };
    let after = continues.as_ref().map_or_else(String::new, |id| format!(", after {id}"));
    say(&format!("job {}{restart}{after}, on {} ({}), {until}", place.id, place.nodes, place.partition));
    let started = JobStarted {
        job: place.id,
        restarts: place.restarts,
        continues,
        nodes: place.nodes,
        partition: place.partition,
        end_unix_seconds: end,
        log_bytes,
    };
    record(&run_dir, Event::JobStarted(started), screen);
    screen.print(&match end {
        Some(end) => format!("export SLURM_JOB_END_TIME={end:.0}"),
        None => "unset SLURM_JOB_END_TIME".to_owned(),
    })?;
    Ok(ExitCode::Done)
}

/// On a node whose `slurmd` is gone the ranks of the last start may go on working, though Slurm has given the job up. They
/// see the folder, so they are asked there to save their work and to end.
fn free(run_dir: &RunDir, say: &dyn Fn(&str)) -> Result<()> {
    let is_free = || match run_dir.lock() {
        Ok(_) => Ok(true),
        Err(error) if error.code == ExitCode::Usage => Ok(false),
        Err(error) => Err(error),
    };
    run_dir.create()?;
    if is_free()? {
        return Ok(());
    }
    say("ranks of the last start work in the run folder still; they are asked to save their work and to end");
    let request = run_dir.abort_request();
    File::create(&request).map_err(|cause| Error::writing(&request, &cause))?;
    let end = Instant::now() + ORPHAN_PATIENCE;
    let mut was_freed = is_free()?;
    while !was_freed && Instant::now() < end {
        was_freed = is_free()?;
    }
    // They take it with them as a rule; what is left would stop this start.
    run_dir.take_abort_request()?;
    say(if was_freed { "they have ended" } else { "they have not ended; the ranks of this start will say so" });
    Ok(())
}

/// How many seconds are left: by Slurm's own variable, by `squeue`, or by the limit that the script carries.
fn time_left(place: &Place, limit_minutes: Option<u32>, run_dir: &RunDir, say: &dyn Fn(&str)) -> Option<f64> {
    // One that is over is that of another job, from whose shell this one was submitted.
    if let Some(left) = place::seconds_left().filter(|left| *left > 0.0) {
        return Some(left);
    }
    let seen = slurm::look(&place.id);
    if let Some(left) = seen.job.as_ref().and_then(|job| job.time_left) {
        return left.seconds().map(|seconds| seconds as f64);
    }
    let given = limit_minutes.map(|minutes| f64::from(minutes) * 60.0);
    let limit = given.or_else(|| limit_of_script(&fs::read_to_string(run_dir.script()).unwrap_or_default()));
    if limit.is_none() {
        let why = if seen.silent.is_empty() { "Slurm does not tell".to_owned() } else { seen.silent.join("; ") };
        say(&format!("the end of the job is not known ({why}); only its signals will stop it in time"));
    }
    limit
}

/// The limit that stands in the head of a script.
fn limit_of_script(text: &str) -> Option<f64> {
    let head = text.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
    let limit = head.filter_map(|line| line.strip_prefix("#SBATCH --time=")).last()?.trim();
    let minutes = limit.parse::<u32>().ok().map(|minutes| f64::from(minutes) * 60.0);
    minutes.or_else(|| Some(Span::parse(limit)?.seconds()? as f64))
}

/// Why a job that was queued to go on after another must not; `None` when it may.
fn stays(records: &[Record], earlier: &str) -> Option<String> {
    let past = history::predecessor(records, earlier);
    if let Some(why) = stays_by_its_word(&past, earlier) {
        return Some(why);
    }
    let seen = slurm::look(earlier);
    stays_by_slurm(&past, earlier, seen.job.as_ref().map(|job| &job.state))
}

fn stays_by_its_word(past: &Predecessor, earlier: &str) -> Option<String> {
    let why = match (past.outcome, &past.failure) {
        (Some(Outcome::Stopped), _) => "was stopped or cancelled, so this one, which was to go on after it, stays too",
        (Some(Outcome::Paused), _) => "gave up, so this one, which was to go on after it, does not start either",
        (Some(Outcome::Failed), _) => "failed, and this one would fail in the same way",
        (None, Some((code, _))) if *code != ExitCode::Checkpointed as u8 => {
            "failed, and this one would fail in the same way"
        }
        _ => return None,
    };
    Some(format!("job {earlier} {why}"))
}

/// Nothing comes back after a cancel. Where nobody knows what a job ended as, a SIGTERM that nothing explained counts
/// as one.
fn stays_by_slurm(past: &Predecessor, earlier: &str, state: Option<&State>) -> Option<String> {
    match state {
        Some(State::Cancelled) => Some(format!("job {earlier} was cancelled, so this one does not start either")),
        None if past.outcome == Some(Outcome::Waits) && past.cause.as_deref() == Some("SIGTERM") => Some(format!(
            "job {earlier} was stopped by SIGTERM, and Slurm does not say whether it was cancelled: this one does not start"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_carries_its_limit() {
        let script = |limit: &str| format!("#!/bin/bash\n#SBATCH --job-name=a\n#SBATCH --time={limit}\n\necho\n");
        for (limit, seconds) in [("90", 5400.0), ("1-00:00:00", 86400.0), ("02:30:00", 9000.0)] {
            assert_eq!(limit_of_script(&script(limit)), Some(seconds), "{limit}");
        }
        assert_eq!(limit_of_script(&script("UNLIMITED")), None);
        assert_eq!(limit_of_script("#!/bin/bash\necho\n#SBATCH --time=90\n"), None, "Slurm stops at the first command");
    }

    #[test]
    fn nothing_comes_back_after_a_cancel_or_an_error() {
        let past =
            |outcome, cause: Option<&str>| Predecessor { outcome, failure: None, cause: cause.map(str::to_owned) };
        for outcome in [Outcome::Stopped, Outcome::Paused, Outcome::Failed] {
            assert!(stays_by_its_word(&past(Some(outcome), None), "1").is_some(), "{outcome:?}");
        }
        for outcome in [None, Some(Outcome::Waits), Some(Outcome::Continued), Some(Outcome::Requeued)] {
            assert_eq!(stays_by_its_word(&past(outcome, None), "1"), None, "{outcome:?}");
        }
        let failed = |code| Predecessor { failure: Some((code, "disk full".to_owned())), ..Predecessor::default() };
        assert!(stays_by_its_word(&failed(74), "1").is_some());
        assert_eq!(stays_by_its_word(&failed(75), "1"), None);

        let unknown = past(None, None);
        assert!(stays_by_slurm(&unknown, "1", Some(&State::Cancelled)).is_some());
        for state in [State::Preempted, State::Timeout, State::NodeFail, State::Failed, State::Other("NEW".to_owned())]
        {
            assert_eq!(stays_by_slurm(&unknown, "1", Some(&state)), None, "{state}");
        }
        assert_eq!(stays_by_slurm(&unknown, "1", None), None);
        let waited = past(Some(Outcome::Waits), Some("SIGTERM"));
        assert!(stays_by_slurm(&waited, "1", None).is_some());
        assert_eq!(stays_by_slurm(&waited, "1", Some(&State::Preempted)), None);
    }
}
