//! `bench gsd` as a person types it, on the kernels' twin.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::verbs::JOB;
use crate::verbs::stage;
use crate::verbs::told;

/// Of the two terms: f32 keeps 6e-8; TF32 and FP16 keep 2.4e-4 of factors, of which thousands are summed.
const EXACT: f64 = 2e-6;
const ROUNDED: f64 = 1e-3;
/// Of the root of the summed squares: what `Form::relative_rms` states.
const STATED: f64 = 4e-4;

fn answer(folder: &Path, words: &str) -> Value {
    let (code, text) = told(folder, &format!("--json bench gsd {words}"));
    assert_eq!(code, 0, "{text}");
    let json = text.lines().find(|line| line.starts_with('{')).unwrap();
    serde_json::from_str(json).unwrap()
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap()
}

#[test]
fn forms_are_measured_on_particles_of_a_run_at_other_boxes() {
    let folder = stage();
    let (code, text) = told(folder.path(), &format!("run {JOB} --out run"));
    assert_eq!(code, 0, "{text}");
    let forms = ["direct", "tile", "product", "tf32", "fp16", "3xtf32", "cpu"];
    let words =
        format!("run --device twin --box 16,32,40 --particles 2 --poses 40 --form {} --png p.png", forms.join(","));
    let record = answer(folder.path(), &words);
    assert_eq!((&record["is_twin"], &record["source_box_pixels"]), (&true.into(), &32.into()));
    let rows = record["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3 * forms.len());
    for row in rows {
        let form = row["form"].as_str().unwrap();
        let is_rounded = ["tf32", "fp16"].contains(&form);
        assert!(number(row, "relative_error") <= if is_rounded { ROUNDED } else { EXACT }, "{row}");
        assert!(number(row, "error_of_spread") <= STATED, "{row}");
        assert!(number(row, "seconds") > 0.0);
        // No speed is told of a twin.
        assert_eq!((row["gigaflops"].is_null(), row["speed_up"].is_null()), (form != "cpu", true), "{row}");
        let is_padded = row["box_pixels"] == 40;
        assert_eq!(number(row, "filled_pixels") < number(row, "pixels"), is_padded, "{row}");
    }
    assert!(fs::read(folder.path().join("p.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn without_a_run_particles_are_simulated_and_the_table_says_where_it_was() {
    let folder = stage();
    let words = "bench gsd --device twin --box 24 --poses 33 --particles 1 --precision double --folder kept";
    let (code, text) = told(folder.path(), words);
    assert_eq!(code, 0, "{text}");
    for wanted in ["double precision", "twin on the CPU", "no GPU's", "(twin)", "24 px: 33 projections x 1 particles"] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(folder.path().join("kept/data/particles.star").is_file());
}

#[test]
fn what_is_not_there_is_refused() {
    let folder = stage();
    let refused = |words: &str, code: i32, part: &str| {
        let (found, text) = told(folder.path(), &format!("bench gsd --device twin --particles 1 --poses 1 {words}"));
        assert!(found == code && text.contains(part), "{words}: {found}\n{text}");
    };
    refused("--box 24 --form int8", 64, "no form of the coarse pass is called `int8`");
    refused("--box 24 --form tf32 --precision double", 69, "has no form tf32 in double precision");
    refused("--box 25", 64, "25 pixels make no data set");
    refused("--box 24 set", 66, "plan.json");
}
