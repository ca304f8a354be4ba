//! Particle files become data sets, or a message that names the place.

use std::path::Path;
use std::path::PathBuf;

use proptest::prelude::*;
use relion_rs::dataset::Dataset;
use relion_rs::dataset::ImageShape;
use relion_rs::dataset::Images;
use relion_rs::dataset::ReadOptions;
use relion_rs::dataset::without_job_prefix;
use relion_rs::error::Error;
use relion_rs::error::ExitCode;
use relion_rs::error::Result;
use relion_rs::formats::mrc;
use relion_rs::formats::star::StarFile;
use relion_rs::outputs::data_star;

use crate::support::golden;

const OPTICS: &str = "data_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnOpticsGroupName #2\n_rlnVoltage #3\n_rlnSphericalAberration #4\n\
    _rlnAmplitudeContrast #5\n_rlnImagePixelSize #6\n_rlnImageSize #7\n_rlnImageDimensionality #8\n";
const OPTICS_ROW: &str = "1 og1 300 2.7 0.1 1.25 32 2\n";
const PARTICLES: &str = "\ndata_particles\n\nloop_\n_rlnImageName #1\n_rlnMicrographName #2\n_rlnOpticsGroup #3\n_rlnDefocusU #4\n_rlnRandomSubset #5\n";

const NO_IMAGES: ReadOptions = ReadOptions { ctf: true, images: Images::Ignore { box_pixels: None } };

/// A file with one optics group and the given particle rows.
fn file(rows: &str) -> String {
    format!("{OPTICS}{OPTICS_ROW}{PARTICLES}{rows}")
}

/// Every stack holds 100 squares of 32 pixels.
fn shape(_: &Path) -> Result<ImageShape> {
    Ok(ImageShape { columns: 32, rows: 32, sections: 100 })
}

fn read_text(text: &str, options: &ReadOptions) -> Result<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.star");
    std::fs::write(&path, text).unwrap();
    for stack in ["a.mrcs", "b.mrcs"] {
        std::fs::write(folder.path().join(stack), "").unwrap();
    }
    Dataset::read_with(&path, options, &shape)
}

fn dataset(text: &str) -> Dataset {
    read_text(text, &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) -> Error {
    let error = read_text(text, &ReadOptions::default()).expect_err("must be refused");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message}\ndoes not name {part}");
    }
    assert!(!error.fix.is_empty(), "{message}");
    error
}

fn image_names(dataset: &Dataset) -> Vec<String> {
    let name =
        |image: &relion_rs::dataset::ImageName| format!("{}@{}", image.index + 1, dataset.stacks[image.stack as usize]);
    dataset.particles.iter().map(|particle| name(&particle.image)).collect()
}

