//! Tests of the command line: help and pages, settings, starting the engine, status.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use relion_rs::error::ExitCode;
use relion_rs::plan::RunDir;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::IterationFinished;
use relion_rs::plan::progress::ProgressWriter;
use relion_rs::plan::progress::Started;
use relion_rs::plan::progress::WeightMemory;
use tempfile::TempDir;

const LAUNCHER: &str = env!("CARGO_BIN_EXE_relion-rs");
const RANK: &str = env!("CARGO_BIN_EXE_relion-rs-rank");

/// A command that sees no settings of the person who runs the tests.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RELION_RS_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command
}

fn launcher(folder: &Path, words: &str) -> Output {
    command(Path::new(LAUNCHER), folder).args(words.split_whitespace()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Compares with a file of the repository; with BLESS=1 writes it instead.
fn golden(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, text).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == text, "{path} is out of date: `make bless` writes it anew");
}

/// A folder with inputs, and the launcher beside an engine that is a script.
struct Stage {
    folder: TempDir,
}

const JOB: &str = "run refine3d --particles p.star --reference r.mrc --out out --diameter 200";

impl Stage {
    fn new(engine: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("p.star"), "data_particles\n").unwrap();
        fs::write(folder.path().join("r.mrc"), "map").unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        if fs::hard_link(LAUNCHER, bin.join("relion-rs")).is_err() {
            fs::copy(LAUNCHER, bin.join("relion-rs")).unwrap();
        }
        if let Some(script) = engine {
            let path = bin.join("relion-rs-rank");
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &str) -> Command {
        let mut command = command(&self.path("bin/relion-rs"), self.folder.path());
        command.args(words.split_whitespace());
        command
    }

    fn launch(&self, words: &str) -> Output {
        self.command(words).output().unwrap()
    }
}

#[test]
fn the_page_of_the_command_line_is_current() {
    golden("docs/cli.md", &relion_rs::cli::page());
}

#[test]
fn the_page_of_exit_codes_equals_the_table() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/error.rs")).unwrap();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exit-codes.md")).unwrap();
    let table = source.split("pub enum ExitCode {").nth(1).unwrap().split("\n}").next().unwrap();
    let mut rows = Vec::new();
    let mut meaning = "";
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(doc) = line.strip_prefix("/// ") {
            meaning = doc;
        } else {
            let (name, number) = line.trim_end_matches(',').split_once(" = ").unwrap();
            rows.push(format!("| {number} | `{name}` | {meaning} |"));
        }
    }
    let shown: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert_eq!(shown, rows);
    assert_eq!(rows.len(), ExitCode::ALL.len());
    for code in ExitCode::ALL {
        assert_eq!(ExitCode::from_code(code as u8), Some(code));
    }
}

