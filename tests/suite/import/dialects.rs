//! The same job as RELION 3.0 and 3.1 would have written it.

use std::path::Path;

use relion_rs::formats::star::Block;
use relion_rs::formats::star::StarFile;

use super::stage::CLASSES;
use super::stage::assert_same;
use super::stage::edit;
use super::stage::import;
use super::stage::project;
use super::stage::state;

const PIXEL_ANGSTROM: f64 = 7.0;

/// Divides a column by the pixel size and gives it its old name.
fn to_pixels(block: &mut Block, label: &str, old: &str) {
    let values = block.require(label).unwrap().f64s().unwrap();
    // All digits: conversions of printed numbers would be compared otherwise.
    let text: Vec<String> = values.iter().map(|v| (v / PIXEL_ANGSTROM).to_string()).collect();
    block.set_str(label, &text);
    block.rename(label, old);
}

fn each_block(star: &mut StarFile, version: Option<u32>) {
    star.blocks.iter_mut().for_each(|block| block.version = version);
}

/// Lengths in pixels, no optics table, no versions, noise per micrograph group.
fn age(folder: &Path) {
    let run = |name: &str| folder.join("run").join(name);
    edit(&run("run_it002_optimiser.star"), |star| {
        each_block(star, None);
        let list = star.block_mut("optimiser_general").unwrap();
        list.comments = vec!["# RELION optimiser".into(), "# --o run/run --firstiter_cc --ini_high 60".into()];
        to_pixels(list, "rlnOverallAccuracyTranslationsAngst", "rlnOverallAccuracyTranslations");
        to_pixels(list, "rlnChangesOptimalOffsets", "rlnChangesOptimalOffsets");
        to_pixels(list, "rlnSmallestChangesOffsets", "rlnSmallestChangesOffsets");
        list.remove("rlnDoBlush");
        list.remove("rlnMaximumSignificantPoses");
    });
    edit(&run("run_it002_sampling.star"), |star| {
        each_block(star, None);
        let list = star.block_mut("sampling_general").unwrap();
        for label in ["rlnOffsetRange", "rlnOffsetStep"] {
            to_pixels(list, label, label);
        }
        for label in ["rlnHealpixOrder", "rlnPsiStep", "rlnOffsetRange", "rlnOffsetStep"] {
            list.remove(&format!("{label}Original"));
        }
    });
    edit(&run("run_it002_model.star"), |star| {
        each_block(star, None);
        let list = star.block_mut("model_general").unwrap();
        to_pixels(list, "rlnSigmaOffsetsAngst", "rlnSigmaOffsets");
        list.remove("rlnNrBodies");
        list.remove("rlnNrOpticsGroups");
        let classes = star.block_mut("model_classes").unwrap();
        to_pixels(classes, "rlnAccuracyTranslationsAngst", "rlnAccuracyTranslations");
        star.block_mut("model_optics_group_1").unwrap().name = "model_group_1".into();
    });
    edit(&run("run_it002_data.star"), |star| {
        each_block(star, None);
        star.blocks.retain(|block| block.name == "particles");
        let particles = &mut star.blocks[0];
        particles.name = String::new();
        let rows = particles.rows();
        for (label, value) in [
            ("rlnVoltage", 300.0),
            ("rlnSphericalAberration", 2.0),
            ("rlnAmplitudeContrast", 0.1),
            ("rlnDetectorPixelSize", 7.0),
            ("rlnMagnification", 10_000.0),
        ] {
            particles.set_f64(label, &vec![value; rows]);
        }
        particles.remove("rlnOpticsGroup");
        to_pixels(particles, "rlnOriginXAngst", "rlnOriginX");
        to_pixels(particles, "rlnOriginYAngst", "rlnOriginY");
    });
}

