//! Tests of plan: the job file, its layers, the checks, the run folder and its progress.

mod device;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use relion_rs::error::ExitCode;
use relion_rs::plan::JobFile;
use relion_rs::plan::JobKind;
use relion_rs::plan::Layers;
use relion_rs::plan::Plan;
use relion_rs::plan::Resolved;
use relion_rs::plan::RunDir;
use relion_rs::plan::Sources;
use relion_rs::plan::defaults;
use relion_rs::plan::progress::Event;
use relion_rs::plan::progress::Follower;
use relion_rs::plan::progress::IterationFinished;
use relion_rs::plan::progress::ProgressWriter;
use relion_rs::plan::progress::read;
use relion_rs::plan::resolve;
use tempfile::TempDir;

/// A folder with the two inputs a job needs.
fn folder_with_inputs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.star"), "data_particles\n").unwrap();
    fs::write(folder.path().join("r.mrc"), "map").unwrap();
    folder
}

/// The smallest complete job, as flags.
fn flags() -> JobFile {
    JobFile {
        kind: Some(JobKind::Refine3d),
        particles: Some(PathBuf::from("p.star")),
        reference: Some(PathBuf::from("r.mrc")),
        out: Some(PathBuf::from("out")),
        diameter: Some(200.0),
        ..JobFile::default()
    }
}

fn resolved(folder: &Path, flags: JobFile, maps: usize) -> relion_rs::error::Result<Resolved> {
    let layers = Layers::load(&Sources { flags, ..Sources::default() })?;
    resolve(&layers, maps, folder)
}

/// The shipped file without the table of the cluster.
fn of_the_job() -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/job.toml")).unwrap();
    text.split_once("\n[cluster]\n").unwrap().0.to_owned()
}

/// The shipped file with the keys of one kind uncommented.
fn shipped(kind: JobKind) -> JobFile {
    let text = of_the_job();
    let mut toml = String::new();
    for line in text.lines() {
        let Some((key, rest)) = line.trim_start_matches("# ").split_once(" = ") else { continue };
        if !JobFile::keys().iter().any(|known| known == key) {
            continue;
        }
        let value = match (kind, rest.split_once("class3d: ")) {
            // Only a number followed by a full stop is another default; other words are explanation.
            (JobKind::Class3d, Some((_, other))) if other.split(". ").next().unwrap().parse::<f64>().is_ok() => {
                other.split(". ").next().unwrap()
            }
            _ => rest.split(" #").next().unwrap().trim(),
        };
        toml.push_str(&format!("{key} = {value}\n"));
    }
    toml::from_str(&toml).unwrap()
}

#[test]
fn the_shipped_job_file_equals_the_defaults() {
    for kind in [JobKind::Refine3d, JobKind::Class3d] {
        let mut shown = shipped(kind);
        let written = shown.set_values().unwrap();
        for key in JobFile::keys().iter().filter(|key| !JobFile::is_hidden(key)) {
            assert!(written.contains_key(key), "config/job.toml lacks {key}");
        }
        for (key, value) in ["kind", "particles", "reference", "out", "diameter"].map(|key| (key, written.get(key))) {
            assert!(value.is_some(), "{key}");
        }
        (shown.kind, shown.particles, shown.reference, shown.out, shown.diameter) = (None, None, None, None, None);
        shown.parity = Some(false);
        assert_eq!(shown, defaults(kind), "{kind}");
    }
}

#[test]
fn the_shipped_job_file_has_one_line_a_key() {
    let text = of_the_job();
    for key in JobFile::keys().iter().filter(|key| !JobFile::is_hidden(key)) {
        let lines = text.lines().filter(|line| line.starts_with(&format!("# {key} = "))).count();
        assert_eq!(lines, 1, "{key}");
    }
}

