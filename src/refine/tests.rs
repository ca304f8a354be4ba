//! The memory plan of whole jobs: in every iteration, everything lies where it was counted to lie.

use std::path::Path;
use std::path::PathBuf;

use crate::arena::Kind;
use crate::arena::Layout;
use crate::plan::Backend;
use crate::plan::JobFile;
use crate::plan::JobKind;
use crate::plan::Layers;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::plan::Sources;
use crate::plan::resolve;

use super::*;

fn golden(path: &str) -> Option<PathBuf> {
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path))
}

/// A job on the 60 particles of 32 pixels that the golden files hold.
fn job(kind: JobKind) -> JobFile {
    JobFile {
        kind: Some(kind),
        particles: golden("g06_class3d/particles.star"),
        reference: golden("inputs/ref32.mrc"),
        diameter: Some(180.0),
        ini_high: Some(60.0),
        threads: Some(2),
        trust_reference_size: Some(true),
        ..JobFile::default()
    }
}

/// Runs the job to its end, and returns the layout of every iteration as it was and as it was counted.
fn layouts(job: JobFile) -> (Vec<(Layout, Layout)>, State) {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = JobFile { out: Some("out".into()), ..job };
    let layers = Layers::load(&Sources { flags, ..Sources::default() }).expect("settings");
    let plan: Plan = resolve(&layers, 1, folder.path()).expect("a plan").plan;
    let run_dir = RunDir::new(folder.path().join("out"));
    run_dir.create().expect("a run folder");
    let on = Chosen {
        backend: Backend::Cpu,
        why: String::new(),
        device: None,
        identity: String::new(),
        warnings: Vec::new(),
    };
    let mut account = Account::open(&run_dir, &plan, &on).expect("an account");
    let files = Files::new(&run_dir, &plan);
    let inputs = Inputs::load(&plan).expect("inputs");
    let images = Images::new(&inputs.dataset, &inputs.headers);
    let share = Share::new(Team::alone(), halves(&plan), plan.classes);
    let mut keeper = Keeper::new(&run_dir, &plan, &inputs.origin, Arc::default(), share, None).expect("a keeper");
    let job = Job { plan: &plan, inputs: &inputs, images: &images, files: &files };
    let start = start::start(&plan, &inputs, &images).expect("a state");
    let mut state = start.state;
    let mut engine = Engine::new(&plan, &inputs, start.usual_spread, None).expect("an engine");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(plan.thread_count()).build().expect("a pool");
    let mut layouts = Vec::new();
    while !is_finished(&plan, &state) {
        let after = pool.install(|| iteration(&job, &mut engine, state, &mut account, &mut keeper));
        state = after.expect("an iteration").expect("nobody stops it");
        let (real, counted) = engine.layouts();
        layouts.push((real, counted.clone()));
    }
    (layouts, state)
}

fn assert_equal(layouts: &[(Layout, Layout)]) {
    for (i, (real, counted)) in layouts.iter().enumerate() {
        assert_eq!(real.difference(counted), None, "iteration {}", i + 1);
        assert_eq!(real, counted, "iteration {}", i + 1);
        assert!(real.placements.len() > 70, "both steps: {}", real.placements.len());
    }
}

/// How many allocations have this name.
fn count(layout: &Layout, name: &str) -> usize {
    layout.placements.iter().filter(|p| p.name == name).count()
}

#[test]
fn a_refinement_lies_where_it_was_counted_to_lie() {
    let (layouts, state) = layouts(JobFile { symmetry: Some("D2".into()), ..job(JobKind::Refine3d) });
    assert_equal(&layouts);
    assert!(state.convergence.has_converged, "the final iteration is among {}", layouts.len());
    let (last, before) = (&layouts[layouts.len() - 1].0, &layouts[layouts.len() - 2].0);
    for layout in [last, before] {
        assert_eq!((count(layout, "sums"), count(layout, "sums without symmetry")), (2, 2));
        assert_eq!(layout.placements[0].kind, Kind::Iteration);
    }
    // Two unfiltered maps and one of the joined halves; two otherwise.
    assert_eq!((count(last, "voxels"), count(before, "voxels")), (3, 2));
}

#[test]
fn a_refinement_with_every_option_lies_where_it_was_counted_to_lie() {
    let folder = tempfile::tempdir().expect("a folder");
    let mask = folder.path().join("mask.mrc");
    let inside = |i: usize| [i % 32, i / 32 % 32, i / 1024].iter().all(|v| (6..26).contains(v));
    let values: Vec<f32> = (0..32_usize.pow(3)).map(|i| f32::from(u8::from(inside(i)))).collect();
    crate::formats::mrc::write_volume(&mask, [32; 3], 7.0, &values).expect("a mask");
    let (layouts, _) = layouts(JobFile {
        mask: Some(mask),
        solvent_correct_fsc: Some(true),
        gridding: Some(true),
        first_iteration_cc: Some(true),
        iterations: Some(3),
        ..job(JobKind::Refine3d)
    });
    assert_equal(&layouts);
    assert_eq!(layouts.len(), 3);
    assert_eq!(count(&layouts[0].0, "transform of a map"), 2, "the first maps are filtered");
    for (layout, _) in &layouts {
        assert_eq!((count(layout, "transform of half 2"), count(layout, "gridding cube")), (1, 4));
        assert_eq!(count(layout, "sums without symmetry"), 0, "C1 needs no copy");
    }
}

#[test]
fn a_classification_lies_where_it_was_counted_to_lie() {
    let options =
        JobFile { classes: Some(2), iterations: Some(3), symmetry: Some("C2".into()), ..job(JobKind::Class3d) };
    let (layouts, _) = layouts(options);
    assert_equal(&layouts);
    assert_eq!(layouts.len(), 3);
    for (layout, _) in &layouts {
        assert_eq!((count(layout, "sums"), count(layout, "reference"), count(layout, "voxels")), (2, 2, 2));
        // The copies are given back before the maps are made.
        assert_eq!(layout.most[&(Kind::Iteration, "copy of sums")], layout.most[&(Kind::Iteration, "sums")]);
    }
}
