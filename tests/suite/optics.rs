//! Optics groups of different boxes and pixel sizes in one run.

use std::fs;
use std::path::Path;
use std::process::Command;

use relion_rs::formats::mrc;
use relion_rs::formats::star::StarFile;
use relion_rs::fourier;
use relion_rs::rotation::Euler;
use relion_rs::rotation::PointGroup;

use crate::gpu::CLOSE;
use crate::gpu::on_twin;
use crate::gpu::relative;
use crate::gpu::voxels;

/// Particles of each group.
const COUNT: usize = 120;
const COARSE: (usize, f64) = (32, 7.08);
const FINE: (usize, f64) = (48, 4.72);
const ITERATIONS: usize = 4;
/// Particles of each group on a device, which is the slow twin.
const FEW: usize = 12;
/// The median of 120 errors has a standard error of a tenth; a wrong scale or centre would more than double it.
const AS_GOOD: f64 = 1.25;

fn done(folder: &Path, words: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relion-rs"));
    command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    let output = command.args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Simulates one group: the known map resampled, on a scale on which its projections are those of the other group.
fn simulate(folder: &Path, name: &str, (box_pixels, pixel): (usize, f64), count: usize, seed: u32) {
    let source =
        mrc::read_map(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/beta_galactosidase.mrc")).unwrap();
    let mut map = source.clone();
    map.data = fourier::resize_volume(&source.data, source.nx, box_pixels);
    // A projection sums voxels: fewer of them have to be larger.
    map.data.iter_mut().for_each(|v| *v *= (pixel / source.pixel_size_angstrom) as f32);
    (map.nx, map.ny, map.nz, map.pixel_size_angstrom) = (box_pixels, box_pixels, box_pixels, pixel);
    mrc::write_map(&folder.join(format!("{name}.mrc")), &map).unwrap();
    done(
        folder,
        &format!(
            "simulate --map {name}.mrc --out {name} --image-prefix {name} --count {count} --snr 0.1 --seed {seed} --no-normalise"
        ),
    );
}

/// One particle file of both groups: the second one's optics group and micrographs get names of their own.
fn join(folder: &Path, count: usize) {
    let rows = |text: &str, marked: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains(marked)).map(str::to_owned).collect()
    };
    let read = |name: &str| fs::read_to_string(folder.join(name).join("particles.star")).unwrap();
    let (coarse, fine) = (read("coarse"), read("fine"));
    let labels =
        |text: &str| rows(text, "_rln").iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(labels(&coarse), labels(&fine));
    let group_column = labels(&coarse).iter().rev().position(|l| l == "_rlnOpticsGroup").unwrap();
    let optics = rows(&fine, "opticsGroup1");
    assert_eq!(optics.len(), 1);
    let particles: Vec<String> = rows(&fine, "@")
        .iter()
        .map(|row| {
            let mut words: Vec<String> = row.split_whitespace().map(str::to_owned).collect();
            let at = words.len() - 1 - group_column;
            assert_eq!(words[at], "1");
            words[at] = "2".into();
            words.iter_mut().filter(|w| w.contains("mic") && !w.contains('@')).for_each(|w| w.insert_str(0, "fine_"));
            words.join(" ")
        })
        .collect();
    assert_eq!(particles.len(), count);
    let mut joined = String::new();
    for line in coarse.trim_end().lines() {
        joined += &format!("{line}\n");
        if line.contains("opticsGroup1") {
            let words: Vec<&str> = optics[0].split_whitespace().collect();
            assert_eq!(words[0], "1");
            joined += &format!("2 {}\n", words[1..].join(" ").replace("opticsGroup1", "opticsGroup2"));
        }
    }
    fs::write(folder.join("joined.star"), joined + &particles.join("\n") + "\n").unwrap();
}