#[test]
fn each_layer_wins_over_the_ones_below_and_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Some(path)
    };
    let keys = "diameter ini_high mask_edge tau2_fudge sigma_offset".split(' ');
    let all = |count: usize, value: u32| {
        keys.clone().take(count).map(|key| format!("{key} = {value}\n")).collect::<Vec<_>>().concat()
    };
    let sources = Sources {
        site_file: file("site.toml", &all(5, 1)),
        user_file: file("user.toml", &all(4, 2)),
        job_file: file("job.toml", &all(3, 3)),
        environment: BTreeMap::from([
            ("RELION_RS_DIAMETER".to_string(), "4".to_string()),
            ("RELION_RS_INI_HIGH".to_string(), "4".to_string()),
            ("RELION_RS_OUT".to_string(), "5".to_string()),
            ("RELION_RS_ZERO_MASK".to_string(), "false".to_string()),
            ("RELION_RS_DATA".to_string(), "not a key".to_string()),
        ]),
        flags: JobFile { diameter: Some(5.0), ..JobFile::default() },
        ..Sources::default()
    };
    let layers = Layers::load(&sources).unwrap();
    let values = &layers.values;
    assert_eq!(
        [values.diameter, values.ini_high, values.mask_edge, values.tau2_fudge, values.sigma_offset],
        [5.0, 4.0, 3.0, 2.0, 1.0].map(Some)
    );
    assert_eq!(values.out, Some(PathBuf::from("5")), "a variable for a text key stays text");
    assert_eq!(values.zero_mask, Some(false));
    assert_eq!(layers.source("diameter"), "flag");
    assert_eq!(layers.source("ini_high"), "RELION_RS_INI_HIGH");
    assert!(layers.source("mask_edge").ends_with("job.toml"));
    assert!(layers.source("tau2_fudge").ends_with("user.toml"));
    assert!(layers.source("sigma_offset").ends_with("site.toml"));
    assert_eq!(layers.source("padding"), "built-in default");
    assert_eq!(layers.source("kind"), "not set");
    let asked = layers.asked().unwrap();
    assert_eq!((asked.diameter, asked.padding), (Some(5.0), None));
}

#[test]
fn defaults_follow_the_kind_wherever_it_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.toml");
    fs::write(&job, "kind = \"class3d\"\n").unwrap();
    let layers = Layers::load(&Sources { job_file: Some(job), ..Sources::default() }).unwrap();
    assert_eq!((layers.values.iterations, layers.values.tau2_fudge), (Some(25), Some(4.0)));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.toml");
    fs::write(&job, "seed = 1\ndiametre = 200\n").unwrap();
    let error = Layers::load(&Sources { job_file: Some(job), ..Sources::default() }).unwrap_err();
    assert_eq!(error.code, ExitCode::Config);
    assert!(error.place.ends_with("job.toml, line 2"), "{error}");
    assert!(error.problem.contains("diametre") && error.fix.contains("`diameter`"), "{error}");

    let environment = BTreeMap::from([("RELION_RS_SYMETRY".to_string(), "C1".to_string())]);
    let error = Layers::load(&Sources { environment, ..Sources::default() }).unwrap_err();
    assert_eq!((error.code, error.place.as_str()), (ExitCode::Usage, "RELION_RS_SYMETRY"));
    assert!(error.fix.contains("`symmetry`"), "{error}");
}

#[test]
fn wrong_files_and_values_say_where_and_what() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.toml");
    for (text, place, problem) in [
        ("seed = 1\nsymmetry = C1\n", "line 2", "quoted"),
        ("diameter = \"wide\"\n", "key diameter", "wide"),
        ("zero_mask = 3\n", "key zero_mask", "3"),
        ("kind = \"refine2d\"\n", "key kind", "refine2d"),
        ("classes = -1\n", "key classes", "-1"),
        ("[particles]\na = 1\n", "key particles", "map"),
        ("[particle]\na = 1\n", "line 1", "particle"),
    ] {
        fs::write(&job, text).unwrap();
        let error = Layers::load(&Sources { job_file: Some(job.clone()), ..Sources::default() }).unwrap_err();
        assert_eq!(error.code, ExitCode::Config, "{text}: {error}");
        assert!(error.place.contains("job.toml") && error.place.contains(place), "{text}: {error}");
        assert!(error.problem.contains(problem), "{text}: {error}");
        assert!(!error.fix.is_empty(), "{text}");
    }
    let missing = Sources { job_file: Some(folder.path().join("absent.toml")), ..Sources::default() };
    assert_eq!(Layers::load(&missing).unwrap_err().code, ExitCode::NoInput);
    fs::write(&job, [0xff, 0xfe]).unwrap();
    let error = Layers::load(&Sources { job_file: Some(job), ..Sources::default() }).unwrap_err();
    assert_eq!(error.code, ExitCode::Config, "{error}");
}

#[test]
fn a_complete_job_resolves_with_the_documented_defaults() {
    let folder = folder_with_inputs();
    let Resolved { plan, warnings } = resolved(folder.path(), flags(), 1).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((plan.kind, plan.classes, plan.symmetry.as_str()), (JobKind::Refine3d, 1, "C1"));
    assert_eq!((plan.ini_high_angstrom, plan.low_resolution_join_angstrom), (Some(60.0), Some(40.0)));
    assert_eq!((plan.mask.as_ref(), plan.memory_bytes, plan.blocks_per_batch), (None, None, None));
    assert_eq!(plan.file(&plan.particles), folder.path().join("p.star"));

    let class3d = JobFile { kind: Some(JobKind::Class3d), symmetry: Some("d2".to_string()), ..flags() };
    let plan = resolved(folder.path(), class3d, 3).unwrap().plan;
    assert_eq!((plan.classes, plan.iterations, plan.tau2_fudge, plan.symmetry.as_str()), (3, 25, 4.0, "D2"));
    assert_eq!(plan.low_resolution_join_angstrom, None, "no halves, nothing to join");
}