#[test]
fn canonical_order_groups_and_parity_order() {
    let rows = "2@b.mrcs MotionCorr/job002/z.mrc 1 1e4 1\n000010@a.mrcs y.mrc 1 11000 2\n1@b.mrcs z.mrc 1 12000 1\n9@a.mrcs Extract/job003/z.mrc 1 13000 2\n";
    let set = dataset(&file(rows));
    assert_eq!(image_names(&set), ["9@a.mrcs", "10@a.mrcs", "1@b.mrcs", "2@b.mrcs"]);
    assert_eq!(set.particles.iter().map(|p| p.row).collect::<Vec<_>>(), [3, 1, 2, 0]);
    assert_eq!(set.particles[3].ctf.defocus_u_angstrom, 1e4);
    assert_eq!(set.particles[3].ctf.defocus_v_angstrom, 1e4, "the default of V is U");
    // Sorted by micrograph: Extract/..., MotionCorr/..., y, z; three of them are one micrograph.
    assert_eq!(set.groups, ["z.mrc", "y.mrc"]);
    assert_eq!(set.particles.iter().map(|p| p.group).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert_eq!(set.parity_order(), [0, 3, 1, 2]);
    assert_eq!(set.particles.iter().map(|p| p.half).collect::<Vec<_>>(), [2, 2, 1, 1]);
    assert_eq!(set.optics[0].box_pixels, 32);
}

#[test]
fn job_prefixes() {
    assert_eq!(without_job_prefix("MotionCorr/job012/Movies/a.mrc"), "Movies/a.mrc");
    assert_eq!(without_job_prefix("x/job1234/a.mrc"), "a.mrc");
    assert_eq!(without_job_prefix("x/jobs/job123/a.mrc"), "a.mrc");
    for kept in ["a.mrc", "Micrographs/a.mrc", "x/job12/a.mrc", "x/job123a/b.mrc", "x/job123/", ""] {
        assert_eq!(without_job_prefix(kept), kept);
    }
}

#[test]
fn values_that_a_refinement_cannot_use() {
    for (value, why) in [("abc", "not a number"), ("nan", "not a finite number"), ("inf", "not a finite number")] {
        refused(&file(&format!("1@a.mrcs m 1 {value} 1\n")), &["in.star, line 22, column rlnDefocusU", value, why]);
    }
    refused(&file("1@a.mrcs m 1 1e4 3\n"), &["line 22, column rlnRandomSubset", "`3`", "between 1 and 2"]);
    refused(&file("1@a.mrcs m 1 1e4 0\n"), &["column rlnRandomSubset", "`0`"]);
    refused(&file("1@a.mrcs m 7 1e4 1\n"), &["line 22, column rlnOpticsGroup", "optics group 7"]);
    refused(&file(""), &["block data_particles", "no particles"]);
    refused(&format!("{OPTICS}{PARTICLES}1@a.mrcs m 1 1e4 1\n"), &["optics group"]);
    refused(&file("1@a.mrcs m 1 1e4 1\n").replace("_rlnDefocusU", "_rlnOther"), &["column rlnDefocusU is missing"]);
    refused(&file("1@a.mrcs m 1 1e4 1\n").replace("_rlnImageName", "_rlnOther"), &["column rlnImageName is missing"]);
    refused("data_x\n_a 1\n", &["no table with a column rlnImageName"]);
    // Without CTF correction nobody needs a defocus.
    let text = file("1@a.mrcs m 1 1e4 1\n").replace("_rlnDefocusU", "_rlnOther");
    assert!(read_text(&text, &ReadOptions { ctf: false, images: Images::Check }).is_ok());
}

#[test]
fn optics_that_cannot_be() {
    let cases = [
        ("1 og1 0 2.7 0.1 1.25 32 2\n", ["line 12, column rlnVoltage", "`0`"]),
        ("1 og1 -300 2.7 0.1 1.25 32 2\n", ["column rlnVoltage", "`-300`"]),
        ("1 og1 300 2.7 1.5 1.25 32 2\n", ["column rlnAmplitudeContrast", "`1.5`"]),
        ("1 og1 300 2.7 -0.1 1.25 32 2\n", ["column rlnAmplitudeContrast", "`-0.1`"]),
        ("1 og1 300 2.7 0.1 0 32 2\n", ["column rlnImagePixelSize", "`0`"]),
        ("1 og1 300 2.7 0.1 -1.25 32 2\n", ["column rlnImagePixelSize", "`-1.25`"]),
        ("1 og1 300 2.7 0.1 nan 32 2\n", ["column rlnImagePixelSize", "`nan`"]),
        ("1 og1 300 2.7 0.1 1.25 33 2\n", ["column rlnImageSize", "33"]),
        ("1 og1 300 2.7 0.1 1.25 0 2\n", ["column rlnImageSize", "box 0"]),
        ("1 og1 300 2.7 0.1 1.25 32 3\n", ["column rlnImageDimensionality", "tomography"]),
        ("1 og1 300 2.7 0.1 1.25 32 2\n1 og2 300 2.7 0.1 1.25 32 2\n", ["line 13, column rlnOpticsGroup", "twice"]),
    ];
    for (row, parts) in cases {
        refused(&format!("{OPTICS}{row}{PARTICLES}1@a.mrcs m 1 1e4 1\n"), &parts);
    }
    for label in ["_rlnVoltage", "_rlnSphericalAberration", "_rlnAmplitudeContrast", "_rlnImagePixelSize"] {
        let text = file("1@a.mrcs m 1 1e4 1\n").replace(label, "_rlnOther");
        refused(&text, &["block data_optics", &format!("column {} is missing", &label[1..])]);
    }
}

#[test]
fn image_names_that_cannot_be() {
    for (name, why) in [
        ("000000@a.mrcs", "index 0"),
        ("-1@a.mrcs", "no whole number"),
        ("x@a.mrcs", "no whole number"),
        ("@a.mrcs", "no whole number"),
        ("99999999999@a.mrcs", "too large"),
        ("1@", "no file"),
        ("101@a.mrcs", "holds 100 images"),
        ("a.mrcs", "three-dimensional"),
    ] {
        refused(&file(&format!("{name} m 1 1e4 1\n")), &["line 22, column rlnImageName", name, why]);
    }
    let twice = refused(
        &file("3@a.mrcs m 1 1e4 1\n1@b.mrcs m 1 1e4 1\n003@a.mrcs m 1 1e4 2\n"),
        &["line 24", "line 22", "003@a.mrcs"],
    );
    assert_eq!(twice.code, ExitCode::BadData);
    let missing = refused(
        &file("1@a.mrcs m 1 1e4 1\n1@no/such.mrcs m 1 1e4 1\n"),
        &["line 23, column rlnImageName", "`no/such.mrcs`"],
    );
    assert_eq!(missing.code, ExitCode::NoInput);
    assert_eq!(Dataset::read_with(Path::new("no.star"), &NO_IMAGES, &shape).unwrap_err().code, ExitCode::NoInput);
}

#[test]
fn boxes_come_from_the_images_and_are_checked() {
    let text = file("1@a.mrcs m 1 1e4 1\n");
    let other = text.replace(" 32 2\n", " 48 2\n");
    refused(&other, &["line 22, column rlnImageName", "32 x 32", "48 x 48"]);
    let unstated = text.replace("_rlnImageSize", "_rlnOther");
    assert_eq!(dataset(&unstated).optics[0].box_pixels, 32);
    assert_eq!(dataset(&unstated).tables.block("optics").unwrap().require("rlnImageSize").unwrap().str(0), "32");
}

/// The stack of the folder is found beside the STAR file, and its header is believed.
#[test]
fn boxes_come_from_real_stacks() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("stacks")).unwrap();
    let stack = folder.path().join("stacks/a.mrcs");
    mrc::write_stack(&stack, 6, 6, 1.25, &[0.0; 3 * 6 * 6]).unwrap();
    let path = folder.path().join("in.star");
    let write = |rows: &str| std::fs::write(&path, file(rows).replace("_rlnImageSize", "_rlnOther")).unwrap();
    write("3@stacks/a.mrcs m 1 1e4 1\n");
    let set = Dataset::read(&path, &ReadOptions::default()).unwrap();
    assert_eq!((set.optics[0].box_pixels, set.stack_files), (6, vec![stack]));
    write("4@stacks/a.mrcs m 1 1e4 1\n");
    assert!(
        Dataset::read(&path, &ReadOptions::default()).unwrap_err().to_string().contains("the stack holds 3 images")
    );
    let odd = folder.path().join("stacks/odd.mrcs");
    mrc::write_stack(&odd, 5, 5, 1.25, &[0.0; 5 * 5]).unwrap();
    write("1@stacks/odd.mrcs m 1 1e4 1\n");
    let message = Dataset::read(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("box 5 of the images of optics group 1"), "{message}");
}

