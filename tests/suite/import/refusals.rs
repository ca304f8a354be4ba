//! Files that cannot be taken over: the code, the place, and what to do.

use std::fs;
use std::path::Path;

use super::stage::CLASSES;
use super::stage::edit;
use super::stage::import;
use super::stage::project;

const OPTIMISER: &str = "run/run_it002_optimiser.star";
const MODEL: &str = "run/run_it002_model.star";
const SAMPLING: &str = "run/run_it002_sampling.star";
const DATA: &str = "run/run_it002_data.star";

/// What is done to the job before it is imported.
enum Spoil {
    Gone(&'static str),
    /// Label, block, value.
    Set(&'static str, &'static str, &'static str, &'static str),
    Replace(&'static str, &'static str, &'static str),
    Renamed(&'static str, &'static str),
    Value(&'static str, &'static str, &'static str, usize),
    NotANumber,
}
use Spoil::*;

fn spoil(folder: &Path, what: &Spoil) {
    match what {
        Gone(file) => fs::remove_file(folder.join(file)).unwrap(),
        Set(file, block, label, value) => edit(&folder.join(file), |star| {
            let block = star.block_mut(block).unwrap();
            block.set_str(label, &vec![value; block.rows()]);
        }),
        Replace(file, old, new) => {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(old), "{file} has no {old}");
            fs::write(folder.join(file), text.replace(old, new)).unwrap();
        }
        Renamed(file, new) => fs::rename(folder.join(file), folder.join(new)).unwrap(),
        Value(file, block, label, row) => edit(&folder.join(file), |star| {
            let block = star.block_mut(block).unwrap();
            let mut values: Vec<String> = block.require(label).unwrap().strs().map(str::to_owned).collect();
            values[*row] = "nan".into();
            block.set_str(label, &values);
        }),
        NotANumber => {
            let path = folder.join("run/run_it002_class002.mrc");
            let mut bytes = fs::read(&path).unwrap();
            bytes[1024 + 40..1024 + 44].copy_from_slice(&f32::NAN.to_le_bytes());
            fs::write(path, bytes).unwrap();
        }
    }
}

const GENERAL: &str = "optimiser_general";
const MODEL_GENERAL: &str = "model_general";
const GRID: &str = "sampling_general";

fn table() -> Vec<(Spoil, i32, &'static str)> {
    vec![
        // Files.
        (Gone(MODEL), 66, "`run/run_it002_model.star` does not exist below"),
        (Gone(SAMPLING), 66, "rlnOrientSamplingStarFile: `run/run_it002_sampling.star` does not exist below"),
        (Gone(DATA), 66, "rlnExperimentalDataStarFile"),
        (Gone("run/run_it002_class002.mrc"), 66, "rlnReferenceImage: `run/run_it002_class002.mrc` does not exist"),
        (Gone("particles.mrcs"), 66, "particles.mrcs"),
        (Gone(OPTIMISER), 66, "cannot read"),
        (Replace(OPTIMISER, "run/run_it002_", "elsewhere/run_it002_"), 66, "exists in no folder above"),
        (Replace(OPTIMISER, "data_optimiser_general", "data_other"), 65, "Name a run_itNNN_optimiser.star"),
        // Iterations.
        (Set(OPTIMISER, GENERAL, "rlnModelStarFile", "run/run_it001_model.star"), 65, "is not of iteration 2"),
        (Set(OPTIMISER, GENERAL, "rlnCurrentIteration", "1"), 65, "says that it is of iteration 1"),
        (Set(OPTIMISER, GENERAL, "rlnCurrentIteration", "0"), 65, "Start the job here"),
        (Set(OPTIMISER, GENERAL, "rlnCurrentIteration", "-1"), 65, "has converged"),
        (Set(OPTIMISER, GENERAL, "rlnHasConverged", "1"), 65, "an earlier iteration"),
        (Set(OPTIMISER, GENERAL, "rlnNumberOfIterations", "2"), 64, "--iterations"),
        // Numbers.
        (Value(MODEL, "model_class_2", "rlnReferenceTau2", 3), 65, "column rlnReferenceTau2: `nan` is not a finite"),
        (Value(MODEL, "model_optics_group_1", "rlnSigma2Noise", 0), 65, "rlnSigma2Noise: `nan`"),
        (Value(OPTIMISER, GENERAL, "rlnChangesOptimalOffsets", 0), 65, "rlnChangesOptimalOffsets: `nan`"),
        (Value(DATA, "particles", "rlnAngleRot", 5), 65, "rlnAngleRot"),
        (NotANumber, 65, "run_it002_class002.mrc: voxel (10, 0, 0) is NaN"),
        (Set(OPTIMISER, GENERAL, "rlnParticleDiameter", "wide"), 65, "`wide` is not a number"),
        (
            Set(MODEL, MODEL_GENERAL, "rlnOriginalImageSize", "48"),
            65,
            "the model has 48 voxels of 7 A, the particles ask for 32",
        ),
        (Set(DATA, "particles", "rlnGroupNumber", "7"), 65, "particles of group 7"),
        (Replace(MODEL, "data_model_optics_group_1", "data_noise"), 65, "no block data_model_group_1"),
        // Jobs that are not done here.
        (Set(OPTIMISER, GENERAL, "rlnDoHelicalRefine", "1"), 65, "rlnDoHelicalRefine is 1"),
        (Set(MODEL, MODEL_GENERAL, "rlnIsHelix", "1"), 65, "refines a helix"),
        (Set(OPTIMISER, GENERAL, "rlnDoGradientRefine", "1"), 65, "VDAM"),
        (Set(OPTIMISER, GENERAL, "rlnDoBlush", "1"), 65, "Blush"),
        (Set(OPTIMISER, GENERAL, "rlnDoExternalReconstruct", "1"), 65, "external program"),
        (Set(OPTIMISER, GENERAL, "rlnBodyStarFile", "bodies.star"), 65, "rlnBodyStarFile is bodies.star"),
        (Set(OPTIMISER, GENERAL, "rlnTomoTomogramsFile", "tomograms.star"), 65, "subtomograms"),
        (Set(OPTIMISER, GENERAL, "rlnSolventMask2Name", "mask2.mrc"), 65, "second solvent mask"),
        (Set(OPTIMISER, GENERAL, "rlnHighresLimitExpectation", "8.0"), 65, "limits the resolution"),
        (Set(OPTIMISER, GENERAL, "rlnAdaptiveOversampleOrder", "2"), 65, "--oversampling 1"),
        (Set(OPTIMISER, GENERAL, "rlnDoAutoRefine", "1"), 65, "without half sets"),
        (Set(OPTIMISER, GENERAL, "rlnDoSplitRandomHalves", "1"), 65, "without automatic refinement"),
        (Set(MODEL, MODEL_GENERAL, "rlnReferenceDimensionality", "2"), 65, "2D classification"),
        (Set(MODEL, MODEL_GENERAL, "rlnDataDimensionality", "3"), 65, "subtomograms"),
        (Set(MODEL, MODEL_GENERAL, "rlnPaddingFactor", "3.0"), 65, "a padding of 3 is not 1 or 2"),
        (Set(MODEL, MODEL_GENERAL, "rlnOrientationalPriorMode", "3"), 65, "a prior of mode 3"),
        (Set(SAMPLING, GRID, "rlnIs3DSampling", "0"), 65, "2D classification"),
        (Set(SAMPLING, GRID, "rlnTiltAngleLimit", "60.0"), 65, "limits the tilt angles"),
        (Set(SAMPLING, GRID, "rlnSymmetryGroup", "X9"), 64, "X9"),
        // Versions.
        (Replace(MODEL, "# version 50001", "# version 60001"), 65, "version 60001, newer than 50001"),
        (Replace(OPTIMISER, "# version 50001", "# version 50002"), 65, "version 50002, newer than 50001"),
    ]
}

#[test]
fn each_is_refused_with_its_place_and_leaves_no_folder() {
    for (what, code, told) in table() {
        let folder = project("g06_class3d");
        spoil(folder.path(), &what);
        let (found, text) = import(folder.path(), &format!("{CLASSES} --out ours"));
        assert!(found == code && text.contains(told), "wanted {code} and {told:?}, got {found}: {text}");
        assert!(text.contains("fix: "), "{text}");
        assert!(!folder.path().join("ours").exists(), "{told}: a folder was left");
    }
}

#[test]
fn half_sets_are_needed_and_kept() {
    let folder = project("g07_auto");
    for half in [1, 2] {
        let from = folder.path().join(format!("run/run_half{half}_class001_unfil.mrc"));
        fs::copy(from, folder.path().join(format!("run/run_it005_half{half}_class001.mrc"))).unwrap();
    }
    let optimiser = "run/run_it005_optimiser.star";
    let data = folder.path().join("run/run_it005_data.star");
    let whole = fs::read(&data).unwrap();
    edit(&data, |star| star.block_mut("particles").unwrap().remove("rlnRandomSubset"));
    let (code, text) = import(folder.path(), &format!("{optimiser} --out ours"));
    assert!(code == 65 && text.contains("rlnRandomSubset") && text.contains("would mix the two maps"), "{text}");
    fs::write(&data, whole).unwrap();
    fs::remove_file(folder.path().join("run/run_it005_half2_model.star")).unwrap();
    let (code, text) = import(folder.path(), &format!("{optimiser} --out ours"));
    assert!(code == 66 && text.contains("rlnModelStarFile2"), "{text}");
}

#[test]
fn an_optimiser_file_is_read_from_any_folder() {
    let folder = project("g06_class3d");
    fs::create_dir(folder.path().join("below")).unwrap();
    let (code, text) = import(&folder.path().join("below"), "../run/run_it002_optimiser.star --out ours");
    assert_eq!(code, 0, "{text}");
    crate::refine::done(&folder.path().join("below"), "resume ours");
    assert!(folder.path().join("below/ours/run_it003_class002.mrc").is_file());

    // Names that start elsewhere: the folder is named.
    spoil(folder.path(), &Renamed("run", "moved"));
    fs::create_dir(folder.path().join("root")).unwrap();
    spoil(folder.path(), &Renamed("moved", "root/run"));
    spoil(folder.path(), &Renamed("particles.mrcs", "root/particles.mrcs"));
    fs::copy(folder.path().join("root").join(CLASSES), folder.path().join("run_it002_optimiser.star")).unwrap();
    let (code, text) = import(folder.path(), "run_it002_optimiser.star --out new");
    assert!(code == 66 && text.contains("--project DIR"), "{text}");
    let (code, text) = import(folder.path(), "run_it002_optimiser.star --out new --project root");
    assert_eq!(code, 0, "{text}");
}
