//! What jobs need of a GPU's memory, by the plan: cards of 5, 12 and 24 GB and large boxes.

use std::path::Path;

use serde_json::Value;

use crate::memory::SPHERE;
use crate::memory::headers_of_box;
use crate::refine::done;
use crate::refine::launch;

fn planned(folder: &Path, words: &str) -> Value {
    serde_json::from_str(&done(folder, &format!("--json plan {words} --backend cuda"))).unwrap()
}

/// Voxels of half the ball in a transform of twice the box's edge.
fn stored_voxels(box_pixels: u64) -> f64 {
    let edge = 2.0 * box_pixels as f64 + 3.0;
    std::f64::consts::FRAC_PI_6 / 2.0 * edge.powi(3)
}

/// Every iteration fits, and the last one is at Nyquist with both half sets whole.
fn assert_fits(folder: &Path, job: &str, box_pixels: u64, memory: &str, bytes: u64) {
    let plan = planned(folder, &format!("{job} --gpu-memory {memory}"));
    let steps = plan["steps"].as_array().unwrap();
    for step in steps {
        let peak = step["device"]["peak"].as_u64().unwrap();
        println!("box {box_pixels}, {memory}, {}: {} MiB", step["name"], peak.div_ceil(1 << 20));
        assert!(peak > 0 && peak <= bytes, "{memory}: {step}");
    }
    let last = steps.last().unwrap();
    assert_eq!((&last["name"], &last["current_size"]), (&"final".into(), &box_pixels.into()));
    assert!(plan["device_peak"].as_u64().unwrap() <= bytes);
    for (name, bytes_a_voxel) in [("sums", 24.0), ("references", 8.0)] {
        let whole = bytes_a_voxel * stored_voxels(box_pixels);
        let found = of(last, name) as f64 / whole;
        println!("box {box_pixels}: {name} {:.0} MiB", of(last, name) as f64 / f64::from(1 << 20));
        assert!((found - 1.0).abs() < SPHERE, "{name}: {found} of {whole}");
    }
}

/// Bytes of the device by the name of what they hold.
fn of(step: &Value, name: &str) -> u64 {
    let rows = step["device"]["allocations"].as_array().unwrap().iter().filter(|row| row["name"] == name);
    rows.filter_map(|row| row["bytes"].as_u64()).sum()
}

#[test]
fn box_360_reaches_nyquist_on_cards_of_5_and_12_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let job = headers_of_box(folder.path(), 360);
    for (memory, bytes) in [("5GB", 5_000_000_000), ("12GB", 12_000_000_000)] {
        assert_fits(folder.path(), &job, 360, memory, bytes);
    }
    let output = launch(folder.path(), &format!("plan {job} --backend cuda --gpu-memory 1G"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("on the GPU") && text.contains("--gpu-memory"), "{text}");
}

#[test]
#[ignore = "long, and takes gigabytes: make test-long"]
fn box_512_reaches_nyquist_on_a_card_of_24_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let job = headers_of_box(folder.path(), 512);
    assert_fits(folder.path(), &job, 512, "24GB", 24_000_000_000);
}