#[test]
fn optics_groups_are_numbered_without_gaps() {
    let optics = "7 og7 300 2.7 0.1 1.25 32 2\n3 og3 200 2.7 0.1 1.25 32 2\n";
    let set = dataset(&format!("{OPTICS}{optics}{PARTICLES}1@a.mrcs m 7 1e4 1\n1@b.mrcs m 3 1e4 1\n"));
    assert_eq!(set.optics.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["og3", "og7"]);
    assert_eq!(set.particles.iter().map(|p| p.optics).collect::<Vec<_>>(), [1, 0]);
    let numbers = |block: &str| set.tables.require(block).unwrap().require("rlnOpticsGroup").unwrap().i64s().unwrap();
    assert_eq!((numbers("optics"), numbers("particles")), (vec![2, 1], vec![2, 1]));
}

#[test]
fn optional_optics() {
    let text = "data_optics\nloop_\n_rlnOpticsGroup\n_rlnVoltage\n_rlnSphericalAberration\n_rlnAmplitudeContrast\n_rlnImagePixelSize\n_rlnImageSize\n\
        _rlnBeamTiltX\n_rlnOddZernike\n_rlnEvenZernike\n_rlnMagMat00\n_rlnMagMat01\n_rlnMtfFileName\n_rlnMicrographOriginalPixelSize\n_rlnCtfDataAreCtfPremultiplied\n\
        1 300 2.7 0.1 1.25 32 0.5 [1.5,-2,3e-1] [] 1.01 0.02 mtf.star 0.625 1\n\ndata_particles\nloop_\n_rlnImageName\n_rlnDefocusU\n_rlnAngleTiltPrior\n_rlnAnglePsiPrior\n1@a.mrcs 1e4 90 999\n";
    let set = dataset(text);
    let group = &set.optics[0];
    assert_eq!(group.name, "opticsGroup1");
    assert_eq!(group.beam_tilt_mrad, [0.5, 0.0]);
    assert_eq!(group.odd_zernike, [1.5, -2.0, 0.3]);
    assert!(group.even_zernike.is_empty() && group.ctf_premultiplied && !group.ctf_corrected);
    assert_eq!(group.magnification, [[1.01, 0.02], [0.0, 1.0]]);
    assert_eq!(
        (group.mtf_file.as_deref(), group.original_pixel_size_angstrom),
        (Some(Path::new("mtf.star")), Some(0.625))
    );
    assert_eq!(set.particles[0].angle_priors_degrees, [None, Some(90.0), None]);
    assert_eq!((set.groups.len(), set.particles[0].half), (1, 0));
    refused(&text.replace("[1.5,", "[x,"), &["column rlnOddZernike", "not a list of numbers"]);
}