/// Median error of the orientations (D2 mates are the same) and of the offsets in Angstrom, of the particles of one
/// stack.
fn errors(folder: &Path, run: &str, name: &str) -> [f64; 2] {
    let poses = |path: &str| {
        let star = StarFile::read(&folder.join(path)).unwrap();
        let table = star.require("particles").unwrap();
        let labels = ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnOriginXAngst", "rlnOriginYAngst"];
        let numbers = labels.map(|label| table.require(label).unwrap().f64s().unwrap());
        let names = table.require("rlnImageName").unwrap();
        names
            .strs()
            .enumerate()
            .filter(|(_, image)| image.contains(name))
            .map(|(i, image)| (image.to_owned(), numbers.each_ref().map(|n| n[i])))
            .collect::<std::collections::BTreeMap<String, [f64; 5]>>()
    };
    let truth = poses(&format!("{name}/truth.star"));
    let found = poses(&format!("{run}/run_it{ITERATIONS:03}_data.star"));
    assert_eq!((truth.len(), found.len()), (COUNT, COUNT));
    let group = PointGroup::parse("D2").unwrap();
    let (mut degrees, mut angstrom): (Vec<f64>, Vec<f64>) = truth
        .iter()
        .map(|(image, a)| {
            let b = found[image];
            let matrix = |p: [f64; 5]| Euler::new(p[0], p[1], p[2]).matrix();
            let mates = group.mates(matrix(*a));
            let angle = mates.map(|mate| mate.angle_degrees(matrix(b))).fold(180.0, f64::min);
            (angle, (a[3] - b[3]).hypot(a[4] - b[4]))
        })
        .unzip();
    [&mut degrees, &mut angstrom].map(|values| {
        values.sort_by(f64::total_cmp);
        values[COUNT / 2]
    })
}

/// Particles of both groups are placed as well together as alone, where each group has a reference in its own box, and
/// the map of both together is no worse.
#[test]
fn groups_of_different_boxes_and_pixel_sizes_refine_together() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    simulate(folder, "coarse", COARSE, COUNT, 1);
    simulate(folder, "fine", FINE, COUNT, 2);
    join(folder, COUNT);
    let mut errors_alone = Vec::new();
    for (particles, reference, pixel, out) in [
        ("coarse/particles.star", "coarse", COARSE.1, "coarse_alone"),
        ("fine/particles.star", "fine", FINE.1, "fine_alone"),
        ("joined.star", "coarse", COARSE.1, "both"),
    ] {
        // The same offsets in Angstrom, whatever the pixel of the reference.
        let (range, step) = (24.0 / pixel, 8.0 / pixel);
        done(
            folder,
            &format!(
                "run class3d --particles {particles} --reference {reference}.mrc --out {out} --diameter 200 --symmetry D2 \
                 --ini-high 40 --iterations {ITERATIONS} --first-iteration-cc false --threads 2 \
                 --offset-range-pixels {range} --offset-step-pixels {step}"
            ),
        );
        if out != "both" {
            errors_alone.push(errors(folder, out, reference));
        }
    }
    // Resolution at which the FSC with the truth falls below one half.
    let resolution = |run: &str, truth: &str| -> f64 {
        let text = done(folder, &format!("compare {run}/run_it{ITERATIONS:03}_class001.mrc {truth}.mrc"));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words[..3], ["FSC", "0.5", "at"]);
        words[3].parse().unwrap()
    };
    let (coarse, fine, both) =
        (resolution("coarse_alone", "coarse"), resolution("fine_alone", "fine"), resolution("both", "coarse"));
    println!("{coarse} A and {fine} A alone, {both} A together");
    assert!(both <= coarse.min(fine), "{coarse} A and {fine} A alone, {both} A together");
    for (alone, name) in errors_alone.iter().zip(["coarse", "fine"]) {
        let together = errors(folder, "both", name);
        println!("{name}: {alone:?} alone, {together:?} together");
        for (alone, together) in alone.iter().zip(together) {
            assert!(together <= alone * AS_GOOD, "{name}: {alone} alone, {together} together");
        }
    }
}

/// Batches of the groups differ in all their sizes, and images of both stay in slots for the larger one.
#[test]
fn groups_of_different_boxes_refine_on_a_device_as_on_cpus() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    simulate(folder, "coarse", COARSE, FEW, 1);
    simulate(folder, "fine", FINE, FEW, 2);
    join(folder, FEW);
    let job = "run class3d --particles joined.star --reference coarse.mrc --diameter 200 --symmetry D2 --ini-high 40 \
               --healpix-order 1 --iterations 2 --threads 2 --blocks-per-batch 1 --block-particles 8";
    done(folder, &format!("{job} --backend cpu --out cpu"));
    let (code, text) = on_twin(folder, &format!("{job} --backend cuda --out gpu"));
    assert_eq!(code, 0, "{text}");
    let map = "run_it002_class001.mrc";
    let miss = relative(&voxels(&folder.join("gpu").join(map)), &voxels(&folder.join("cpu").join(map)));
    assert!(miss <= CLOSE, "{miss}");
}
