//! Several ranks on this machine: the same bits, stops, deaths. They need an engine with MPI: `make test-mpi`.

mod devices;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use relion_rs::error::ExitCode;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::RankPlace;

use crate::continuation::place::Place;
use crate::continuation::place::Running;
use crate::continuation::place::Scene;
use crate::continuation::place::command;

/// Half a minute, and what a busy machine takes beside that.
const SOON: Duration = Duration::from_secs(45);
const REFINE3D: &str = "refine3d --healpix-order 1 --symmetry O --threads 1 --blocks-per-batch 1";
const CLASS3D: &str = "class3d --classes 3 --healpix-order 1 --iterations 3 --threads 1 --blocks-per-batch 1";
/// Some seconds in one iteration.
const SLOW: &str =
    "class3d --healpix-order 2 --iterations 2 --first-iteration-cc false --threads 1 --blocks-per-batch 1";
const LAUNCHER: &str = "RELION_RS_MPIRUN";
/// As root, in a container, OpenMPI wants to hear it twice.
const ROOT: [&str; 2] = ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"];

/// OpenMPI's permission, and another library's launcher where the engine was built with that.
fn environment() -> Vec<(&'static str, String)> {
    let launcher = std::env::var(LAUNCHER).ok().map(|words| (LAUNCHER, words));
    ROOT.iter().map(|name| (*name, "1".to_owned())).chain(launcher).collect()
}

fn start(place: &Place, words: &str) -> Running {
    place.start_with(words, &environment())
}

fn run(place: &Place, flags: &str) -> Running {
    start(place, &format!("run {} {flags}", place.job))
}

/// The files of a run by one rank.
fn whole(scene: &mut Scene) -> BTreeMap<String, String> {
    let place = scene.place();
    let mut running = run(&place, "");
    assert_eq!(running.end().code(), Some(0), "{}", running.told());
    place.files()
}

fn ranks_of(place: &Place) -> Vec<RankPlace> {
    place
        .records()
        .into_iter()
        .rev()
        .find_map(|r| if let Event::Ranks { ranks } = r.event { Some(ranks) } else { None })
        .unwrap_or_default()
}

fn process_of(place: &Place, rank: usize) -> Pid {
    Pid::from_raw(ranks_of(place)[rank].process as i32)
}

/// Until so many particles of the present iteration are done.
fn wait_for_particles(place: &Place, count: usize) {
    place.wait_for("particles", |records| {
        records.iter().any(|r| matches!(r.event, Event::Batch { particles_done, .. } if particles_done >= count))
    });
}

fn same_bits(job: &str, particles: usize, variants: &[&str]) {
    let mut scene = Scene::new(job, particles);
    let whole = whole(&mut scene);
    for flags in variants {
        let place = scene.place();
        let mut running = run(&place, flags);
        assert_eq!(running.end().code(), Some(0), "{flags}: {}", running.told());
        assert_eq!(place.files(), whole, "{flags}");
        let size: usize = flags.split_whitespace().last().unwrap().parse().unwrap();
        assert_eq!(ranks_of(&place).len(), size, "{flags}");
    }
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn a_refinement_has_the_same_bits_with_any_number_of_ranks() {
    same_bits(REFINE3D, 200, &["--ranks 2", "--ranks 3", "--dedicated-leader --ranks 3", "--ranks 5"]);
}

#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn a_classification_has_the_same_bits_with_any_number_of_ranks() {
    same_bits(CLASS3D, 200, &["--ranks 2", "--ranks 4"]);
}