#[test]
fn every_impossible_setting_is_refused_with_its_place_and_a_fix() {
    type Change = fn(&mut JobFile);
    let folder = folder_with_inputs();
    let cases: &[(&str, ExitCode, Change)] = &[
        ("kind", ExitCode::Usage, |job| job.kind = None),
        ("particles", ExitCode::Usage, |job| job.particles = None),
        ("particles", ExitCode::Usage, |job| job.particles = Some(PathBuf::new())),
        ("--particles", ExitCode::NoInput, |job| job.particles = Some(PathBuf::from("absent.star"))),
        ("--particles", ExitCode::NoInput, |job| job.particles = Some(PathBuf::from("."))),
        ("--reference", ExitCode::NoInput, |job| job.reference = Some(PathBuf::from("absent.mrc"))),
        ("--mask", ExitCode::NoInput, |job| job.mask = Some(PathBuf::from("absent.mrc"))),
        ("out", ExitCode::Usage, |job| job.out = None),
        ("--out", ExitCode::Usage, |job| job.out = Some(PathBuf::from("p.star"))),
        ("diameter", ExitCode::Usage, |job| job.diameter = None),
        ("--diameter", ExitCode::Usage, |job| job.diameter = Some(0.0)),
        ("--diameter", ExitCode::Usage, |job| job.diameter = Some(f64::INFINITY)),
        ("--symmetry", ExitCode::Usage, |job| job.symmetry = Some("Q7".to_string())),
        ("--ini-high", ExitCode::Usage, |job| job.ini_high = Some(-1.0)),
        ("--classes", ExitCode::Usage, |job| job.classes = Some(2)),
        ("--tau2-fudge", ExitCode::Usage, |job| job.tau2_fudge = Some(0.0)),
        ("--padding", ExitCode::Usage, |job| job.padding = Some(3)),
        ("--perturb", ExitCode::Usage, |job| job.perturb = Some(1.5)),
        ("--oversampling", ExitCode::Usage, |job| job.oversampling = Some(9)),
        ("--healpix-order", ExitCode::Usage, |job| job.healpix_order = Some(12)),
        ("--offset-step-pixels", ExitCode::Usage, |job| job.offset_step_pixels = Some(0.0)),
        ("--sigma-angles", ExitCode::Usage, |job| job.sigma_angles = Some(5.0)),
        ("--sigma-offset", ExitCode::Usage, |job| job.sigma_offset = Some(0.0)),
        ("--solvent-correct-fsc", ExitCode::Usage, |job| job.solvent_correct_fsc = Some(true)),
        ("--only-flip-phases", ExitCode::Usage, |job| {
            job.only_flip_phases = Some(true);
            job.ctf = Some(false);
        }),
        ("--memory", ExitCode::Usage, |job| job.memory = Some("4 cows".to_string())),
        ("--memory", ExitCode::Usage, |job| job.memory = Some("0".to_string())),
        ("--block-particles", ExitCode::Usage, |job| job.block_particles = Some(0)),
        ("--keep-last", ExitCode::Usage, |job| job.keep_last = Some(0)),
        ("--threads", ExitCode::Usage, |job| job.threads = Some(1_000_000)),
        ("--max-hours", ExitCode::Usage, |job| job.max_hours = Some(-1.0)),
        ("--gpu-memory", ExitCode::Usage, |job| job.gpu_memory = Some("a lot".to_string())),
        ("--coarse-form", ExitCode::Usage, |job| {
            job.coarse_form = Some(relion_rs::plan::CoarseForm::Tf32);
            job.precision = Some(relion_rs::plan::Precision::Double);
        }),
    ];
    for (place, code, change) in cases {
        let mut job = flags();
        change(&mut job);
        let error = resolved(folder.path(), job.clone(), 1).expect_err(place);
        assert_eq!(error.code, *code, "{place}: {error}");
        let said = format!("{}{}", error.place, error.problem);
        assert!(said.contains(place), "{place}: {error}");
        assert!(!error.fix.is_empty(), "{place}: {error}");
    }
    let three_of_two = JobFile { kind: Some(JobKind::Class3d), classes: Some(3), ..flags() };
    assert!(resolved(folder.path(), three_of_two, 2).unwrap_err().problem.contains("2 maps"));
}