#[test]
fn wrong_words_end_with_the_usage_code() {
    let folder = tempfile::tempdir().unwrap();
    for words in ["", "refin3d", "run refine3d --diametre 3", "run refine3d --diameter wide", "status a b"] {
        let output = launcher(folder.path(), words);
        assert_eq!(code(&output), 64, "{words}: {}", err(&output));
        assert!(!err(&output).is_empty());
    }
    let output = launcher(folder.path(), "--json run refine3d --diametre 3");
    let error: serde_json::Value = serde_json::from_str(&err(&output)).unwrap();
    assert_eq!(error["error"]["code"], 64);
    let output = launcher(folder.path(), "run refin3d");
    assert!(code(&output) == 66 && err(&output).contains("`refine3d`"), "{}", err(&output));
    assert_eq!(code(&launcher(folder.path(), "--version")), 0);
    assert_eq!(code(&launcher(folder.path(), "run --help")), 0);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for words in ["completions bash", "new -", "run --help", "config show"] {
        let mut child = command(Path::new(LAUNCHER), folder.path())
            .args(words.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{words}");
    }
}

#[test]
fn new_writes_a_job_that_run_accepts_and_never_replaces_one() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    let keys = "--particles p.star --reference r.mrc --out out --diameter 180 --kind class3d";
    assert_eq!(code(&stage.launch(&format!("new {keys}"))), 0);
    let again = stage.launch("new");
    assert!(code(&again) == 73 && err(&again).contains("--force"), "{}", err(&again));
    assert_eq!(code(&stage.launch("new --force --diameter 180")), 0);
    assert_eq!(code(&stage.launch(&format!("new --force {keys}"))), 0);

    let output = stage.launch("run");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let plan = fs::read_to_string(stage.path("out/plan.json")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!((plan["kind"].as_str(), plan["diameter"].as_f64()), (Some("class3d"), Some(180.0)));
    assert!(
        out(&stage.launch("new -")).lines().all(|line| line.is_empty() || line == "[cluster]" || line.starts_with('#'))
    );
}

#[test]
fn config_show_tells_where_each_value_comes_from() {
    let stage = Stage::new(None);
    fs::write(stage.path("job.toml"), "kind = \"class3d\"\nini_high = 40\n").unwrap();
    let output = stage.command("config show --diameter 200").env("RELION_RS_SEED", "7").output().unwrap();
    let text = out(&output);
    let line = |key: &str| text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap().to_string();
    assert!(line("diameter").contains("200.0") && line("diameter").ends_with("# flag"), "{text}");
    assert!(line("ini_high").ends_with("# job.toml"), "{text}");
    assert!(line("seed").contains("7 ") && line("seed").ends_with("# RELION_RS_SEED"), "{text}");
    assert!(line("tau2_fudge").contains("4.0") && line("tau2_fudge").ends_with("# built-in default"), "{text}");
    assert!(line("particles").ends_with("# not set"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&out(&stage.launch("config show --json"))).unwrap();
    assert_eq!(json["ini_high"]["source"], "job.toml");
    assert_eq!(json["ini_high"]["value"].as_f64(), Some(40.0));
}

#[test]
fn run_writes_the_folder_and_gives_back_what_the_engine_said() {
    for wanted in [0, 65, 71, 74, 75] {
        let script = format!(
            "#!/bin/sh\npwd > where\necho $1 $2 > \"$1/words\"\necho 'error: from the engine' >&2\nexit {wanted}\n"
        );
        let stage = Stage::new(Some(&script));
        let output = stage.launch(JOB);
        assert_eq!(code(&output), wanted, "{}", err(&output));
        assert!(err(&output).contains("error: from the engine"));
        assert!(!err(&output).contains('\x1b'), "colour without a terminal");
        let folder = stage.folder.path().canonicalize().unwrap();
        let words = fs::read_to_string(stage.path("out/words")).unwrap();
        assert_eq!(words.trim(), format!("{} --die-with-parent", folder.join("out").display()));
        assert!(stage.path("where").exists(), "the engine starts where relative paths start");
        let job = fs::read_to_string(stage.path("out/job.toml")).unwrap();
        assert!(job.contains("diameter = 200.0") && !job.contains("padding"), "{job}");
    }
}

#[test]
fn an_unknown_code_a_signal_and_a_missing_engine_are_told() {
    let output = Stage::new(Some("#!/bin/sh\nexit 3\n")).launch(JOB);
    assert!(code(&output) == 70 && err(&output).contains("unknown code 3"), "{}", err(&output));
    let output = Stage::new(Some("#!/bin/sh\nkill -9 $$\n")).launch(JOB);
    assert!(code(&output) == 70 && err(&output).contains("SIGKILL"), "{}", err(&output));
    let output = Stage::new(None).launch(JOB);
    assert!(code(&output) == 69 && err(&output).contains("relion-rs-rank"), "{}", err(&output));
}

#[test]
fn the_same_command_goes_on_and_another_one_is_refused_by_key() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    assert_eq!(code(&stage.launch(JOB)), 0);
    let first = fs::read(stage.path("out/plan.json")).unwrap();
    assert_eq!(code(&stage.launch(JOB)), 0, "the first time and the second are the same");
    assert_eq!(fs::read(stage.path("out/plan.json")).unwrap(), first);
    assert_eq!(code(&stage.launch(&format!("{JOB} --threads 3"))), 0, "threads change nothing");

    let other = stage.launch(&format!("{JOB} --tau2-fudge 2 --json"));
    assert_eq!(code(&other), 64);
    let error: serde_json::Value = serde_json::from_str(&err(&other)).unwrap();
    let problem = error["error"]["problem"].as_str().unwrap();
    assert!(problem.contains("tau2_fudge is 1.0 there, 2.0 here"), "{problem}");

    // By its folder, from anywhere.
    let elsewhere = tempfile::tempdir().unwrap();
    let run_dir = stage.path("out");
    let run = |verb: &str| {
        let mut command = stage.command(verb);
        command.arg(&run_dir).current_dir(elsewhere.path()).output().unwrap()
    };
    for verb in ["run", "resume"] {
        let output = run(verb);
        assert_eq!(code(&output), 0, "{verb}: {}", err(&output));
    }
    let output = stage.launch("resume bin");
    assert!(code(&output) == 66 && err(&output).contains("run folder"), "{}", err(&output));
}

#[test]
fn a_folder_at_work_is_left_alone() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    let run_dir = RunDir::new(stage.path("out"));
    run_dir.create().unwrap();
    let _lock = run_dir.lock().unwrap();
    let output = stage.launch(JOB);
    assert!(code(&output) == 64 && err(&output).contains("works in this run folder"), "{}", err(&output));
}

