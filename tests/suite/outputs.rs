//! Output files: the same blocks, labels, order and numbers as RELION 5.0.1's own.

use std::fs;
use std::path::Path;

use relion_rs::dataset::Dataset;
use relion_rs::dataset::ImageShape;
use relion_rs::dataset::Images;
use relion_rs::dataset::ReadOptions;
use relion_rs::error::Result;
use relion_rs::formats::star::Block;
use relion_rs::formats::star::StarFile;
use relion_rs::model::ClassModel;
use relion_rs::model::Convergence;
use relion_rs::model::GroupModel;
use relion_rs::model::HalfModel;
use relion_rs::model::PriorMode;
use relion_rs::model::SamplingState;
use relion_rs::model::Sizes;
use relion_rs::model::State;
use relion_rs::model::Volume;
use relion_rs::outputs;
use relion_rs::outputs::Header;
use relion_rs::outputs::Moment;
use relion_rs::outputs::Names;
use relion_rs::outputs::Snapshot;

use crate::support::golden;

/// The files hold six decimals; the completeness is computed again from printed coverages.
const PRINTED: f64 = 2e-6;

fn read(name: &str) -> StarFile {
    StarFile::read(&golden(name)).unwrap()
}

fn number(block: &Block, label: &str) -> f64 {
    block.require(label).unwrap().f64(0).unwrap()
}

fn numbers(block: &Block, label: &str) -> Vec<f64> {
    block.column(label).map_or_else(Vec::new, |column| column.f64s().unwrap())
}

fn half_of(model: &StarFile) -> HalfModel {
    let general = model.require("model_general").unwrap();
    let classes = model.require("model_classes").unwrap();
    let count = |label| number(general, label) as usize;
    let shells = count("rlnOriginalImageSize") / 2 + 1;
    let class = |k: usize| {
        let spectra = model.require(&format!("model_class_{}", k + 1)).unwrap();
        let of = |label: &str| classes.require(label).unwrap().f64(k).unwrap();
        let directions = model.block(&format!("model_pdf_orient_class_{}", k + 1));
        ClassModel {
            map: Volume::zeros(4, number(general, "rlnPixelSize")),
            share: of("rlnClassDistribution"),
            directions: directions.map_or_else(Vec::new, |b| numbers(b, "rlnOrientationDistribution")),
            tau2: numbers(spectra, "rlnReferenceTau2"),
            sigma2: numbers(spectra, "rlnReferenceSigma2"),
            ssnr: numbers(spectra, "rlnSsnrMap"),
            fsc: numbers(spectra, "rlnGoldStandardFsc"),
            coverage: numbers(spectra, "rlnFourierCompleteness"),
            orientability: numbers(spectra, "rlnSpectralOrientabilityContribution"),
            accuracy_degrees: of("rlnAccuracyRotations"),
            accuracy_angstrom: of("rlnAccuracyTranslationsAngst"),
        }
    };
    let noise = |g: usize| {
        let table = model.require(&format!("model_optics_group_{}", g + 1)).unwrap();
        let mut noise = vec![0.0; shells];
        for (shell, value) in numbers(table, "rlnSpectralIndex").iter().zip(numbers(table, "rlnSigma2Noise")) {
            noise[*shell as usize] = value;
        }
        noise
    };
    let groups = model.require("model_groups").unwrap();
    HalfModel {
        classes: (0..count("rlnNrClasses")).map(class).collect(),
        noise: (0..count("rlnNrOpticsGroups")).map(noise).collect(),
        groups: (0..groups.rows())
            .map(|i| GroupModel {
                name: groups.require("rlnGroupName").unwrap().str(i).to_owned(),
                particle_count: numbers(groups, "rlnGroupNrParticles")[i] as usize,
                scale: numbers(groups, "rlnGroupScaleCorrection")[i],
            })
            .collect(),
        average_norm: number(general, "rlnNormCorrectionAverage"),
        sigma_offset_angstrom: number(general, "rlnSigmaOffsetsAngst"),
        log_likelihood: number(general, "rlnLogLikelihood"),
        average_max_probability: number(general, "rlnAveragePmax"),
    }
}

