//! Rows and records of a device agree with those of `products::load`. On the twin, and on a GPU where there is one.

mod both;
mod scene;

use crate::device::Precision;
use crate::device::both::Open;
use crate::device::both::on_both;
use crate::expectation::products::batch::Record;
use crate::expectation::products::load::Limits;
use crate::expectation::task::Comparison;
use crate::formats::mrc::ByteOrder;
use crate::formats::mrc::Mode;
use crate::formats::mrc::PixelFormat;
use crate::imaging::CtfOptions;
use crate::imaging::FirstPeak;
use crate::imaging::mtf::Mtf;

use both::DOUBLE;
use both::SINGLE;
use both::WIDE;
use both::Way;
use both::agree;
use both::on_device;
use both::on_host;
use scene::PARTICLES;
use scene::Scene;

on_both! {
    rows_and_records_are_those_of_the_cpu,
    noise_outside_the_mask_is_the_same_noise,
    every_number_type_and_byte_order_is_read,
    corrections_can_be_left_out,
    ctfs_of_every_kind,
    aberrations_magnification_and_detectors,
    other_images_are_reconstructed_from,
    images_may_be_resident,
    images_are_set_aside_for_the_same_causes,
    errors_are_those_of_the_cpu,
    the_order_of_threads_and_parts_changes_no_bit,
}

/// A device agrees with the CPU in both precisions.
fn check(open: Open, scene: &Scene) {
    check_at(open, scene, WIDE, Way::Uploaded);
}

fn check_at(open: Open, scene: &Scene, limits: Limits, way: Way) {
    let mut double = open(Precision::Double, 0);
    let host = on_host::<f64>(scene, limits).expect("sound images");
    agree(&host, &on_device::<f64>(&mut *double, scene, limits, 3, way).expect("sound images"), DOUBLE);
    let mut single = open(Precision::Single, 0);
    let host = on_host::<f32>(scene, limits).expect("sound images");
    agree(&host, &on_device::<f32>(&mut *single, scene, limits, 4, way).expect("sound images"), SINGLE);
}

fn rows_and_records_are_those_of_the_cpu(open: Open) {
    for edge in [60, 64, 90] {
        check(open, &Scene::new(edge));
    }
}

fn noise_outside_the_mask_is_the_same_noise(open: Open) {
    for edge in [60, 62] {
        let mut scene = Scene::new(edge);
        scene.options.zero_mask = false;
        check(open, &scene);
    }
}

fn every_number_type_and_byte_order_is_read(open: Open) {
    for mode in [Mode::Int8, Mode::Int16, Mode::Uint16, Mode::Float16, Mode::Float32] {
        for byte_order in [ByteOrder::Little, ByteOrder::Big] {
            let mut scene = Scene::new(60);
            scene.format = PixelFormat { mode, byte_order };
            check(open, &scene);
        }
    }
}

fn corrections_can_be_left_out(open: Open) {
    let mut scene = Scene::new(60);
    scene.options.norm_correction = false;
    scene.options.scale_correction = false;
    scene.options.parity = true;
    check(open, &scene);
    scene.comparison = Comparison::CrossCorrelation;
    check(open, &scene);
}

fn ctfs_of_every_kind(open: Open) {
    let mut scene = Scene::new(60);
    let options = CtfOptions::default();
    for ctf in [
        None,
        Some(CtfOptions { phase_flipped: true, ..options }),
        Some(CtfOptions { only_flip_phases: true, ..options }),
        Some(CtfOptions { first_peak: FirstPeak::IntactUntil, ..options }),
        Some(CtfOptions { first_peak: FirstPeak::IntactAfter, parity_floor: true, ..options }),
    ] {
        scene.options.ctf = ctf;
        check(open, &scene);
    }
    scene.options.ctf = Some(options);
    scene.dataset.optics[0].ctf_premultiplied = true;
    check(open, &scene);
    scene.dataset.optics[0].ctf_premultiplied = false;
    scene.dataset.optics[0].ctf_corrected = true;
    check(open, &scene);
}