#[test]
fn bad_settings_stop_before_anything_is_written() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    for (words, wanted, said) in [
        ("--backend cuda", 69, "cuda"),
        ("--symmetry Q9", 64, "--symmetry"),
        ("--particles absent.star", 66, "absent.star"),
        ("--memory lots", 64, "--memory"),
    ] {
        let job = JOB
            .replace(" --particles p.star", if words.starts_with("--particles") { "" } else { " --particles p.star" });
        let output = stage.launch(&format!("{job} {words}"));
        assert_eq!(code(&output), wanted, "{words}: {}", err(&output));
        assert!(err(&output).contains(said) && err(&output).contains("fix:"), "{words}: {}", err(&output));
        assert!(!stage.path("out").exists(), "{words}");
    }
}

#[test]
fn a_table_of_references_sets_the_number_of_classes() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    fs::write(stage.path("refs.star"), "data_\n\nloop_\n_rlnReferenceImage #1\na.mrc\nb.mrc\n\n").unwrap();
    let job = "run class3d --particles p.star --reference refs.star --out out --diameter 200";
    let output = stage.launch(&format!("{job} --classes 3"));
    assert!(code(&output) == 64 && err(&output).contains("2 maps"), "{}", err(&output));
    assert_eq!(code(&stage.launch(job)), 0);
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(stage.path("out/plan.json")).unwrap()).unwrap();
    assert_eq!(plan["classes"], 2);
}

/// Waits until a file appears.
fn wait_for(path: &Path, child: &mut Child) {
    for _ in 0..400 {
        if path.exists() {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "ended before it was ready");
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("{} never appeared", path.display());
}

#[test]
fn signals_reach_the_engine_and_its_answer_comes_back() {
    // Perl is part of every Debian; a shell cannot lift the mask of held-back signals.
    let script = r#"#!/usr/bin/perl
use POSIX;
$SIG{$_} = sub { my $name = shift; open(F, ">$ARGV[0]/got"); print F $name; close(F); exit 75 } for qw(TERM INT USR2);
sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGTERM, SIGINT, SIGUSR2));
open(F, ">$ARGV[0]/ready"); close(F);
sleep 30;
"#;
    for name in ["TERM", "INT", "USR2"] {
        let stage = Stage::new(Some(script));
        let mut child = stage.command(JOB).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&stage.path("out/ready"), &mut child);
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(75), "{name}");
        assert_eq!(fs::read_to_string(stage.path("out/got")).unwrap(), name);
    }
    // An engine that dies of it, within an iteration: no defect, and the same command goes on.
    let deaf = script.lines().filter(|line| !line.starts_with("$SIG")).collect::<Vec<_>>().join("\n");
    let stage = Stage::new(Some(&deaf));
    let mut child = stage.command(JOB).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&stage.path("out/ready"), &mut child);
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 75, "{}", err(&output));
    assert!(err(&output).contains("there is no checkpoint yet"), "{}", err(&output));
}