const OLD: &str = "data_images\n\nloop_\n_rlnVoltage #1\n_rlnDefocusU #2\n_rlnSphericalAberration #3\n_rlnDetectorPixelSize #4\n_rlnMagnification #5\n\
    _rlnAmplitudeContrast #6\n_rlnImageName #7\n_rlnOriginX #8\n_rlnOriginXPrior #9\n_rlnMine #10\n\
    300.0 1e4 2.7 5.0 50000 0.1 1@a.mrcs 2.5 1 keep\n200 1e4 2.7 5.0 50000 0.1 2@a.mrcs -2 2 this\n300 1e4 2.70 5 25000 0.1 3@a.mrcs 2.5 3 'as is'\n300 1e4 2.7 5 5e4 0.1 4@a.mrcs 1 4 it\n";

#[test]
fn files_before_optics_groups() {
    let set = dataset(OLD);
    let sizes: Vec<f64> = set.optics.iter().map(|group| group.pixel_size_angstrom).collect();
    assert_eq!(sizes, [1.0, 1.0, 2.0]);
    assert_eq!(set.particles.iter().map(|p| p.optics).collect::<Vec<_>>(), [0, 1, 2, 0]);
    assert_eq!(set.assignments.iter().map(|a| a.offset_angstrom[0]).collect::<Vec<_>>(), [2.5, -2.0, 5.0, 1.0]);
    assert_eq!(set.particles[2].offset_priors_angstrom, [Some(6.0), None]);
    assert_eq!(set.optics[1].voltage_kilovolt, 200.0);
    let particles = set.tables.require("particles").unwrap();
    assert_eq!(particles.require("rlnMine").unwrap().str(2), "as is");
    for gone in ["rlnVoltage", "rlnMagnification", "rlnOriginX", "rlnOriginXPrior"] {
        assert!(!particles.has(gone), "{gone}");
    }
    refused(&OLD.replace("5.0 50000", "0 50000"), &["line 14, column rlnDetectorPixelSize", "`0`"]);
    refused(&OLD.replace("200 1e4", "-200 1e4"), &["line 15, column rlnVoltage", "`-200`"]);
    refused(&OLD.replace("_rlnMagnification", "_rlnOther"), &["column rlnMagnification is missing"]);
    // Read back after writing, it is the same experiment.
    let written = data_star::tables(&set, &set.assignments, &[]).unwrap().to_text().unwrap();
    let again = dataset(&written);
    assert_eq!((again.optics, again.particles, again.assignments), (set.optics, set.particles, set.assignments));
}

