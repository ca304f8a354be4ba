//! Interrupted runs end with the bytes of an uninterrupted one: killed and stopped at random instants, gone on with by
//! other numbers of threads and blocks, and no more work repeated than the events of the run allow.

mod damage;
pub mod place;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use relion_rs::error::ExitCode;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::Record;
use relion_rs::plan::progress::Started;

use place::PATIENCE;
use place::Place;
use place::Random;
use place::Running;
use place::Scene;
use place::VARIANTS;
use place::Whole;
use place::arenas;
use place::warnings;

const PARTICLES: usize = 200;
/// To its end, with the iteration that joins the halves; a large group makes it short.
const REFINE3D: &str = "refine3d --healpix-order 1 --symmetry O";
const CLASS3D: &str = "class3d --classes 2 --healpix-order 1 --iterations 4";
/// Long enough within an iteration for what is looked for once a second.
const SLOW: &str = "class3d --healpix-order 2 --iterations 1 --first-iteration-cc false";

/// Particles from the beginning of the run to a point within an iteration.
fn at(iteration: u32, done: usize) -> usize {
    (iteration as usize).saturating_sub(1) * PARTICLES + done
}

/// How far a process told to have come, and what of that it told to be on disk.
fn told_and_kept(records: &[Record]) -> (usize, usize) {
    let (mut told, mut kept) = (0, 0);
    for record in records {
        match &record.event {
            Event::Batch { iteration, particles_done, .. } | Event::Stopping { iteration, particles_done, .. } => {
                told = told.max(at(*iteration, *particles_done));
            }
            Event::Part { iteration, particles_done, .. } => {
                told = told.max(at(*iteration, *particles_done));
                kept = kept.max(at(*iteration, *particles_done));
            }
            Event::IterationFinished(finished) => told = told.max(at(finished.iteration + 1, 0)),
            Event::Checkpoint { iteration, .. } => kept = kept.max(at(iteration + 1, 0)),
            _ => {}
        }
    }
    (told, kept)
}

fn start_of(records: &[Record]) -> Option<&Started> {
    records.iter().find_map(|record| match &record.event {
        Event::Started(started) => Some(started),
        _ => None,
    })
}

fn stop_of(records: &[Record]) -> Option<(&str, u32, usize)> {
    records.iter().find_map(|record| match &record.event {
        Event::Stopping { cause, iteration, particles_done } => Some((cause.as_str(), *iteration, *particles_done)),
        _ => None,
    })
}

/// Where a process went on.
fn resumed_at(started: &Started) -> usize {
    started.resumed_from.map_or(0, |iteration| at(iteration + 1, started.resumed_particles))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Kill,
    /// At the next file of a checkpoint that is being written.
    KillWriting,
    Stop,
}

/// Interruptions that are still wanted, and those that were.
#[derive(Debug, Default)]
struct Tally {
    kills_wanted: usize,
    stops_wanted: usize,
    kills: usize,
    stops: usize,
    /// Kills that left a file behind which was being written.
    inside: usize,
    runs: usize,
    late: usize,
}

impl Tally {
    fn is_done(&self) -> bool {
        self.kills >= self.kills_wanted && self.stops >= self.stops_wanted
    }

    fn draw(&self, random: &mut Random) -> How {
        let kills = self.kills_wanted.saturating_sub(self.kills);
        let stops = self.stops_wanted.saturating_sub(self.stops);
        match random.below((kills + stops).max(1)) < kills {
            true if random.below(2) == 0 => How::KillWriting,
            true => How::Kill,
            false => How::Stop,
        }
    }
}

/// Waits for the instant and interrupts, unless the run ends before it. Whether it did.
fn interrupt(place: &Place, running: &mut Running, how: How, delay: Duration, random: &mut Random) -> bool {
    if running.ends_within(delay).is_some() {
        return false;
    }
    if how == How::Stop {
        running.send(Signal::SIGTERM);
        return true;
    }
    while how == How::KillWriting && place.drafts().is_empty() {
        if running.ends_within(Duration::from_micros(100)).is_some() {
            return false;
        }
    }
    // Of the launcher, which takes the engine with it, or of the engine itself.
    match running.engine().filter(|_| random.below(2) == 0 || how == How::KillWriting) {
        // It may have ended meanwhile.
        Some(engine) => kill(engine, Signal::SIGKILL).is_ok(),
        None => running.launcher.kill().is_ok(),
    }
}