fn started(process: u32) -> Event {
    Event::Started(Started {
        program_version: "0.1.0".to_string(),
        kind: "refine3d".to_string(),
        host: nix::unistd::gethostname().unwrap().to_string_lossy().into_owned(),
        process,
        threads: 2,
        instruction_set: "avx2".to_string(),
        precision: "single".to_string(),
        backend: "cpu".to_string(),
        backend_why: "asked for".to_string(),
        device: None,
        particles: 1000,
        classes: 1,
        box_pixels: 64,
        pixel_size_angstrom: 3.54,
        resumed_from: None,
        resumed_particles: 0,
        repeated_particles: 0,
        last_iteration: 999,
    })
}

fn finished(iteration: u32) -> Event {
    Event::IterationFinished(Box::new(IterationFinished {
        iteration,
        resolution_angstrom: 11.328,
        current_size: 42,
        coarse_size: 28,
        healpix_order: 3,
        is_local_search: true,
        average_max_probability: 0.8712,
        change_degrees: 1.25,
        change_angstrom: 0.5,
        wall_seconds: 12.0,
        phase_seconds: [("expectation", 10.5), ("maximisation", 1.25)].map(|(n, s)| (n.to_string(), s)).into(),
        arena_peak_bytes: 100 << 20,
        arena_reserved_bytes: 120 << 20,
        weights: WeightMemory { blocks_bytes: 3000, dense_bytes: 96_000, csr_bytes: 4_000 },
        ..Default::default()
    }))
}

#[test]
fn status_tells_every_state_of_a_run() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    assert_eq!(code(&stage.launch(JOB)), 0);
    let status = |words: &str| out(&stage.launch(&format!("status out {words}")));
    assert!(status("").contains("not started"), "{}", status(""));

    let mut writer = ProgressWriter::open(&stage.path("out/progress.jsonl")).unwrap();
    // No process has this number: the largest on Linux is 4194304.
    writer.write(started(4_194_305)).unwrap();
    writer.write(Event::IterationStarted { iteration: 1 }).unwrap();
    writer.write(Event::Batch { iteration: 1, particles_done: 128, particles_total: 1000 }).unwrap();
    assert!(status("").contains("interrupted in iteration 1, 128 of 1000"), "{}", status(""));
    writer.write(finished(1)).unwrap();
    writer.write(Event::Warning { text: "one image is flat".to_string() }).unwrap();
    let ended = |checkpointed| Event::Finished {
        iteration: 1,
        checkpointed,
        converged: !checkpointed,
        resolution_angstrom: 11.328,
        wall_seconds: 12.0,
        cpu_seconds: 20.0,
        resident_peak_bytes: 0,
    };
    writer.write(ended(true)).unwrap();
    assert!(status("").contains("stopped with a checkpoint"), "{}", status(""));
    writer.write(Event::Failed { code: 74, message: "disk full".to_string() }).unwrap();
    assert!(status("").contains("failed") && status("").contains("disk full"), "{}", status(""));
    writer.write(ended(false)).unwrap();
    golden("tests/golden/cli/status.txt", &status(""));
    let json: serde_json::Value = serde_json::from_str(&status("--json")).unwrap();
    assert_eq!((json["state"].as_str(), json["iteration"].as_u64()), (Some("finished"), Some(1)));
    assert_eq!(json["iterations"][0]["weights"]["blocks_bytes"], 3000);
}