/// Stopped and killed again and again, with other ranks every time.
#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn interrupted_ranks_go_on_to_the_same_bits() {
    let mut scene = Scene::new(SLOW, 400);
    let whole = whole(&mut scene);
    let place = scene.place();
    for (ranks, victim, signal) in [
        (3, 1, Signal::SIGUSR2),
        (2, 0, Signal::SIGTERM),
        (3, 2, Signal::SIGKILL),
        (1, 0, Signal::SIGUSR2),
        (2, 0, Signal::SIGKILL),
    ] {
        let before = place.records().len();
        let mut running = run(&place, &format!("--ranks {ranks}"));
        place.wait_for("two parts", |records| {
            let new = &records[before..];
            new.iter().filter(|r| matches!(r.event, Event::Part { .. })).count() >= 2
        });
        let process = if ranks == 1 { running.engine().unwrap() } else { process_of(&place, victim) };
        kill(process, signal).unwrap();
        let begin = Instant::now();
        let code = running.end().code();
        assert!(begin.elapsed() < SOON, "{signal} to rank {victim} of {ranks}: {:?}", begin.elapsed());
        let told = running.told();
        match signal {
            Signal::SIGKILL => assert!(code != Some(0) && code != Some(ExitCode::Checkpointed as i32), "{told}"),
            _ => assert_eq!(code, Some(ExitCode::Checkpointed as i32), "{signal} to rank {victim} of {ranks}: {told}"),
        }
        let records = place.records();
        let started =
            records[before..].iter().find_map(|r| if let Event::Started(s) = &r.event { Some(s) } else { None });
        let started = started.expect("it tells of its start");
        let goes_on = started.resumed_particles > 0 || started.resumed_from > Some(0);
        assert!(goes_on || before == 0, "parts of all ranks, or an iteration, are gone on with");
    }
    let mut running = run(&place, "--ranks 5");
    assert_eq!(running.end().code(), Some(0), "{}", running.told());
    assert_eq!(place.files(), whole);
}

/// A rank that stands still without dying ends the job, with its name.
#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn a_frozen_rank_ends_the_job_with_its_name() {
    let mut scene = Scene::new(SLOW, 400);
    for victim in [1, 0] {
        let place = scene.place();
        let mut running = run(&place, "--ranks 2");
        wait_for_particles(&place, 32);
        let process = process_of(&place, victim);
        kill(process, Signal::SIGSTOP).unwrap();
        let begin = Instant::now();
        let code = running.end().code();
        let told = running.told();
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        assert_eq!(code, Some(ExitCode::Internal as i32), "{told}");
        let name = format!("rank {victim}");
        assert!(told.contains(&name) && told.contains("no sign of life"), "{told}");
        let is_there = || Path::new(&format!("/proc/{process}")).exists();
        while is_there() && begin.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!is_there(), "nothing is left");
    }
}

/// An error of one rank is the job's, with its code and text.
#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn an_error_of_one_rank_is_told_once_and_ends_all() {
    let mut scene = Scene::new(SLOW, 400);
    let place = scene.place();
    let mut running = run(&place, "--ranks 3");
    wait_for_particles(&place, 32);
    // The images end: whoever reads there next fails.
    let stack = scene.folder.path().join("set/particles.mrcs");
    let length = fs::metadata(&stack).unwrap().len();
    fs::OpenOptions::new().write(true).open(&stack).unwrap().set_len(length / 4).unwrap();
    let begin = Instant::now();
    let code = running.end().code();
    let told = running.told();
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!([ExitCode::BadData, ExitCode::Io].map(|code| Some(code as i32)).contains(&code), "{code:?}: {told}");
    assert!(told.contains("particles.mrcs"), "{told}");
    let failed = place.records().into_iter().filter(|r| matches!(r.event, Event::Failed { .. })).count();
    assert_eq!(failed, 1, "the progress file says why, and once");
}

/// As users try it on their own machine.
#[test]
#[cfg_attr(not(feature = "mpi"), ignore = "needs an engine with MPI: make test-mpi")]
fn a_drill_kills_a_rank() {
    let folder = tempfile::tempdir().unwrap();
    let drill = |words: &str| command(folder.path(), words, &environment()).output().unwrap();
    let output = drill("drill --kill-rank 1 --count 100 --ranks 2");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("SIGKILL of a rank"), "{told}");
    let output = drill("drill --kill-rank 3 --ranks 2");
    assert_eq!(output.status.code(), Some(ExitCode::Usage as i32));
}
