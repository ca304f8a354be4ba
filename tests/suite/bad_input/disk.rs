//! A disk without room, or with something in the way, at every output.

use std::collections::BTreeSet;
use std::fs;

use relion_rs::error::ExitCode;

use super::bench::Bench;
use super::faults;
use super::stderr;

/// The launcher counts room in these.
const UNIT_BYTES: u64 = 512;

/// Says that a checkpoint could not be written.
fn goes_on(text: &str) -> bool {
    text.contains("cannot") && text.contains("/checkpoint/") && text.contains("the run goes on without a checkpoint")
}

#[test]
fn an_output_that_does_not_fit_is_named_and_the_same_command_goes_on() {
    let whole = Bench::new();
    let run = whole.job("run", "refine3d", "");
    assert!(run.status.success(), "{}", stderr(&run));
    // Just too little for each length that an output has.
    let rooms: BTreeSet<u64> =
        whole.outputs().iter().map(|(_, length)| (length - 1) / UNIT_BYTES * UNIT_BYTES).collect();
    assert!(rooms.len() >= 6, "{rooms:?}");
    let mut failed = Vec::new();
    let mut named = BTreeSet::new();
    for room in rooms {
        let bench = Bench::new();
        let run = bench.job_with_room("refine3d", "", room);
        // Without a checkpoint a run goes on.
        let goes_on = run.status.success() && bench.is_finished() && goes_on(&stderr(&run));
        let mut wrong = match goes_on {
            true => Vec::new(),
            false => faults(&run, ExitCode::Io, &["cannot write", "/out/"]),
        };
        if let Some(name) = stderr(&run).split("/out/").nth(1).and_then(|rest| rest.split(':').next()) {
            named.insert(name.to_string());
        }
        for (name, length) in bench.outputs() {
            let is_known = whole.outputs().iter().any(|(known, _)| *known == name);
            // Logs grow line by line; every other file is whole or absent.
            let is_log = name.ends_with("progress.jsonl");
            if !is_known || (!is_log && length > room) {
                wrong.push(format!("left {name} of {length} bytes"));
            }
        }
        if bench.is_finished() && !goes_on {
            wrong.push("says that it finished".to_string());
        }
        if wrong.is_empty() {
            let again = bench.job("run", "refine3d", "");
            if !again.status.success() || !bench.is_finished() {
                wrong.push(format!("cannot go on: {}", stderr(&again)));
            }
        }
        if !wrong.is_empty() {
            failed.push(format!("--- files of at most {room} bytes\n{}", wrong.join("\n")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(named.len() >= 4, "few outputs were refused: {named:?}");
}

#[test]
fn an_output_that_cannot_have_its_name_is_named() {
    let whole = Bench::new();
    let run = whole.job("run", "refine3d", "");
    assert!(run.status.success(), "{}", stderr(&run));
    let mut failed = Vec::new();
    for (name, _) in whole.outputs() {
        let bench = Bench::new();
        // A folder with something in it can neither be replaced nor be opened as a file.
        fs::create_dir_all(bench.path(&name).join("in-the-way")).unwrap();
        let run = bench.job("run", "refine3d", "");
        let file = name.rsplit('/').next().unwrap();
        let code = run.status.code().unwrap_or(-1);
        let text = stderr(&run);
        let is_told = [ExitCode::BadData, ExitCode::NoInput, ExitCode::CannotCreate, ExitCode::Io]
            .iter()
            .any(|c| *c as i32 == code);
        if name.contains("checkpoint/") && run.status.success() && text.contains(file) && goes_on(&text) {
            continue;
        }
        if !is_told || !text.contains(file) || !text.contains("fix: ") || bench.is_finished() {
            failed.push(format!("--- {name}: code {code}\n{text}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
