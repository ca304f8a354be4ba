//! The benchmarks of the launcher, on a small run and on small jobs of their own.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::verbs::JOB;
use crate::verbs::stage;
use crate::verbs::told;

const PNG: &[u8] = b"\x89PNG";

/// What a verb answers with --json.
fn answer(folder: &Path, words: &str) -> Value {
    let (code, text) = told(folder, &format!("--json {words}"));
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(text.lines().next_back().unwrap()).unwrap()
}

fn is_picture(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(PNG))
}

#[test]
fn a_recorded_run_tells_its_weights_and_its_memory() {
    let folder = stage();
    let (code, text) = told(folder.path(), &format!("run {JOB} --out run"));
    assert_eq!(code, 0, "{text}");

    let weights = answer(folder.path(), "bench weights run");
    let rows = weights["iterations"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let of = |row: &Value, name: &str| row[name].as_u64().unwrap();
    for row in rows {
        let (samples, kept) = (of(row, "samples"), of(row, "kept"));
        assert!(kept >= 1 && kept <= samples);
        assert_eq!(of(row, "dense_bytes"), 128 * samples);
        assert_eq!((of(row, "csr_bytes"), of(row, "blocks_bytes")), (256 * kept, 132 * kept));
    }
    let double = answer(folder.path(), "bench weights run --precision double --png w.png");
    assert_eq!(of(&double["iterations"][1], "blocks_bytes"), 260 * of(&rows[1], "kept"));
    assert!(
        is_picture(&folder.path().join("run/report/bench-weights.png")) && is_picture(&folder.path().join("w.png"))
    );
    assert!(told(folder.path(), "bench weights run").1.contains("blocks of 32"));

    let arena = answer(folder.path(), "bench arena run --more 25");
    let rows = arena["allocators"].as_array().unwrap();
    assert_eq!((arena["iteration"].as_u64(), rows.len()), (Some(2), 5));
    let stack = &rows[0];
    assert_eq!(stack["worst_fragmentation"], 0.0);
    assert_eq!((of(stack, "failed_requests"), of(stack, "most_unusable_bytes")), (0, 0));
    // What the arena itself told, but for what lanes have to spare.
    let record = fs::read_to_string(folder.path().join("run/progress.jsonl")).unwrap();
    let last = record.lines().rfind(|line| line.contains("iteration_finished")).unwrap();
    let peak = serde_json::from_str::<Value>(last).unwrap()["arena_peak_bytes"].as_u64().unwrap();
    assert!(of(stack, "peak_bytes") <= peak && of(stack, "peak_bytes") > peak / 10 * 9, "{stack} {peak}");
    for list in &rows[1..] {
        assert!(list["worst_fragmentation"].as_f64().unwrap() > 0.0, "{list}");
        assert!(of(list, "peak_bytes") <= of(list, "pool_bytes"), "{list}");
    }
    for name in ["bench-arena.png", "bench-arena-fragmentation.png"] {
        assert!(is_picture(&folder.path().join("run/report").join(name)), "{name}");
    }

    let (code, text) = told(folder.path(), "bench arena run --device");
    assert!(code == 65 && text.contains("of a GPU"), "{text}");
    fs::write(folder.path().join("run/progress.jsonl"), "").unwrap();
    let (code, text) = told(folder.path(), "bench arena run");
    assert!(code == 65 && text.contains("no iteration is finished"), "{text}");
}

#[test]
fn a_simulation_takes_its_map_in_another_box() {
    let folder = stage();
    let (code, text) = told(folder.path(), "simulate --map ref.mrc --box 40 --count 2 --out wide");
    assert!(code == 0 && text.contains("2 images of 40 px"), "{text}");
    let (code, text) = told(folder.path(), "simulate --map ref.mrc --box 41 --count 2 --out odd");
    assert!(code == 64 && text.contains("--box 41"), "{text}");
}

#[test]
fn jobs_are_timed_on_both_sides_or_it_is_told_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let words = "bench speedup --count 16 --box 32 --iterations 1 --rounds 1 --kinds class3d --precision single \
                 --folder all --png speed.png -- --healpix-order 1 --offset-range-pixels 2 --threads 1";
    let result = answer(folder.path(), words);
    let row = &result["rows"][0];
    assert_eq!((row["case"].as_str(), row["ranks"].as_u64()), (Some("class3d single"), Some(1)));
    assert!(row["cpu"]["seconds_per_iteration"].as_f64().unwrap() > 0.0);
    assert!(row["cpu"]["phase_seconds"]["coarse"].as_f64().unwrap() > 0.0, "{row}");
    // With a GPU there is its time, without one a reason.
    let missing = result["missing"].as_array().unwrap();
    match missing.first() {
        Some(missing) => {
            assert_eq!(missing["row"], "class3d single on cuda");
            assert!(!missing["why"].as_str().unwrap().is_empty() && row["ratio"].is_null());
        }
        None => assert!(row["ratio"].as_f64().unwrap() > 0.0),
    }
    assert!(is_picture(&folder.path().join("speed.png")));
    assert!(folder.path().join("all/class3d-single-cpu-1/progress.jsonl").is_file());
    let (code, text) = told(folder.path(), "bench speedup --particles nowhere.star --reference none.mrc");
    assert!(code == 66 && text.contains("nowhere.star"), "{text}");
}