#[test]
fn progress_of_the_engine_is_shown_as_lines_or_json() {
    // The engine's events, written by the script as the real one writes them.
    let events = tempfile::tempdir().unwrap();
    let file = events.path().join("events");
    let mut writer = ProgressWriter::open(&file).unwrap();
    writer.write(started(1)).unwrap();
    writer.write(finished(1)).unwrap();
    let script = format!("#!/bin/sh\ncat {} >> \"$1/progress.jsonl\"\nexit 0\n", file.display());
    let stage = Stage::new(Some(&script));
    let output = stage.launch(JOB);
    let lines: Vec<String> = out(&output).lines().map(String::from).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("1000 particles of 64 px") && lines[1].contains("11.33 A"), "{lines:?}");
    let output = stage.launch(&format!("{JOB} --json"));
    let events: Vec<serde_json::Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["event"], "iteration_finished");
}

#[test]
fn report_wants_a_finished_iteration() {
    let stage = Stage::new(Some("#!/bin/sh\nexit 0\n"));
    assert_eq!(code(&stage.launch(JOB)), 0);
    let output = stage.launch("report out");
    assert!([65, 66].contains(&code(&output)) && err(&output).contains("fix:"), "{}", err(&output));
    assert!(!stage.path("out/report.html").exists());
}

#[test]
fn man_pages_and_completions_name_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&launcher(folder.path(), "man pages")), 0);
    let script = out(&launcher(folder.path(), "completions bash"));
    for verb in ["new", "run", "resume", "status"] {
        assert!(folder.path().join(format!("pages/relion-rs-{verb}.1")).is_file(), "{verb}");
        assert!(script.contains(verb), "{verb}");
    }
}

#[test]
fn the_engine_says_what_it_sees_and_refuses_what_is_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let rank = |words: &[&str]| command(Path::new(RANK), folder.path()).args(words).output().unwrap();
    let output = rank(&["--probe"]);
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
    assert!(seen["cores"].as_u64().unwrap() >= 1 && seen["hdf5"].as_str().unwrap().contains('.'), "{seen}");
    assert_eq!(code(&rank(&[])), 64);
    let output = rank(&["absent"]);
    assert_eq!(code(&output), 66, "{}", err(&output));
    let mut text = String::new();
    output.stderr.as_slice().read_to_string(&mut text).unwrap();
    assert!(text.contains("plan.json"), "{text}");
}

#[test]
fn verbs_of_the_engine_are_passed_on_as_they_are() {
    let stage = Stage::new(Some("#!/bin/sh\necho \"$@\" | sed s/$PPID/PID/\necho 'told by the engine' >&2\nexit 65\n"));
    for (words, passed) in [
        ("checkpoint verify", "checkpoint verify --die-with-parent PID -- ."),
        ("--json checkpoint verify out", "checkpoint verify --die-with-parent PID --json -- out"),
    ] {
        let output = stage.launch(words);
        assert_eq!((code(&output), out(&output).trim()), (65, passed));
        assert_eq!(err(&output), "told by the engine\n");
    }
    let output = Stage::new(Some("#!/bin/sh\nkill -9 $$\n")).launch("checkpoint verify");
    assert!(code(&output) == 70 && err(&output).contains("SIGKILL"), "{}", err(&output));
    let output = Stage::new(None).launch("checkpoint verify");
    assert!(code(&output) == 69 && err(&output).contains("relion-rs-rank"), "{}", err(&output));
}

/// A simulated set in `folder/set`: 40 particles of 32 pixels.
fn simulated(stage: &Stage, flags: &str) -> Output {
    let map = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inputs/ref32.mrc");
    stage.launch(&format!("simulate --map {} --out set --count 40 {flags}", map.display()))
}

