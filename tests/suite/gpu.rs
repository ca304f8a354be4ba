//! Whole runs on a device, by the kernels' twin: what a person types, but for the GPU.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::verbs::JOB;
use crate::verbs::stage;
use crate::verbs::told;

/// Single precision, two iterations: energies differ by 1e-3 at most, weights and so maps by about as much.
pub const CLOSE: f64 = 1e-2;

pub fn on_twin(folder: &Path, words: &str) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relion-rs"));
    let output = command.args(words.split_whitespace()).current_dir(folder).env("RELION_RS_TWIN", "yes");
    let output = output.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap_or(-1), text)
}

pub fn voxels(file: &Path) -> Vec<f64> {
    let bytes = fs::read(file).unwrap();
    bytes[1024..].chunks_exact(4).map(|v| f64::from(f32::from_le_bytes(v.try_into().unwrap()))).collect()
}

pub fn relative(a: &[f64], b: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    (square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())).sqrt()
}

#[test]
fn a_classification_on_a_device_is_that_of_the_cpu() {
    let folder = stage();
    let folder = folder.path();
    let (code, text) = told(folder, &format!("run {JOB} --backend cpu --out cpu"));
    assert_eq!(code, 0, "{text}");
    let (code, text) = on_twin(folder, &format!("run {JOB} --backend cuda --out gpu"));
    assert!(code == 0 && text.contains("backend cuda (asked for)"), "{text}");
    for map in ["run_it002_class001.mrc", "run_it002_class002.mrc"] {
        let miss = relative(&voxels(&folder.join("gpu").join(map)), &voxels(&folder.join("cpu").join(map)));
        assert!(miss <= CLOSE, "{map}: {miss}");
    }
    // Memory of the device is that of the plan; neither threads nor less memory change a bit.
    let progress = fs::read_to_string(folder.join("gpu/progress.jsonl")).unwrap();
    let events: Vec<Value> = progress.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let figures: Vec<&Value> = events.iter().map(|e| &e["device"]).filter(|d| d["peak_bytes"].is_u64()).collect();
    assert_eq!(figures.len(), 2, "{progress}");
    for now in &figures {
        assert_eq!(now["peak_bytes"], now["planned_bytes"]);
        // The region was made for the whole run at its start, with room for all images.
        assert_eq!(now["reserved_bytes"], figures[0]["reserved_bytes"]);
        assert_eq!(now["resident_images"], 12);
        let busy: Vec<f64> = now["busy"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).collect();
        assert!(busy.len() == 4 && busy.iter().all(|share| *share > 0.0), "{busy:?}");
        assert!(busy.iter().sum::<f64>() <= 1.0, "{busy:?}");
    }
    let traces = events.iter().filter(|e| e["event"] == "arena_trace" && e["device"] == true);
    let held: Vec<u64> = traces.map(|e| e["points"].as_array().unwrap().len() as u64).collect();
    assert!(held.len() == 2 && held.iter().all(|points| *points > 2), "{held:?}");
    let less = JOB.replace("--threads 1", "--threads 2 --gpu-memory 10MiB");
    let (code, text) = on_twin(folder, &format!("run {less} --backend cuda --out less"));
    assert_eq!(code, 0, "{text}");
    for file in ["run_it002_class001.mrc", "run_it002_class002.mrc", "run_it002_data.star"] {
        assert_eq!(fs::read(folder.join("gpu").join(file)).unwrap(), fs::read(folder.join("less").join(file)).unwrap());
    }
    let (code, text) = on_twin(folder, &format!("run {JOB} --backend cuda --gpu-memory 100KiB --out none"));
    assert!(code != 0 && text.contains("on the GPU") && text.contains("--gpu-memory"), "{text}");
}

/// The least memory on the device with which every iteration of a job fits, by the plan.
fn least_mebibytes(folder: &Path, job: &str) -> u64 {
    let mut least = 1;
    loop {
        let (code, text) = told(folder, &format!("plan {job} --backend cuda --gpu-memory {least}MiB --out out"));
        if code == 0 {
            return least;
        }
        let (_, needed) = text.split_once("at least ").unwrap_or_else(|| panic!("{text}"));
        let needed: u64 = needed.split(' ').next().unwrap().parse().unwrap();
        assert!(needed > least, "{text}");
        least = needed;
    }
}

#[test]
fn a_refinement_in_the_least_memory_of_a_device_ends_with_the_same_bits() {
    let folder = stage();
    let folder = folder.path();
    let job = JOB.replace("class3d", "refine3d").replace(" --classes 2 --iterations 2", " --symmetry O");
    let least = least_mebibytes(folder, &job);
    // Files name their folder; both runs have one of the same place.
    for (name, cap) in [("free", String::new()), ("least", format!("--gpu-memory {least}MiB"))] {
        let (code, text) = on_twin(folder, &format!("run {job} --backend cuda --out run {cap}"));
        assert!(code == 0 && text.contains("backend cuda (asked for)"), "{cap}: {text}");
        fs::rename(folder.join("run"), folder.join(name)).unwrap();
    }
    let peaks = |run: &str| -> Vec<u64> {
        let progress = fs::read_to_string(folder.join(run).join("progress.jsonl")).unwrap();
        let events = progress.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter_map(|event| event["device"]["peak_bytes"].as_u64()).collect()
    };
    let (free, capped) = (peaks("free"), peaks("least"));
    println!("{least} MiB at least; of the iterations {capped:?} B, without a cap {free:?} B");
    assert_eq!(free.len(), capped.len(), "as many iterations");
    assert!(capped.iter().all(|bytes| *bytes <= least << 20));
    assert!(capped.last() < free.last(), "the cap is felt where the most is needed: {capped:?} {free:?}");
    let outputs = |run: &str| -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder.join(run)).unwrap().map(|entry| entry.unwrap());
        let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        named.filter(|(name, _)| name.starts_with("run_")).map(|(name, path)| (name, fs::read(path).unwrap())).collect()
    };
    let (free, capped) = (outputs("free"), outputs("least"));
    assert!(free.contains_key("run_half1_class001_unfil.mrc"), "the last iteration, at Nyquist: {:?}", free.keys());
    assert!(free.keys().eq(capped.keys()));
    for (name, bytes) in &free {
        assert!(*bytes == capped[name], "{name} differs");
    }
}

#[test]
fn cuda_that_is_not_there_is_no_cpu() {
    if relion_rs::device::can_compute() {
        return;
    }
    let folder = stage();
    let (code, text) = told(folder.path(), &format!("run {JOB} --backend cuda --out gpu"));
    assert!(code == 69 && text.contains("--backend cpu"), "{text}");
    let (code, text) = told(folder.path(), &format!("run {JOB} --backend auto --out auto"));
    assert!(code == 0 && text.contains("backend cpu ("), "{text}");
}
