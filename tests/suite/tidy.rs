//! The rooms of `src/`, the arrows between them, the size of each file, and where `unsafe` may be.
//! `docs/ARCHITECTURE.md` says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Used by every room.
const SHARED: &[&str] = &["background", "error", "units"];
/// Use nothing but `SHARED`.
const LEAVES: &[&str] = &["arena", "comm", "device", "fourier", "product", "rotation", "weights"];
/// A room may use the leaves and the rooms before it.
const ROOMS: &[&str] = &[
    "plan",
    "formats",
    "dataset",
    "model",
    "imaging",
    "sampling",
    "expectation",
    "maximisation",
    "checkpoint",
    "outputs",
    "refine",
    "import",
    "postprocess",
    "simulate",
    "report",
    "bench",
];
/// Beside the refinement, for the launcher only; no other room uses them, and each of them those before it and `plan`.
const CLUSTER: &[&str] = &["slurm", "site"];
/// What the launcher may use: files, and the programs beside the refinement.
const LAUNCHER: &[&str] = &[
    "plan",
    "formats",
    "dataset",
    "model",
    "imaging",
    "fourier",
    "rotation",
    "import",
    "postprocess",
    "simulate",
    "report",
    "weights",
];
/// The one way from the launcher into the engine: counting memory before anything runs.
const COUNTING: &str = "crate::refine::plan";
const LONGEST_FILE: usize = 600;
/// Folders and files that may hold `unsafe`: the arena, vector instructions, and what drives a device.
const UNSAFE: &[&str] = &["arena/", "device/", "product/"];
/// A SAFETY line stands at most so many lines above its `unsafe`.
const SAFETY_DISTANCE: usize = 12;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder with one of the extensions.
fn files(folder: &Path, extensions: &[&str], out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, extensions, out);
        } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
            out.push(path);
        }
    }
}

/// Every source file: its path below `src`, and its text.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files(&src, &["rs"], &mut paths);
    paths.sort();
    assert!(paths.len() > 50, "the sources were not found");
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_str().unwrap().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The room a file belongs to: `plan/resolve.rs` to `plan`.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}

fn allowed(from: &str, to: &str) -> bool {
    if from == to || SHARED.contains(&to) {
        return true;
    }
    if from == "cli" {
        return LAUNCHER.contains(&to) || CLUSTER.contains(&to);
    }
    if let Some(at) = CLUSTER.iter().position(|room| *room == from) {
        return to == "plan" || CLUSTER[..at].contains(&to);
    }
    let at = |room| ROOMS.iter().position(|r| *r == room);
    match at(from) {
        Some(from) => LEAVES.contains(&to) || at(to).is_some_and(|to| to < from),
        None => false,
    }
}

#[test]
fn arrows_point_one_way() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let from = room(&file);
        if ["lib", "bin"].contains(&from) {
            continue;
        }
        if ![SHARED, LEAVES, ROOMS, CLUSTER, &["cli"]].iter().any(|rooms| rooms.contains(&from)) {
            faults.push(format!("{file}: no such room; add it to this test and to docs/ARCHITECTURE.md"));
        }
        for (n, line) in text.lines().enumerate().filter(|(_, line)| is_code(line)) {
            for used in line.split("crate::").skip(1) {
                let to: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used.starts_with('{') {
                    faults.push(format!("{file}:{}: one `use crate::room::...` a line", n + 1));
                }
                let is_counting = from == "cli" && line.contains(COUNTING);
                if !to.is_empty() && !allowed(from, &to) && !is_counting {
                    faults.push(format!("{file}:{}: {from} -> {to}", n + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_stay_short() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{file}: {lines} lines, more than {LONGEST_FILE}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_is_only_where_it_may_be_and_is_argued() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines.iter().enumerate().filter(|(_, line)| is_code(line)) {
            let code = line.split("//").next().unwrap();
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if code.contains("deny(unsafe_code)")
                || !words.into_iter().any(|word| word == "unsafe" || word == "unsafe_code")
            {
                continue;
            }
            if !UNSAFE.iter().any(|place| file.starts_with(place)) {
                faults.push(format!("{file}:{}: unsafe does not belong here", n + 1));
            }
            // Functions state their contract under `# Safety`; blocks and impls say why they are right.
            let is_use = code.contains("unsafe {") || code.contains("unsafe impl");
            let above = &lines[n.saturating_sub(SAFETY_DISTANCE)..=n];
            if is_use && !above.iter().any(|line| line.contains("SAFETY:")) {
                faults.push(format!("{file}:{}: unsafe without a SAFETY line", n + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_architecture_page_names_every_room() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for room in SHARED.iter().chain(LEAVES).chain(ROOMS).chain(&["cli"]) {
        assert!(page.contains(&format!("`{room}`")), "docs/ARCHITECTURE.md has no line for `{room}`");
    }
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let room = line.trim_end_matches(';');
        assert!(page.contains(&format!("`{room}`")), "docs/ARCHITECTURE.md has no line for `{room}`");
    }
}

#[test]
fn texts_stand_alone() {
    // Papers and notes that are not part of this repository, and places of the machine it was written on.
    let strangers =
        [["ALGO", "RITHM"], ["DES", "IGN.md"], ["DES", "IGN "], ["/wor", "k/"], ["sha", "red/"], ["BRI", "EF.md"]]
            .map(|parts| parts.concat());
    let mut paths = Vec::new();
    for folder in ["src", "tests", "docs", "config", "slurm", "kernels", ".ci"] {
        files(&root().join(folder), &["rs", "md", "toml", "sh", "py"], &mut paths);
    }
    for file in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "Cargo.toml", ".ci/run"] {
        paths.push(root().join(file));
    }
    let mut faults = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for (n, line) in text.lines().enumerate() {
            for stranger in strangers.iter().filter(|stranger| line.contains(stranger.as_str())) {
                faults.push(format!("{}:{}: {stranger}", path.display(), n + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The libraries a program asks the loader for.
fn needed(program: &str) -> Vec<String> {
    let output = Command::new("readelf")
        .args(["-d", program])
        .output()
        .expect("readelf is not installed: `make setup` installs binutils");
    assert!(output.status.success(), "readelf failed on {program}");
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| Some(line.split_once("Shared library: [")?.1.trim_end_matches(']').to_string());
    text.lines().filter(|line| line.contains("(NEEDED)")).filter_map(name).collect()
}

#[test]
fn the_launcher_needs_nothing_but_the_c_library() {
    // Up to glibc 2.33 threads, dl and rt are files of their own.
    let c_library = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux", "libpthread.so", "libdl.so", "librt.so"];
    let libraries = needed(env!("CARGO_BIN_EXE_relion-rs"));
    assert!(libraries.iter().any(|library| library.starts_with("libc.so")), "{libraries:?}");
    for library in &libraries {
        assert!(c_library.iter().any(|allowed| library.starts_with(allowed)), "the launcher links {library}");
    }
}

/// A function that the driver lacks would end the process where it is called.
#[test]
fn every_call_of_the_driver_is_looked_for_first() {
    let mut called = BTreeSet::new();
    let mut listed = BTreeSet::new();
    for (file, text) in sources() {
        if !file.starts_with("device/cuda/") {
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for rest in text.split("sys::cu").skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase())) {
            called.insert(format!("cu{}", rest.chars().take_while(|c| is_name(*c)).collect::<String>()));
        }
        let names = text.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
        listed.extend(names.filter(|name| name.starts_with("cu") && name.chars().all(is_name)).map(str::to_string));
    }
    assert!(called.len() > 20, "the calls were not found");
    assert_eq!(called, listed, "the list CALLED of src/device/cuda/calls.rs");
}