#[test]
fn a_wrong_value_in_a_file_is_a_configuration_error_naming_the_file() {
    let folder = folder_with_inputs();
    let job = folder.path().join("job.toml");
    fs::write(&job, "padding = 7\n").unwrap();
    let layers = Layers::load(&Sources { job_file: Some(job), flags: flags(), ..Sources::default() }).unwrap();
    let error = resolve(&layers, 1, folder.path()).unwrap_err();
    assert_eq!(error.code, ExitCode::Config);
    assert!(error.place.ends_with("job.toml, key padding"), "{error}");
}

#[test]
fn odd_but_possible_settings_are_warned_about() {
    let folder = folder_with_inputs();
    let odd = JobFile { ini_high: Some(0.0), offset_step_pixels: Some(9.0), ..flags() };
    assert_eq!(resolved(folder.path(), odd, 1).unwrap().warnings.len(), 2);
}

#[test]
fn a_plan_survives_its_file_and_newer_formats_are_refused() {
    let folder = folder_with_inputs();
    let plan = resolved(folder.path(), flags(), 1).unwrap().plan;
    let path = folder.path().join("plan.json");
    fs::write(&path, plan.to_json().unwrap()).unwrap();
    assert_eq!(Plan::read(&path).unwrap(), plan);

    fs::write(&path, plan.to_json().unwrap().replace("one-machine", "many-moons")).unwrap();
    let error = Plan::read(&path).unwrap_err();
    assert!(error.code == ExitCode::Config && error.problem.contains("many-moons"), "{error}");
    fs::write(&path, &plan.to_json().unwrap()[..100]).unwrap();
    assert_eq!(Plan::read(&path).unwrap_err().code, ExitCode::Config);
}

#[test]
fn only_changes_that_could_change_a_result_are_differences() {
    let folder = folder_with_inputs();
    let plan = resolved(folder.path(), flags(), 1).unwrap().plan;
    let harmless = JobFile {
        threads: Some(7),
        memory: Some("1GiB".to_string()),
        blocks_per_batch: Some(2),
        backend: Some(relion_rs::plan::Backend::Cuda),
        gpu_memory: Some("24GiB".to_string()),
        share_gpu: Some(true),
        particles: Some(folder.path().join("p.star")),
        ..flags()
    };
    assert_eq!(plan.differences(&resolved(folder.path(), harmless, 1).unwrap().plan), vec![]);
    let other = JobFile { diameter: Some(180.0), ..flags() };
    let differences = plan.differences(&resolved(folder.path(), other, 1).unwrap().plan);
    assert_eq!(differences, vec![("diameter".to_string(), "200.0".to_string(), "180.0".to_string())]);
}

#[test]
fn a_run_folder_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path().join("a/b"));
    run.create().unwrap();
    let lock = run.lock().unwrap();
    assert_eq!(run.lock().unwrap_err().code, ExitCode::Usage);
    drop(lock);
    run.lock().unwrap();
    assert_eq!(run.output("it010_class001.mrc"), folder.path().join("a/b/run_it010_class001.mrc"));
    assert_eq!(run.log(0), folder.path().join("a/b/log/rank-000.log"));

    fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(RunDir::new(folder.path().join("file")).create().unwrap_err().code, ExitCode::CannotCreate);
}

#[test]
fn progress_survives_a_torn_line_a_resume_and_nan() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.jsonl");
    let iteration = |iteration| {
        let accuracy_degrees = f64::NAN;
        Event::IterationFinished(Box::new(IterationFinished { iteration, accuracy_degrees, ..Default::default() }))
    };
    let mut writer = ProgressWriter::open(&path).unwrap();
    writer.write(Event::IterationStarted { iteration: 1 }).unwrap();
    writer.write(iteration(1)).unwrap();
    drop(writer);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"unix_seconds\": 1.0, \"event\": \"iter");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap().len(), 2, "the torn line is no event");

    let mut follower = Follower::from_end(&path);
    ProgressWriter::open(&path).unwrap().write(iteration(2)).unwrap();
    let events = read(&path).unwrap();
    assert_eq!(events.len(), 3, "the torn line did not swallow its successor");
    let Event::IterationFinished(last) = &events[2].event else { panic!("{events:?}") };
    assert!(last.iteration == 2 && last.accuracy_degrees.is_nan());
    assert_eq!(follower.poll().unwrap().len(), 1);
    assert_eq!(follower.poll().unwrap().len(), 0);
}
