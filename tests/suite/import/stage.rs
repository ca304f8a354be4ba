//! RELION project folders to import from, and checkpoints to look into.

use std::fs;
use std::path::Path;

use relion_rs::checkpoint;
use relion_rs::formats::star::StarFile;
use relion_rs::model::ClassModel;
use relion_rs::model::PriorMode;
use relion_rs::model::State;

use crate::refine::launch;
use crate::support::golden;

/// The optimiser file of the classification of 60 particles after its second iteration.
pub const CLASSES: &str = "run/run_it002_optimiser.star";

/// A project folder with the files of a golden job.
pub fn project(item: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    for part in ["", "run"] {
        for entry in fs::read_dir(golden(item).join(part)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), folder.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    folder
}

/// The code of `import` with these words, and all that it says.
pub fn import(folder: &Path, words: &str) -> (i32, String) {
    let output = launch(folder, &format!("import {words}"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code().unwrap_or(-1), text)
}

/// The state in a run folder's newest checkpoint.
pub fn state(folder: &Path, run: &str) -> State {
    checkpoint::load_latest(&folder.join(run)).unwrap().unwrap().checkpoint.state
}

/// Changes a STAR file.
pub fn edit(file: &Path, change: impl FnOnce(&mut StarFile)) {
    let mut star = StarFile::read(file).unwrap();
    change(&mut star);
    star.write(file).unwrap();
}

/// Every number of a state but the maps', with a name.
pub fn numbers(state: &State) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    let mut add = |name: String, value: f64| all.push((name, value));
    add("iteration".into(), f64::from(state.iteration));
    for (h, half) in state.halves.iter().enumerate() {
        add(format!("average norm {h}"), half.average_norm);
        add(format!("sigma of offsets {h}"), half.sigma_offset_angstrom);
        add(format!("log-likelihood {h}"), half.log_likelihood);
        add(format!("Pmax {h}"), half.average_max_probability);
        for (g, group) in half.groups.iter().enumerate() {
            add(format!("particles {h} {g}"), group.particle_count as f64);
            add(format!("scale {h} {g}"), group.scale);
        }
        for (g, noise) in half.noise.iter().enumerate() {
            noise.iter().enumerate().for_each(|(s, v)| add(format!("noise {h} {g} {s}"), *v));
        }
        for (k, class) in half.classes.iter().enumerate() {
            of_class(class, &mut |name, value| add(format!("{name} {h} {k}"), value));
        }
    }
    for (i, a) in state.assignments.iter().enumerate() {
        let values = [a.euler.rot, a.euler.tilt, a.euler.psi, a.offset_angstrom[0], a.offset_angstrom[1]];
        values.iter().enumerate().for_each(|(v, value)| add(format!("pose {i} {v}"), *value));
        let counts = [f64::from(a.class), f64::from(a.significant_samples), f64::from(state.half_of[i])];
        counts.iter().enumerate().for_each(|(v, value)| add(format!("count {i} {v}"), *value));
        let found = [a.norm_correction, a.log_likelihood, a.max_probability];
        found.iter().enumerate().for_each(|(v, value)| add(format!("found {i} {v}"), *value));
    }
    controllers(state, &mut add);
    all
}

fn of_class(class: &ClassModel, add: &mut dyn FnMut(String, f64)) {
    add("share".into(), class.share);
    add("accuracy".into(), class.accuracy_degrees);
    add("accuracy A".into(), class.accuracy_angstrom);
    let spectra = [
        ("directions", &class.directions),
        ("tau2", &class.tau2),
        ("sigma2", &class.sigma2),
        ("ssnr", &class.ssnr),
        ("fsc", &class.fsc),
        ("coverage", &class.coverage),
        ("orientability", &class.orientability),
    ];
    for (name, values) in spectra {
        values.iter().enumerate().for_each(|(s, value)| add(format!("{name} {s}"), *value));
    }
}

fn controllers(state: &State, add: &mut dyn FnMut(String, f64)) {
    let (s, z, c) = (&state.sampling, &state.sizes, &state.convergence);
    let sigma = match s.prior {
        PriorMode::Global => 0.0,
        PriorMode::Local { sigma_degrees } => sigma_degrees[0],
    };
    for (name, value) in [
        ("order", f64::from(s.healpix_order)),
        ("psi step", s.psi_step_degrees),
        ("range", s.offset_range_angstrom),
        ("step", s.offset_step_angstrom),
        ("oversampling", f64::from(s.oversampling)),
        ("perturbation", s.perturbation),
        ("factor", s.perturbation_factor),
        ("sigma", sigma),
        ("first order", f64::from(s.original_healpix_order)),
        ("first psi step", s.original_psi_step_degrees),
        ("first range", s.original_offset_range_angstrom),
        ("first step", s.original_offset_step_angstrom),
        ("resolution", z.current_resolution_per_angstrom),
        ("best resolution", z.best_resolution_per_angstrom),
        ("size", z.current_size as f64),
        ("coarse size", z.coarse_size as f64),
        ("increment", z.increment as f64),
        ("high FSC", f64::from(u8::from(z.has_high_fsc_at_limit))),
        ("no gain", f64::from(c.iterations_without_resolution_gain)),
        ("no changes", f64::from(c.iterations_without_large_changes)),
        ("change", c.change_degrees),
        ("change A", c.change_angstrom),
        ("change of classes", c.change_classes),
        ("smallest", c.smallest_change_degrees),
        ("smallest A", c.smallest_change_angstrom),
        ("smallest of classes", c.smallest_change_classes.round()),
        ("overall accuracy", c.accuracy_degrees),
        ("overall accuracy A", c.accuracy_angstrom),
        ("fine enough", f64::from(u8::from(c.has_fine_enough_sampling))),
    ] {
        add(name.into(), value);
    }
}

/// Files print six decimals, or seven digits below 0.001 and above 100000; five and six of a negative number.
pub const PRINTED_DECIMALS: f64 = 5.1e-6;
pub const PRINTED_DIGITS: f64 = 1e-6;

/// Equal up to the digits that files print, times `scale` where numbers were converted.
pub fn assert_same(found: &State, wanted: &State, scale: f64) {
    let (found, wanted) = (numbers(found), numbers(wanted));
    assert_eq!(found.len(), wanted.len());
    for ((name, f), (other, w)) in found.iter().zip(&wanted) {
        assert_eq!(name, other);
        let printed =
            if w.abs() < 1e-3 { PRINTED_DIGITS * w.abs() } else { PRINTED_DECIMALS + PRINTED_DIGITS * w.abs() };
        assert!((f - w).abs() <= scale * printed, "{name} is {f}, wanted {w}");
    }
}
