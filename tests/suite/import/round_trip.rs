//! Our own files are RELION's: imported again they give the state that they were written from.

use std::fs;

use relion_rs::rotation::Euler;

use crate::refine::done;
use crate::refine::launch;

use super::stage::assert_same;
use super::stage::edit;
use super::stage::import;
use super::stage::state;

/// 48 particles whose names start at the folder, as those of RELION's projects do, and the words of a job.
fn scene() -> (tempfile::TempDir, String) {
    let (folder, job) = crate::refine::scene();
    edit(&folder.path().join("particles/particles.star"), |star| {
        let particles = star.block_mut("particles").unwrap();
        let names = particles.require("rlnImageName").unwrap();
        let names: Vec<String> = names.strs().map(|name| name.replace('@', "@particles/")).collect();
        particles.set_str("rlnImageName", &names);
    });
    (folder, job)
}

fn there_and_back(job: &str, iterations: u32) {
    let (folder, plain) = scene();
    let folder = folder.path();
    let job = plain.replace("class3d", job).replace("--iterations 1", &format!("--iterations {iterations}"));
    done(folder, &format!("run {job} --out ours"));
    let last = format!("ours/run_it{iterations:03}_optimiser.star");
    let (code, text) = import(folder, &format!("{last} --out again"));
    assert!(code == 64 && text.contains("is the last one of"), "{text}");
    assert!(!folder.join("again").exists(), "a refused folder goes away");
    let (code, text) = import(folder, &format!("{last} --out again --iterations {}", iterations + 1));
    assert!(code == 0 && text.starts_with(&format!("took over iteration {iterations} of a ")), "{text}");
    let (found, wanted) = (state(folder, "again"), state(folder, "ours"));
    assert_same(&found, &wanted, 1.0);
    for (a, b) in found.halves.iter().zip(&wanted.halves) {
        assert!(a.classes.iter().zip(&b.classes).all(|(a, b)| a.map == b.map), "maps are files");
    }

    // Both go on, and one as the other: to the printed digits of what they start from, which move a pose at times.
    let more = job.replace(&format!("--iterations {iterations}"), &format!("--iterations {}", iterations + 1));
    done(folder, &format!("run {more} --out ours"));
    done(folder, "resume again");
    let (found, wanted) = (state(folder, "again"), state(folder, "ours"));
    assert_eq!(found.sizes, wanted.sizes);
    // The perturbation is printed with six decimals, of steps of 30 degrees at most.
    let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
    let is_same = |a: &Euler, b: &Euler| near(a.rot, b.rot) && near(a.tilt, b.tilt) && near(a.psi, b.psi);
    let same = found.assignments.iter().zip(&wanted.assignments).filter(|(a, b)| is_same(&a.euler, &b.euler)).count();
    assert!(same * 10 >= 9 * found.assignments.len(), "{same} of {} poses", found.assignments.len());
    assert!(folder.join(format!("again/run_it{:03}_data.star", iterations + 1)).is_file(), "names as in any run");
}

#[test]
fn classes_come_back_as_they_were() {
    there_and_back("class3d --classes 2", 2);
}

#[test]
fn half_sets_come_back_as_they_were() {
    there_and_back("refine3d --local-search-order 3", 3);
}

#[test]
fn an_imported_folder_is_a_run_folder() {
    let (folder, job) = scene();
    let folder = folder.path();
    done(folder, &format!("run {job} --out ours"));
    let words = "ours/run_it001_optimiser.star --out again --iterations 2";
    let output = launch(folder, &format!("--json import {words} --threads 1"));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["iteration"].as_u64(), told["particles"].as_u64()), (Some(1), Some(48)), "{told}");
    let (code, text) = import(folder, words);
    assert!(code == 64 && text.contains("holds a run already"), "{text}");
    let plan = fs::read_to_string(folder.join("again/plan.json")).unwrap();
    assert!(plan.contains("\"threads\": 1") && plan.contains("ours/run_it001_data.star"), "{plan}");
    // The job file says the same: the folder can be run with other threads and a later end.
    let text = done(folder, "run again --iterations 3 --threads 2");
    assert!(text.is_empty() || text.contains("finished"), "{text}");
    assert_eq!(state(folder, "again").iteration, 3);
}
