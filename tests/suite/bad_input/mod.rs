//! Bad input, through the real programs: each case ends with the exit code of its cause and a message that names the
//! place and the fix, or goes on with a warning that names the image. None ends by a signal or a panic, and none
//! leaves a map behind as if it had worked.

mod bench;
mod cases;
mod disk;
mod late;
mod sense;

use std::process::Output;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use relion_rs::error::ExitCode;

use bench::Bench;

/// Cases run at the same time; each is a process of one thread.
const AT_ONCE: usize = 2;
/// A map without one of the twelve images correlates by 0.996 with that of all; were a constant image used, by 0.989.
const LEAST_CORRELATION: f64 = 0.993;
/// The map that must not suffer.
const RESULT: &str = "out/run_it001_half1_class001.mrc";

/// A job that is spoilt in one way.
pub struct Case {
    name: &'static str,
    /// Spoils the inputs.
    spoil: fn(&Bench),
    /// Other words than the usual ones.
    flags: &'static str,
    code: ExitCode,
    /// What the message must hold: place and value.
    says: &'static [&'static str],
    /// What `check --images` ends with.
    check: ExitCode,
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is wrong with the end of a program; nothing if all is as it should be.
fn faults(output: &Output, code: ExitCode, says: &[&str]) -> Vec<String> {
    let text = stderr(output);
    let mut faults = Vec::new();
    match output.status.code() {
        Some(found) if found == code as i32 => {}
        found => faults.push(format!("ended with {found:?} instead of {code:?}")),
    }
    if text.contains("panicked") || text.contains("RUST_BACKTRACE") {
        faults.push("panicked".to_string());
    }
    faults.extend(says.iter().filter(|word| !text.contains(*word)).map(|word| format!("does not say `{word}`")));
    // The parser of the command line gives its help in a form of its own.
    let is_usage = code == ExitCode::Usage && text.contains("--help");
    if code != ExitCode::Done && !is_usage && !(text.contains("error: ") && text.contains("fix: ")) {
        faults.push("does not say what to do".to_string());
    }
    if !faults.is_empty() {
        faults.push(text);
    }
    faults
}

fn voxels(bench: &Bench, name: &str) -> Vec<f32> {
    relion_rs::formats::mrc::read_map(&bench.path(name)).map_or_else(|error| panic!("{error}"), |map| map.data)
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let product = |a: &[f32], ma: f64, b: &[f32], mb: f64| {
        a.iter().zip(b).map(|(x, y)| (f64::from(*x) - ma) * (f64::from(*y) - mb)).sum::<f64>()
    };
    product(a, ma, b, mb) / (product(a, ma, a, ma) * product(b, mb, b, mb)).sqrt()
}

/// `whole` holds the run of the good inputs.
fn examine(case: &Case, whole: &Bench) -> Vec<String> {
    let bench = Bench::new();
    (case.spoil)(&bench);
    let kind =
        if case.flags.contains("--classes 2") || case.flags.contains("refs.star") { "class3d" } else { "refine3d" };
    let check = bench.job("check", kind, &format!("{} --images", case.flags));
    let mut all =
        faults(&check, case.check, &[]).into_iter().map(|fault| format!("check: {fault}")).collect::<Vec<_>>();
    let run = bench.job("run", kind, case.flags);
    all.extend(faults(&run, case.code, case.says).into_iter().map(|fault| format!("run: {fault}")));
    let maps: Vec<String> = bench.outputs().into_iter().map(|(name, _)| name).filter(|n| n.ends_with(".mrc")).collect();
    if case.code == ExitCode::Done {
        if !bench.is_finished() || !maps.iter().any(|name| name.contains("it001")) {
            all.push("no map".to_string());
        }
        let found = correlation(&voxels(&bench, RESULT), &voxels(whole, RESULT));
        if found.is_nan() || found < LEAST_CORRELATION {
            all.push(format!("the map correlates by {found} with that of good images"));
        }
    } else if bench.is_finished() || maps.iter().any(|name| !name.contains("it000")) {
        all.push(format!("left {maps:?} behind"));
    }
    all
}

#[test]
fn every_bad_input_is_told_by_place_and_cause() {
    let cases = cases::all();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let whole = Bench::new();
    let run = whole.job("run", "refine3d", "");
    assert!(run.status.success(), "{}", stderr(&run));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let faults = examine(case, &whole);
            if !faults.is_empty() {
                failed.push(format!("--- {}\n{}", case.name, faults.join("\n")));
            }
        }
        failed
    };
    let failed: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