/// Runs that are interrupted until they end, until so many interruptions were made.
fn interrupted_runs_equal_whole_ones(name: &str, job: &str, each: usize) -> Tally {
    let mut random = Random::seeded(name);
    let mut scene = Scene::new(job, PARTICLES);
    let whole = Whole::of(&mut scene);
    let mut tally = Tally { kills_wanted: each, stops_wanted: each, ..Tally::default() };
    let begin = Instant::now();
    while !tally.is_done() {
        one_run(&scene.place(), &whole, &mut random, &mut tally);
        tally.runs += 1;
        assert!(tally.runs < 20 * each, "{tally:?}");
    }
    let Tally { kills, stops, inside, runs, late, .. } = tally;
    println!(
        "{name}: {runs} runs, {kills} times SIGKILL ({inside} within a writing), {stops} times SIGTERM, {late} drawn \
         after the end; {:.1} s, an uninterrupted run {:.1} s",
        begin.elapsed().as_secs_f64(),
        whole.usual.as_secs_f64()
    );
    tally
}

fn one_run(place: &Place, whole: &Whole, random: &mut Random, tally: &mut Tally) {
    let mut story = String::new();
    let mut seen = 0;
    // Of the latest process that told of its start; all that was told to be on disk; where the latest stopped.
    let (mut told, mut kept, mut stopped_at) = (0_usize, 0_usize, None);
    loop {
        let variant = random.below(VARIANTS.len());
        let how = tally.draw(random);
        let delay = whole.usual.mul_f64(random.share());
        let mut running = place.start(variant);
        let was_interrupted = !tally.is_done() && interrupt(place, &mut running, how, delay, random);
        let status = running.end();
        place.wait_for_silence();
        let all = place.records();
        let records = &all[seen..];
        seen = all.len();
        story += &format!("[{} {how:?} after {delay:.2?}: {status}] ", VARIANTS[variant]);

        if let Some(started) = start_of(records) {
            let here = resumed_at(started);
            assert!(here >= kept, "{kept} were on disk, it goes on at {here}: {story}");
            assert_eq!(started.repeated_particles, told.saturating_sub(here), "{told} {here}: {story}");
            if let Some(at) = stopped_at {
                assert_eq!((here, started.repeated_particles), (at, 0), "nothing is lost by a stop: {story}");
            }
            (told, stopped_at) = (0, None);
        }
        let (told_now, kept_now) = told_and_kept(records);
        (told, kept) = (told.max(told_now), kept.max(kept_now));
        for (iteration, arena) in arenas(records) {
            assert_eq!(Some(&arena), whole.arenas[variant].get(&iteration), "arena of iteration {iteration}: {story}");
        }
        let new: Vec<_> = warnings(records).into_iter().filter(|text| !whole.warnings.contains(text)).collect();
        assert!(new.is_empty(), "{new:?}: {story}");

        let code = status.code();
        if code == Some(0) {
            tally.late += usize::from(was_interrupted);
            break;
        }
        match how {
            How::Stop if code == Some(ExitCode::Checkpointed as i32) => {
                let (cause, iteration, done) = stop_of(records).expect("it tells where it stops");
                assert_eq!(cause, "SIGTERM");
                // What was told before is not less.
                assert!(told == at(iteration, done), "{told} {iteration} {done}: {story}");
                stopped_at = Some(at(iteration, done));
                tally.stops += 1;
            }
            // Before it could hold signals back it had done nothing that could be lost; another is drawn.
            How::Stop if status.signal() == Some(Signal::SIGTERM as i32) && records.is_empty() => {}
            // Killed itself, or the launcher of a killed engine: it tells.
            How::Kill | How::KillWriting
                if status.signal() == Some(Signal::SIGKILL as i32) || code == Some(ExitCode::Internal as i32) =>
            {
                tally.kills += 1;
                tally.inside += usize::from(!place.drafts().is_empty());
            }
            _ => panic!("{story}{}", running.told()),
        }
    }
    place.assert_equals(whole, &story);
    assert!(place.drafts().is_empty(), "{:?} are left: {story}", place.drafts());
}

#[test]
fn refine3d_goes_on_exactly() {
    interrupted_runs_equal_whole_ones("refine3d", REFINE3D, 5);
}

#[test]
fn class3d_goes_on_exactly() {
    interrupted_runs_equal_whole_ones("class3d", CLASS3D, 5);
}

#[test]
#[ignore = "long: fifty kills and fifty stops"]
fn refine3d_goes_on_exactly_a_hundred_times() {
    let tally = interrupted_runs_equal_whole_ones("refine3d", REFINE3D, 50);
    assert!(tally.inside >= 10, "{tally:?}");
}

#[test]
#[ignore = "long: fifty kills and fifty stops"]
fn class3d_goes_on_exactly_a_hundred_times() {
    let tally = interrupted_runs_equal_whole_ones("class3d", CLASS3D, 50);
    assert!(tally.inside >= 10, "{tally:?}");
}