/// The state that RELION's own files describe.
fn state_of(models: &[StarFile], optimiser: &StarFile, sampling: &StarFile, dataset: &Dataset) -> State {
    let (o, s) = (&optimiser.blocks[0], sampling.require("sampling_general").unwrap());
    let general = models[0].require("model_general").unwrap();
    let sigma = ["rlnSigmaPriorRotAngle", "rlnSigmaPriorTiltAngle", "rlnSigmaPriorPsiAngle"];
    let prior = match number(general, "rlnOrientationalPriorMode") as i64 {
        0 => PriorMode::Global,
        _ => PriorMode::Local { sigma_degrees: sigma.map(|label| number(general, label)) },
    };
    State {
        iteration: number(o, "rlnCurrentIteration").max(0.0) as u32,
        halves: models.iter().map(half_of).collect(),
        assignments: dataset.assignments.clone(),
        half_of: dataset.particles.iter().map(|particle| particle.half).collect(),
        sampling: SamplingState {
            healpix_order: number(s, "rlnHealpixOrder") as u32,
            psi_step_degrees: number(s, "rlnPsiStep"),
            offset_range_angstrom: number(s, "rlnOffsetRange"),
            offset_step_angstrom: number(s, "rlnOffsetStep"),
            oversampling: number(o, "rlnAdaptiveOversampleOrder") as u32,
            perturbation: number(s, "rlnSamplingPerturbInstance"),
            perturbation_factor: number(s, "rlnSamplingPerturbFactor"),
            prior,
            original_healpix_order: number(s, "rlnHealpixOrderOriginal") as u32,
            original_psi_step_degrees: number(s, "rlnPsiStepOriginal"),
            original_offset_range_angstrom: number(s, "rlnOffsetRangeOriginal"),
            original_offset_step_angstrom: number(s, "rlnOffsetStepOriginal"),
        },
        sizes: Sizes {
            current_resolution_per_angstrom: 1.0 / number(general, "rlnCurrentResolution"),
            best_resolution_per_angstrom: number(o, "rlnBestResolutionThusFar"),
            current_size: 0,
            coarse_size: 0,
            increment: number(o, "rlnIncrementImageSize") as usize,
            has_high_fsc_at_limit: number(o, "rlnHasHighFscAtResolLimit") == 1.0,
        },
        convergence: Convergence {
            iterations_without_resolution_gain: number(o, "rlnNumberOfIterWithoutResolutionGain") as u32,
            iterations_without_large_changes: number(o, "rlnNumberOfIterWithoutChangingAssignments") as u32,
            change_degrees: number(o, "rlnChangesOptimalOrientations"),
            change_angstrom: number(o, "rlnChangesOptimalOffsets"),
            change_classes: number(o, "rlnChangesOptimalClasses"),
            smallest_change_degrees: number(o, "rlnSmallestChangesOrientations"),
            smallest_change_angstrom: number(o, "rlnSmallestChangesOffsets"),
            smallest_change_classes: number(o, "rlnSmallestChangesClasses"),
            accuracy_degrees: number(o, "rlnOverallAccuracyRotations"),
            accuracy_angstrom: number(o, "rlnOverallAccuracyTranslationsAngst"),
            has_fine_enough_sampling: false,
            has_converged: number(o, "rlnHasConverged") == 1.0,
        },
    }
}

fn particles(name: &str) -> Dataset {
    let options = ReadOptions { ctf: true, images: Images::Ignore { box_pixels: None } };
    let no_stack = |_: &Path| -> Result<ImageShape> { unreachable!("no stack is opened") };
    Dataset::read_with(&golden(name), &options, &no_stack).unwrap()
}

/// class3d, K = 2, tau2_fudge 4, box 32.
fn class3d_header() -> Header {
    Header {
        box_pixels: 32,
        pixel_size_angstrom: 7.0,
        symmetry: "c1".into(),
        particle_diameter_angstrom: 200.0,
        mask_edge_pixels: 5,
        padding: 2.0,
        tau2_fudge: 4.0,
        tau2_fudge_given: Some(4.0),
        iterations: 3,
        auto_refine: false,
        join_halves_angstrom: None,
        adaptive_fraction: 0.999,
        seed: 1,
        zero_mask: true,
        flatten_solvent: true,
        solvent_corrected_fsc: false,
        solvent_mask: None,
        solvent_mask2: None,
        largest_coarse_size: None,
        high_resolution_limit_angstrom: None,
        low_resolution_limit_angstrom: None,
        local_search_order: 4,
        skip_align: false,
        correct_norm: true,
        correct_scale: false,
        correct_ctf: true,
        ctf_intact_first_peak: false,
        fix_noise: false,
        fix_offset_sigma: false,
        pool: 3,
        group_optics: None,
    }
}