#[test]
fn lengths_in_pixels_become_the_same_state() {
    let folder = project("g06_class3d");
    let folder = folder.path();
    let (code, text) = import(folder, &format!("{CLASSES} --out new"));
    assert_eq!(code, 0, "{text}");
    let job = |run: &str| std::fs::read_to_string(folder.join(run).join("job.toml")).unwrap();
    assert!(job("new").contains("gridding = false") && job("new").contains("first_iteration_cc = false"));
    age(folder);
    let (code, text) = import(folder, &format!("{CLASSES} --out old"));
    assert!(code == 0 && text.contains("of a class3d of RELION: 60 particles"), "{text}");
    // Printed once more by the conversion, and 7.0 A from a magnification.
    assert_same(&state(folder, "old"), &state(folder, "new"), 1.0);
    assert!(
        job("old").contains("gridding = true") && job("old").contains("first_iteration_cc = true"),
        "{}",
        job("old")
    );
    assert!(job("old").contains("offset_range_pixels = 3.0"), "{}", job("old"));
}

/// RELION 3.1: three micrographs with their own noise in two optics groups.
#[test]
fn noise_of_micrographs_is_averaged_over_the_particles_of_an_optics_group() {
    let folder = project("g06_class3d");
    let folder = folder.path();
    edit(&folder.join("run/run_it002_data.star"), |star| {
        let optics = star.block_mut("optics").unwrap();
        *optics = optics.select(&[0, 0]);
        optics.set_i64("rlnOpticsGroup", &[1, 2]);
        let particles = star.block_mut("particles").unwrap();
        // 10, 20 and 30 particles; the second micrograph is in both optics groups, 5 and 15.
        let group = |i: usize| [0, 1, 2][usize::from(i >= 10) + usize::from(i >= 30)];
        let names: Vec<String> = (0..60).map(|i| format!("{}.mrc", ["a", "b", "c"][group(i)])).collect();
        particles.set_str("rlnMicrographName", &names);
        particles.set_i64("rlnGroupNumber", &(0..60).map(|i| group(i) as i64 + 1).collect::<Vec<_>>());
        particles.set_i64("rlnOpticsGroup", &(0..60).map(|i| if i < 15 { 1 } else { 2 }).collect::<Vec<_>>());
    });
    edit(&folder.join("run/run_it002_model.star"), |star| {
        let at = star.blocks.iter().position(|block| block.name == "model_optics_group_1").unwrap();
        let table = star.blocks.remove(at);
        for (g, sigma2) in [(1, 2.0), (2, 4.0), (3, 8.0)] {
            let mut own = table.clone();
            own.name = format!("model_group_{g}");
            own.set_f64("rlnSigma2Noise", &vec![sigma2; own.rows()]);
            star.blocks.push(own);
        }
        let mut groups = Block::table("model_groups");
        groups.set_i64("rlnGroupNumber", &[1, 2, 3]);
        groups.set_str("rlnGroupName", &["a.mrc", "b.mrc", "c.mrc"]);
        groups.set_i64("rlnGroupNrParticles", &[10, 20, 30]);
        groups.set_f64("rlnGroupScaleCorrection", &[0.9, 1.0, 1.1]);
        *star.block_mut("model_groups").unwrap() = groups;
    });
    let (code, text) = import(folder, &format!("{CLASSES} --out ours"));
    assert_eq!(code, 0, "{text}");
    let half = &state(folder, "ours").halves[0];
    let wanted = [(10.0 * 2.0 + 5.0 * 4.0) / 15.0, (15.0 * 4.0 + 30.0 * 8.0) / 45.0];
    for (noise, wanted) in half.noise.iter().zip(wanted) {
        assert!(noise.iter().all(|sigma2| (sigma2 - wanted).abs() < 1e-12), "{noise:?} {wanted}");
    }
    let groups: Vec<_> = half.groups.iter().map(|g| (g.name.as_str(), g.particle_count, g.scale)).collect();
    assert_eq!(groups, [("a.mrc", 10, 0.9), ("b.mrc", 20, 1.0), ("c.mrc", 30, 1.1)]);
}
