//! Times of messages on this machine, between 2, 4 and 8 ranks:
//! `cargo test --features mpi --lib ranks::tests::wire -- --ignored --nocapture --exact refine::ranks::tests::wire::times`

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::comm::Tag;
use crate::comm::Team;
use crate::refine::ranks::lead;
use crate::refine::ranks::ledger::Ledger;
use crate::refine::ranks::message::Grant;
use crate::refine::ranks::message::Request;

/// Numbers of a reduction: eight pieces of 8 MB.
const NUMBERS: usize = 8 << 20;
const ROUNDS: usize = 3;
const REQUESTS: usize = 500;

/// CPU time of this process's thread of this name, from the kernel.
fn cpu_of(name: &str) -> Option<Duration> {
    fs::read_dir("/proc/self/task").ok()?.flatten().find_map(|task| {
        let text = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        if text("comm")?.trim() != name {
            return None;
        }
        text("schedstat")?.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    })
}

fn seconds_each(rounds: usize, mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    (0..rounds).for_each(|_| work());
    begin.elapsed().as_secs_f64() / rounds as f64
}

/// Everybody has come so far.
fn meet(team: &Team) {
    let mut one = [1];
    team.sum_to(0, &mut one).expect("a sum");
    team.broadcast_numbers(0, &mut [0.0]).expect("a number");
    if team.rank() == 0 {
        assert_eq!(one[0], team.size() as i64);
    }
}

fn ask(team: &Team) -> f64 {
    let begin = Instant::now();
    team.send(0, Tag::Request, &Request { half: 0, blocks: Some((0, 1)), stop: None }).expect("sent");
    let (_, grant): (_, Grant) = team.receive(Some(0), Tag::Grant).expect("an answer");
    assert_eq!(grant.blocks.len(), 1);
    begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One rank of [`times`].
#[test]
#[ignore = "is started by `times`"]
fn rank() {
    let (_session, team) = Team::join().expect("MPI");
    assert!(!team.is_alone(), "start it with mpirun");
    let gigabytes = (NUMBERS * size_of::<i64>()) as f64 / 1e9;
    let mut numbers = vec![1_i64; NUMBERS];
    meet(&team);
    let sum = seconds_each(ROUNDS, || team.sum_to(0, &mut numbers).expect("a sum"));
    meet(&team);
    let mut floats = vec![0_f32; NUMBERS];
    let give = seconds_each(ROUNDS, || team.broadcast_numbers(0, &mut floats).expect("numbers"));
    meet(&team);
    let mut theirs = vec![0_i64; NUMBERS];
    let mut swap = f64::NAN;
    if team.rank() < 2 {
        swap = seconds_each(ROUNDS, || team.exchange(1 - team.rank(), &numbers, &mut theirs).expect("numbers"));
    }
    meet(&team);
    if team.rank() == 0 {
        let ranks = team.size();
        println!(
            "{ranks} ranks: sums to one rank {:.2} GB/s, to all {:.2} GB/s",
            gigabytes / sum,
            gigabytes / 2.0 / give
        );
        println!("{ranks} ranks: swap of two {:.2} GB/s each way", gigabytes / swap);
    }
    for is_loaded in [false, true] {
        requests(&team, is_loaded);
    }
    meet(&team);
}

/// The time of a request: one after the other, with pauses as between batches, then as fast as they can be answered.
fn requests(team: &Team, is_loaded: bool) {
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    // One thread a rank that computes.
    let load = thread::spawn(move || while is_loaded && !is_over.load(SeqCst) {});
    let ledger = Arc::new(Ledger::default());
    ledger.open(vec![vec![(0..1_000_000).collect()]], team.size());
    let obituary = Box::new(|error| panic!("{error}"));
    let leader = (team.rank() == 0)
        .then(|| lead(*team, Arc::clone(&ledger), Arc::default(), Vec::new(), obituary).expect("a leader"));
    meet(team);
    let spaced: Vec<f64> = match team.rank() {
        0 => Vec::new(),
        _ => (0..100).map(|_| (ask(team), thread::sleep(Duration::from_millis(7))).0).collect(),
    };
    meet(team);
    let (begin, before) = (Instant::now(), cpu_of("leader"));
    let dense: Vec<f64> = if team.rank() == 0 { Vec::new() } else { (0..REQUESTS).map(|_| ask(team)).collect() };
    meet(team);
    let (elapsed, after) = (begin.elapsed().as_secs_f64(), cpu_of("leader"));
    let how = if is_loaded { "loaded" } else { "idle" };
    if team.rank() == 1 {
        let (spaced, dense) = (median(spaced) * 1e6, median(dense) * 1e6);
        println!("{} ranks, {how}: a request {spaced:.0} us, {dense:.0} us when all ask at once", team.size());
    }
    if let (Some(before), Some(after), 0) = (before, after, team.rank()) {
        let count = ((team.size() - 1) * REQUESTS) as f64;
        let cpu = (after - before).as_secs_f64();
        println!(
            "{} ranks, {how}: {:.0} requests a second; leader's CPU {:.1} us a request, looking included",
            team.size(),
            count / elapsed,
            cpu / count * 1e6,
        );
        let (begin, before) = (Instant::now(), after);
        thread::sleep(Duration::from_secs(2));
        let cpu = (cpu_of("leader").expect("a leader") - before).as_secs_f64();
        println!(
            "{} ranks, {how}: leader without requests {:.2} % of a core",
            team.size(),
            100.0 * cpu / begin.elapsed().as_secs_f64()
        );
    }
    meet(team);
    over.store(true, SeqCst);
    load.join().expect("it only counts");
    drop(leader);
}

/// Starts one of the tests here as so many ranks.
fn start(ranks: usize, name: &str) {
    let program = std::env::current_exe().expect("this program");
    let status = Command::new("mpirun")
        .args(["-n", &ranks.to_string()])
        .arg(&program)
        .args(["--exact", &format!("refine::ranks::tests::wire::{name}"), "--ignored", "--nocapture", "--quiet"])
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .env("OMPI_MCA_hwloc_base_binding_policy", "none")
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .status()
        .expect("mpirun");
    assert!(status.success(), "{name} as {ranks} ranks");
}

#[test]
#[ignore = "measures this machine"]
fn times() {
    [2, 4, 8].into_iter().for_each(|ranks| start(ranks, "rank"));
}

/// One rank of [`sums_are_whole_at_any_rank`].
#[test]
#[ignore = "is started by another test"]
fn summing() {
    let (_session, team) = Team::join().expect("MPI");
    assert!(!team.is_alone(), "start it with mpirun");
    let ranks = team.size() as i64;
    for (root, length) in (0..team.size()).flat_map(|root| [0, 1, 1 << 18, 700_001].map(|length| (root, length))) {
        let mut values: Vec<i64> = (0..length).map(|i| i * 3 + team.rank() as i64).collect();
        team.sum_to(root, &mut values).expect("a sum");
        if team.rank() == root {
            let is_whole = |(i, sum): (usize, &i64)| *sum == ranks * 3 * i as i64 + ranks * (ranks - 1) / 2;
            assert!(values.iter().enumerate().all(is_whole), "{length} numbers at rank {root}");
        }
    }
}

#[test]
fn sums_are_whole_at_any_rank() {
    [2, 3, 6].into_iter().for_each(|ranks| start(ranks, "summing"));
}