#[test]
fn tomography_is_refused_by_name() {
    refused(
        &file("1@a.mrcs m 1 1e4 1\n").replace("_rlnMicrographName", "_rlnTomoName"),
        &["tomography", "rlnTomoName"],
    );
    refused(
        &file("1@a.mrcs m 1 1e4 1\n").replace("_rlnMicrographName", "_rlnCtfImage"),
        &["tomography", "rlnCtfImage"],
    );
}

fn shuffled(rows: &[String], step: usize) -> String {
    (0..rows.len()).map(|index| rows[index * step % rows.len()].as_str()).collect()
}

#[test]
fn half_sets_do_not_depend_on_the_order_of_rows() {
    let labels = "\ndata_particles\nloop_\n_rlnImageName\n_rlnDefocusU\n";
    let rows: Vec<String> =
        (0..101).map(|row| format!("{}@{}.mrcs 1e4\n", row % 50 + 1, ["a", "b", "c"][row / 50])).collect();
    let halves = |step: usize, seed: u64| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.star");
        std::fs::write(&path, format!("{OPTICS}{OPTICS_ROW}{labels}{}", shuffled(&rows, step))).unwrap();
        let mut set = Dataset::read_with(&path, &NO_IMAGES, &shape).unwrap();
        set.assign_halves(seed);
        let half_of = |half: u8| set.particles.iter().filter(|particle| particle.half == half).count();
        assert_eq!((half_of(1), half_of(2)), (51, 50));
        set.particles.iter().map(|particle| (particle.image, particle.half)).collect::<Vec<_>>()
    };
    assert_eq!(halves(1, 7), halves(37, 7));
    assert_ne!(halves(1, 7), halves(1, 8));
    // Half sets of the file are kept.
    let mut set = dataset(&file("1@a.mrcs m 1 1e4 2\n2@a.mrcs m 1 1e4 2\n"));
    set.assign_halves(7);
    assert!(set.particles.iter().all(|particle| particle.half == 2));
}

proptest! {
    /// Whatever stands in the cells: a data set or a message, never a panic, and what is read can be written and read.
    #[test]
    fn no_value_panics(
        optics in proptest::collection::vec("1|2|-7|0.1|300|nan|1e400|x|''|9223372036854775807|\\[1,2\\]", 8),
        rows in proptest::collection::vec(("[0-9]{0,11}@?[ab]?", "1|2|-7|0", "1e4|nan|''|-", "1|2|0|9e99"), 0..4),
    ) {
        let rows: String = rows.iter().map(|(image, group, defocus, half)| format!("\"{image}\" m {group} {defocus} {half}\n")).collect();
        let text = format!("{OPTICS}{}\n{PARTICLES}{rows}", optics.join(" "));
        for text in [text, file(&rows), file(&rows).replace("_rlnMicrographName", "_rlnOriginX").replace(" m ", " 3 ")] {
            if let Ok(set) = read_text(&text, &NO_IMAGES) {
                let again = data_star::tables(&set, &set.assignments, &[]).unwrap().to_text().unwrap();
                prop_assert_eq!(read_text(&again, &NO_IMAGES).unwrap().particles, set.particles);
            }
        }
    }
}