#[test]
fn check_reads_what_simulate_makes_and_tells_every_fault() {
    let stage = Stage::new(None);
    let output = simulated(&stage, "--snr 0.2");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("40 images of 32 px, 7.000 A, SNR 0.200"), "{}", out(&output));

    let job =
        "check refine3d --particles set/particles.star --reference set/truth.mrc --out out --diameter 200 --images";
    let output = stage.launch(job);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let text = out(&output);
    for said in ["particles: 40 in 1 stack and", "reference: ", "32 voxels of 7.0000 A", "images: 40 read"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!stage.path("out").exists(), "a check leaves nothing behind");

    // Three faults at once: each is told, and the first decides the code.
    let stack = stage.path("set/particles.mrcs");
    let mut bytes = fs::read(&stack).unwrap();
    let image = 1024 + 16 * 32 * 32 * 4;
    bytes[image..image + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&stack, bytes).unwrap();
    let map = fs::read(stage.path("set/truth.mrc")).unwrap();
    fs::write(stage.path("mask.mrc"), &map).unwrap();
    let output = stage.launch(&format!("{} --mask mask.mrc", job.replace("200", "20000")));
    assert_eq!(code(&output), 64, "{}", err(&output));
    for said in ["does not fit into the box", "image 17: holds a pixel that is no number", "a mask holds the value"] {
        assert!(err(&output).contains(said), "{said}: {}", err(&output));
    }
    let output = stage.launch(&format!("{job} --json"));
    assert_eq!(code(&output), 65);
    let told: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told[0]["name"], "particles");
    assert_eq!(told.as_array().unwrap().last().unwrap()["error"]["code"], 65);
}

#[test]
fn check_refuses_maps_that_cannot_be_a_reference() {
    let stage = Stage::new(None);
    assert_eq!(code(&simulated(&stage, "")), 0);
    let good = fs::read(stage.path("set/truth.mrc")).unwrap();
    let voxels = |value: f32| [&good[..1024], &value.to_le_bytes().repeat(32 * 32 * 32)].concat();
    let with = |at: usize, word: [u8; 4]| [&good[..at], &word[..], &good[at + 4..]].concat();
    let job = "check refine3d --particles set/particles.star --reference bad.mrc --out out --diameter 200";
    for (bytes, said) in [
        (voxels(1.5), "all voxels are 1.5"),
        (with(1024 + 4 * 33, f32::NAN.to_le_bytes()), "voxel (1, 1, 0) is NaN"),
        (with(40, 0.0_f32.to_le_bytes()), "pixel size"),
        (with(40, 320.0_f32.to_le_bytes()), "10.0000 A along x and 7.0000 A along y"),
        ([&good[..40], &320.0_f32.to_le_bytes().repeat(3), &good[52..]].concat(), "32 voxels of 10.0000 A"),
        (good[..good.len() - 100].to_vec(), "bad.mrc"),
        (Vec::new(), "bad.mrc"),
    ] {
        fs::write(stage.path("bad.mrc"), bytes).unwrap();
        let output = stage.launch(job);
        assert_eq!(code(&output), 65, "{said}: {}", err(&output));
        assert!(err(&output).contains(said) && err(&output).contains("fix:"), "{said}: {}", err(&output));
    }
}

#[test]
fn compare_gives_the_resolution_of_a_map() {
    let stage = Stage::new(None);
    assert_eq!(code(&simulated(&stage, "--snr 0")), 0);
    let output = stage.launch("compare set/truth.mrc set/truth.mrc --json");
    let result: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    // Equal maps agree to the last shell: 14 A at 7 A a voxel.
    assert_eq!(result["angstrom_at_0.5"].as_f64(), Some(14.0), "{result}");
    let output =
        stage.launch(&format!("compare set/truth.mrc {}/tests/golden/inputs/ref48.mrc", env!("CARGO_MANIFEST_DIR")));
    assert!(code(&output) == 65 && err(&output).contains("48 voxels"), "{}", err(&output));
}

#[test]
fn simulate_refuses_what_makes_no_sense() {
    let stage = Stage::new(None);
    for (flags, said) in
        [("--snr=-1", "--snr"), ("--micrographs 0", "one micrograph"), ("--poses-from absent.star", "absent.star")]
    {
        let output = simulated(&stage, flags);
        assert!([64, 66].contains(&code(&output)), "{flags}: {}", err(&output));
        assert!(err(&output).contains(said), "{flags}: {}", err(&output));
    }
}