fn refine3d_header() -> Header {
    Header {
        box_pixels: 48,
        pixel_size_angstrom: 4.75,
        symmetry: "C1".into(),
        tau2_fudge: 1.0,
        tau2_fudge_given: None,
        iterations: 999,
        auto_refine: true,
        join_halves_angstrom: Some(40.0),
        ..class3d_header()
    }
}

/// Same blocks in the same order, same labels in the same order, same text of every value, except that columns named
/// in `computed` are equal as numbers.
fn assert_same(ours: &StarFile, relion: &StarFile, computed: &[&str]) {
    let blocks =
        |file: &StarFile| file.blocks.iter().map(|b| (b.name.clone(), b.layout, b.version)).collect::<Vec<_>>();
    assert_eq!(blocks(ours), blocks(relion));
    for (our, their) in ours.blocks.iter().zip(&relion.blocks) {
        assert_eq!(our.labels().collect::<Vec<_>>(), their.labels().collect::<Vec<_>>(), "{}", our.name);
        assert_eq!(our.rows(), their.rows(), "{}", our.name);
        for label in our.labels() {
            let (a, b) = (our.require(label).unwrap(), their.require(label).unwrap());
            for row in 0..our.rows() {
                if computed.contains(&label) {
                    assert!((a.f64(row).unwrap() - b.f64(row).unwrap()).abs() < PRINTED, "{} {label} {row}", our.name);
                } else {
                    assert_eq!(a.str(row), b.str(row), "{} {label} row {row}", our.name);
                }
            }
        }
    }
}

const COMPUTED: [&str; 1] = ["rlnOverallFourierCompleteness"];

#[test]
fn class3d_files_are_those_of_relion() {
    let [model, optimiser, sampling] =
        ["model", "optimiser", "sampling"].map(|part| read(&format!("g06_class3d/run/run_it003_{part}.star")));
    let dataset = particles("g06_class3d/run/run_it003_data.star");
    let state = state_of(std::slice::from_ref(&model), &optimiser, &sampling, &dataset);
    let grid = sampling.require("sampling_directions").unwrap();
    let directions: Vec<[f64; 2]> =
        numbers(grid, "rlnAngleRot").into_iter().zip(numbers(grid, "rlnAngleTilt")).map(|(r, t)| [r, t]).collect();
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path(), "run/run");
    let snapshot = Snapshot { state: &state, moment: Moment::Iteration(3), used_size: 30 };
    let written = outputs::write_iteration(&names, &class3d_header(), &snapshot, &dataset, &directions).unwrap();

    let ours = |name: &str| StarFile::read(&folder.path().join(name)).unwrap();
    assert_same(&ours("run_it003_model.star"), &model, &COMPUTED);
    assert_same(&ours("run_it003_sampling.star"), &sampling, &[]);
    assert_same(&ours("run_it003_optimiser.star"), &optimiser, &[]);
    assert_same(&ours("run_it003_data.star"), &read("g06_class3d/run/run_it003_data.star"), &[]);

    let mut wanted: Vec<String> = ["class001.mrc", "class002.mrc", "class001_angdist.bild", "class002_angdist.bild"]
        .iter()
        .chain(&["model.star", "sampling.star", "data.star", "optimiser.star"])
        .map(|end| format!("run_it003_{end}"))
        .collect();
    wanted.sort();
    assert_eq!(listing(folder.path()), wanted);
    let mut reported: Vec<String> =
        written.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    reported.sort();
    assert_eq!(reported, wanted);
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn half_set_files_are_those_of_relion() {
    let part = |part: &str| read(&format!("g07_auto/run/run_it005_{part}.star"));
    let models = [part("half1_model"), part("half2_model")];
    let (optimiser, sampling) = (part("optimiser"), part("sampling"));
    let dataset = particles("g07_auto/run/run_it005_data.star");
    let state = state_of(&models, &optimiser, &sampling, &dataset);
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path(), "run/run");
    let snapshot = Snapshot { state: &state, moment: Moment::Iteration(5), used_size: 34 };
    outputs::write_iteration(&names, &refine3d_header(), &snapshot, &dataset, &[]).unwrap();
    for (half, relion) in models.iter().enumerate() {
        let mut ours = StarFile::read(&folder.path().join(format!("run_it005_half{}_model.star", half + 1))).unwrap();
        // The directions were cut out of the golden files.
        ours.blocks.retain(|block| !block.name.starts_with("model_pdf_orient"));
        assert_same(&ours, relion, &COMPUTED);
    }
    assert_same(&StarFile::read(&folder.path().join("run_it005_optimiser.star")).unwrap(), &optimiser, &[]);
    let data = StarFile::read(&folder.path().join("run_it005_data.star")).unwrap();
    assert_same(&data, &read("g07_auto/run/run_it005_data.star"), &[]);
    assert!(folder.path().join("run_it005_half2_class001.mrc").exists());
}