/// The same text, or the same number: we keep the input's text where RELION prints every number anew.
fn same_cell(ours: &str, theirs: &str) -> bool {
    ours == theirs || matches!((ours.parse::<f64>(), theirs.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

/// RELION's result of an iteration, given to our writer, is RELION's file.
#[test]
fn data_star_is_relions() {
    let theirs = StarFile::read(&golden("g05_em/full/run_it001_data.star")).unwrap();
    let result = Dataset::read_with(&golden("g05_em/full/run_it001_data.star"), &NO_IMAGES, &shape).unwrap();
    let start = Dataset::read_with(&golden("g05_em/start.star"), &NO_IMAGES, &shape).unwrap();
    // The same particles in the same canonical order, though RELION sorted its rows.
    assert_eq!(image_names(&start), image_names(&result));
    assert_eq!(start.groups, ["m00.mrc", "m01.mrc", "m02.mrc", "m03.mrc", "m04.mrc", "m05.mrc"]);

    let ours = data_star::tables(&start, &result.assignments, &[]).unwrap();
    let (ours, theirs) = (ours.require("particles").unwrap(), theirs.require("particles").unwrap());
    assert_eq!(ours.labels().collect::<Vec<_>>(), theirs.labels().collect::<Vec<_>>());
    let parity: Vec<u32> = start.parity_order().iter().map(|&at| start.particles[at as usize].row).collect();
    let ours = ours.select(&parity);
    assert_eq!(ours.rows(), theirs.rows());
    for label in theirs.labels() {
        let (our_column, their_column) = (ours.require(label).unwrap(), theirs.require(label).unwrap());
        for (our_cell, their_cell) in our_column.strs().zip(their_column.strs()) {
            assert!(same_cell(our_cell, their_cell), "{label}: {our_cell} is not {their_cell}");
        }
    }

    // Half sets appear when there are any; a file that is written can be read.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run_it001_data.star");
    let halves: Vec<u8> = (0..start.particles.len()).map(|at| 1 + (at % 2) as u8).collect();
    data_star::write(&path, &start, &result.assignments, &halves).unwrap();
    let again = Dataset::read_with(&path, &NO_IMAGES, &shape).unwrap();
    assert_eq!(again.assignments, result.assignments);
    assert_eq!(again.particles.iter().map(|particle| particle.half).collect::<Vec<_>>(), halves);
    assert_eq!(data_star::write(&path, &start, &[], &[]).unwrap_err().code, ExitCode::Internal);
}

/// Files of other programs: particles or a reason.
#[test]
#[ignore = "needs RELION_RS_DATA"]
fn files_of_other_programs() {
    let data = PathBuf::from(std::env::var_os("RELION_RS_DATA").expect("RELION_RS_DATA names the data folder"));
    let options = ReadOptions { ctf: true, images: Images::Ignore { box_pixels: Some(100) } };
    let read = |name: &str| Dataset::read_with(&data.join(name), &options, &shape);
    for (name, particles, optics) in [
        ("bgal_refine3d/images.star", 6496, 1),
        ("bench_a/A.star", 1000, 1),
        ("class2d/manual_it025_data.star", 1099, 1),
        ("relion_tests/ap_s_c2d_red.star", 9, 1),
        ("star/cryodrgn/relion31.6opticsgroups.star", 139, 6),
        ("star/cryodrgn/relion31.star", 5, 1),
        ("star/cryodrgn/relion31.v2.star", 5, 1),
        ("star/cryodrgn/empiar_10076_7.star", 7, 1),
        ("star/cryodrgn/sta_testing_bin8.star", 219, 1),
        ("star/aspire/sample_particles_relion30.star", 17, 2),
        ("star/aspire/sample_particles_relion31.star", 17, 2),
        ("star/misc/isecc_aberrations.star", 1, 1),
    ] {
        let set = read(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((set.particles.len(), set.optics.len()), (particles, optics), "{name}");
    }
    for (name, reason) in [
        ("star/cryodrgn/toy_projections.star", "column rlnDetectorPixelSize is missing"),
        ("star/cryodrgn/FinalRefinement-OriginalParticles-PfCRT.star", "column rlnAmplitudeContrast is missing"),
        (
            "star/cryodrgn/relion5.star",
            "line 65, column rlnImageName: image `1@toy_images_a.mrcs` is already in line 54",
        ),
        ("star/starfile/one_loop.star", "tomography"),
        ("star/cylindra/test_jobs/Picks/job_picks/particles.star", "tomography"),
        ("star/cylindra/test_jobs/Class3D/job_class3d/run_it025_data.star", "tomography"),
        ("star/cylindra/test_jobs/Refine3D/job_refine/run_it050_data.star", "tomography"),
        ("star/aspire/rln_proj_64.star", "no data_optics block"),
    ] {
        let message = read(name).expect_err(name).to_string();
        assert!(message.contains(reason), "{message}");
    }
}