fn aberrations_magnification_and_detectors(open: Open) {
    let mut scene = Scene::new(60);
    let optics = &mut scene.dataset.optics[0];
    optics.beam_tilt_mrad = [0.6, -0.9];
    optics.odd_zernike = vec![0.0, 0.3, 0.0, 0.0, 5.0, -3.0];
    optics.even_zernike = vec![0.1, 0.0, 4.0, 2.0];
    optics.magnification = [[1.02, 0.01], [-0.01, 0.98]];
    check(open, &scene);
    // Another group has another detector.
    scene.dataset.optics.push(scene.dataset.optics[0].clone());
    scene.model.noise.push(scene.model.noise[0].clone());
    let detector = |end: f64| Mtf::new(&[0.0, 0.5], &[1.0, end], 2.0, false).expect("a table");
    scene.options.mtfs = vec![detector(0.3), detector(0.6)];
    scene.options.zero_mask = false;
    check(open, &scene);
}

fn other_images_are_reconstructed_from(open: Open) {
    let mut scene = Scene::new(60);
    scene.reconstruct_images = true;
    check(open, &scene);
    check_at(open, &scene, WIDE, Way::Resident);
    scene.images[PARTICLES + 2][77] = f32::NEG_INFINITY;
    check(open, &scene);
}

fn images_may_be_resident(open: Open) {
    let mut scene = Scene::new(60);
    scene.format.mode = Mode::Float16;
    check_at(open, &scene, WIDE, Way::Resident);
}

fn images_are_set_aside_for_the_same_causes(open: Open) {
    let mut scene = Scene::new(60);
    scene.images[0][123] = f32::NAN;
    scene.images[1][60 * 59 + 1] = f32::INFINITY;
    scene.images[1][60 * 59 + 2] = f32::NAN;
    scene.images[2].fill(7.0);
    scene.images[3].iter_mut().for_each(|v| *v *= 1e4);
    let limits = Limits { data: 1e5, weight: 1e9 };
    check_at(open, &scene, limits, Way::Uploaded);
    let host = on_host::<f64>(&scene, limits).expect("sound images");
    assert!(host.records[..4].iter().all(|record| record.set_aside.is_some()));
    assert!(host.records[4..].iter().all(|record| record.set_aside.is_none()));
}

fn errors_are_those_of_the_cpu(open: Open) {
    let mut driver = open(Precision::Double, 0);
    let mut same = |scene: &Scene| {
        let host = on_host::<f64>(scene, WIDE).err().expect("an error").to_string();
        let device = on_device::<f64>(&mut *driver, scene, WIDE, 3, Way::Uploaded).err().expect("an error").to_string();
        assert_eq!(host, device);
        host
    };
    let mut scene = Scene::new(60);
    scene.usual_spread = vec![0.01];
    assert!(same(&scene).contains("spread"));
    scene.usual_spread.clear();
    scene.dataset.particles[4].ctf.defocus_u_angstrom = f64::NAN;
    assert!(same(&scene).contains("CTF"));
    scene.model.groups[1].scale = f64::NAN;
    assert!(same(&scene).contains("scale"));
}

fn the_order_of_threads_and_parts_changes_no_bit(open: Open) {
    let mut scene = Scene::new(60);
    scene.options.zero_mask = false;
    scene.dataset.optics[0].ctf_premultiplied = true;
    let run = |at_once: usize, order: u64| {
        let mut driver = open(Precision::Single, order);
        on_device::<f32>(&mut *driver, &scene, WIDE, at_once, Way::Uploaded).expect("sound images")
    };
    let first = run(PARTICLES, 0);
    for (at_once, order) in [(PARTICLES, 1), (1, 2), (2, 0), (5, 3)] {
        let other = run(at_once, order);
        let bits = |rows: &[Vec<f64>; 4]| rows.concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&first.rows) == bits(&other.rows), "parts of {at_once}, order {order}");
        for (a, b) in first.records.iter().zip(&other.records) {
            let known = |r: &Record| (r.constant, r.correlation_power, r.power.clone(), r.ctf2.clone());
            assert_eq!(known(a), known(b));
        }
    }
}