#[test]
fn final_files_are_those_of_relion() {
    let part = |part: &str| read(&format!("g07_auto/run/run_{part}.star"));
    let (model, optimiser, sampling) = (part("model"), part("optimiser"), part("sampling"));
    let dataset = particles("g07_auto/run/run_it005_data.star");
    let state = state_of(std::slice::from_ref(&model), &optimiser, &sampling, &dataset);
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path(), "run/run");
    let snapshot = Snapshot { state: &state, moment: Moment::Final, used_size: 48 };
    outputs::write_iteration(&names, &refine3d_header(), &snapshot, &dataset, &[]).unwrap();
    let mut ours = StarFile::read(&folder.path().join("run_model.star")).unwrap();
    ours.blocks.retain(|block| !block.name.starts_with("model_pdf_orient"));
    assert_same(&ours, &model, &COMPUTED);
    assert_same(&StarFile::read(&folder.path().join("run_optimiser.star")).unwrap(), &optimiser, &[]);
    assert!(folder.path().join("run_class001.mrc").exists());

    let mut halves = state.clone();
    halves.halves.push(state.halves[0].clone());
    let snapshot = Snapshot { state: &halves, moment: Moment::Final, used_size: 48 };
    assert!(outputs::write_optimiser_star(&names, &refine3d_header(), &snapshot).is_err());
}

#[test]
fn relion_3_gets_its_noise_tables_when_asked_for() {
    let part = |part: &str| read(&format!("g06_class3d/run/run_it003_{part}.star"));
    let model = part("model");
    let dataset = particles("g06_class3d/run/run_it003_data.star");
    let state = state_of(std::slice::from_ref(&model), &part("optimiser"), &part("sampling"), &dataset);
    let folder = tempfile::tempdir().unwrap();
    let names = Names::new(folder.path(), "run/run");
    let header = Header { group_optics: Some(vec![0]), ..class3d_header() };
    let snapshot = Snapshot { state: &state, moment: Moment::Iteration(3), used_size: 30 };
    let path = outputs::write_model_star(&names, &header, &snapshot, 0).unwrap();
    let mut ours = StarFile::read(&path).unwrap();
    let per_group = ours.require("model_group_1").unwrap().clone();
    let per_optics = ours.require("model_optics_group_1").unwrap();
    for label in ["rlnSpectralIndex", "rlnResolution", "rlnSigma2Noise"] {
        assert_eq!(numbers(&per_group, label), numbers(per_optics, label));
    }
    ours.blocks.retain(|block| block.name != "model_group_1");
    assert_same(&ours, &model, &COMPUTED);
}

#[test]
fn files_hold_no_folder_host_or_date() {
    let part = |part: &str| read(&format!("g06_class3d/run/run_it003_{part}.star"));
    let dataset = particles("g06_class3d/run/run_it003_data.star");
    let state = state_of(&[part("model")], &part("optimiser"), &part("sampling"), &dataset);
    let write = || {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Snapshot { state: &state, moment: Moment::Iteration(3), used_size: 30 };
        let directions = vec![[0.0, 0.0]; 48];
        let names = Names::new(folder.path(), "run");
        let written = outputs::write_iteration(&names, &class3d_header(), &snapshot, &dataset, &directions).unwrap();
        let contents: Vec<Vec<u8>> = written.iter().map(|path| fs::read(path).unwrap()).collect();
        let place = folder.path().to_str().unwrap().as_bytes().to_vec();
        assert!(contents.iter().all(|bytes| !bytes.windows(place.len()).any(|w| w == place)));
        contents
    };
    let first = write();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(first == write());
}