/// Signals, a file and the clock stop a run within its only iteration, one after the other; each time another number of
/// threads or blocks goes on with the part.
#[test]
fn every_cause_stops_within_an_iteration() {
    const FEW: usize = 120;
    let mut scene = Scene::new(SLOW, FEW);
    // Short batches: on a busy machine one takes twice as long as the one before, which no estimate foresees.
    scene.job = scene.job.replace("--block-particles 16", "--block-particles 4");
    let place = scene.place();
    let mut running = place.start(1);
    assert_eq!(running.code(), 0, "{}", running.told());
    let warnings = warnings(&place.records());
    let whole = Whole { files: place.files(), arenas: vec![], warnings, usual: running.begin.elapsed() };

    let place = scene.place();
    let (mut done, mut seen) = (0, 0);
    let is_resumed = |records: &[Record], done: usize| {
        let started = start_of(records).expect("it starts");
        assert_eq!(started.resumed_particles, done);
    };
    for (variant, cause) in
        [(1, "SIGUSR2"), (0, "SIGINT"), (0, "RELION_JOB_ABORT_NOW"), (0, "the end of the time that was given")]
    {
        let mut environment = vec![];
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 5;
        if cause.starts_with("the end") {
            environment.push(("SLURM_JOB_END_TIME", end.to_string()));
        }
        let words = format!("run {} {}", place.job, VARIANTS[variant]);
        let mut running = place.start_with(&words, &environment);
        // One more part than before.
        let is_within = |r: &Record| matches!(r.event, Event::Part { particles_done, .. } if particles_done > done);
        // The clock does not wait for one.
        if !cause.starts_with("the end") {
            place.wait_for("a part", |records| records[seen..].iter().any(is_within));
        }
        match cause {
            "SIGUSR2" => running.send(Signal::SIGUSR2),
            "SIGINT" => running.send(Signal::SIGINT),
            "RELION_JOB_ABORT_NOW" => fs::write(place.run_dir().abort_request(), "").unwrap(),
            _ => {}
        }
        assert_eq!(running.code(), ExitCode::Checkpointed as i32, "{cause}: {}", running.told());
        if cause.starts_with("the end") {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            // A machine that does other things meanwhile may make it late.
            let latest = Duration::from_secs(end + 20);
            assert!(now <= latest, "it stops before the end of the batch job: {now:?} {end}");
        }
        assert!(!place.run_dir().abort_request().exists());
        let all = place.records();
        let records = &all[seen..];
        is_resumed(records, done);
        let (told, iteration, stopped) = stop_of(records).expect("it tells that it stops");
        assert!(told == cause && iteration == 1 && (done + 1..=FEW).contains(&stopped), "{told} {iteration} {stopped}");
        // On a busy machine the clock may leave no time for a last part, and it is said so.
        let is_kept = !running.told().contains("no time is left");
        let parts = records.iter().filter_map(|record| match record.event {
            Event::Part { particles_done, .. } => Some(particles_done),
            _ => None,
        });
        (done, seen) = (if is_kept { stopped } else { parts.max().unwrap_or(done) }, all.len());
    }
    let mut running = place.start(2);
    assert_eq!(running.code(), 0, "{}", running.told());
    is_resumed(&place.records()[seen..], done);
    place.assert_equals(&whole, "stopped four times");
}

/// The second Ctrl-C ends the engine where it is: here it waits for an input that does not come.
#[test]
fn a_second_interrupt_ends_at_once_and_the_run_goes_on() {
    let mut scene = Scene::new(&REFINE3D.replace("--iterations 5", "--iterations 2"), PARTICLES);
    let whole = Whole::of(&mut scene);
    let place = scene.place();
    let mut running = place.start(1);
    place.wait_for("a part", |records| records.iter().any(|r| matches!(r.event, Event::Part { .. })));
    running.send(Signal::SIGTERM);
    assert_eq!(running.code(), ExitCode::Checkpointed as i32, "{}", running.told());

    // A table of its own: a pipe in its place.
    let set = place.folder.join("set");
    fs::remove_file(&set).unwrap();
    fs::create_dir(&set).unwrap();
    symlink(scene.folder.path().join("set/particles.mrcs"), set.join("particles.mrcs")).unwrap();
    let table = set.join("particles.star");
    nix::unistd::mkfifo(&table, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut running = place.start_with("resume out", &[]);
    let logged = || fs::read_to_string(place.run_dir().log(0)).unwrap().matches(" starts, ").count();
    let begin = Instant::now();
    while logged() < 2 {
        assert!(begin.elapsed() < PATIENCE, "the engine does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.send(Signal::SIGINT);
    assert!(running.ends_within(Duration::from_millis(700)).is_none(), "the first asks only: {}", running.told());
    running.send(Signal::SIGINT);
    let status = running.ends_within(Duration::from_secs(2)).expect("the second ends it at once");
    assert_eq!(status.code(), Some(ExitCode::Checkpointed as i32), "{}", running.told());
    assert!(running.told().contains("stopped; "), "{}", running.told());

    fs::remove_file(&table).unwrap();
    symlink(scene.folder.path().join("set/particles.star"), &table).unwrap();
    let mut running = place.start_with("resume out", &[]);
    assert_eq!(running.code(), 0, "{}", running.told());
    place.assert_equals(&whole, "interrupted twice");
}
