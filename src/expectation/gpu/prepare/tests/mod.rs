//! Rows and records of a device agree with those of `products::load`. The bodies take any driver; here it is the twin.

mod scene;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use crate::arena::Arena;
use crate::arena::Kind;
use crate::dataset::ImageName;
use crate::device;
use crate::device::Driver;
use crate::device::OnCpu;
use crate::device::Precision;
use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::gpu::HostTransform;
use crate::expectation::gpu::Resident;
use crate::expectation::group::Group;
use crate::expectation::products::Config;
use crate::expectation::products::Next;
use crate::expectation::products::Shape;
use crate::expectation::products::ahead;
use crate::expectation::products::batch::Context;
use crate::expectation::products::batch::Record;
use crate::expectation::products::batch::Worker;
use crate::expectation::products::batch::product_f64;
use crate::expectation::products::load;
use crate::expectation::products::load::Limits;
use crate::expectation::products::load::ParticleRows;
use crate::expectation::products::shape;
use crate::expectation::task::Comparison;
use crate::formats::mrc::ByteOrder;
use crate::formats::mrc::Mode;
use crate::formats::mrc::PixelFormat;
use crate::imaging::CtfOptions;
use crate::imaging::FirstPeak;
use crate::imaging::mtf::Mtf;
use crate::product::Isa;

use super::*;
use scene::PARTICLES;
use scene::Scene;

/// Of the root mean square of a row: both sides round some thousand sums of doubles differently.
const DOUBLE: f64 = 1e-12;
/// Rows in single precision are the same numbers, rounded once more.
const SINGLE: f64 = 1.2e-7;

/// Limits of these images; some test lowers them.
const WIDE: Limits = Limits { data: 1e9, weight: 1e9 };

/// Rows of all particles as doubles: masked, unmasked, power, weight; and the records.
struct Prepared {
    rows: [Vec<f64>; 4],
    records: Vec<Record>,
}

fn config() -> Config {
    Config {
        isa: Isa::detect(),
        threads: 1,
        block_particles: PARTICLES,
        blocks_per_batch: 1,
        sum_copies: 1,
        energy_bytes: 1 << 20,
        weight_bytes: 1 << 20,
        column_bytes: 1 << 20,
        pixel_bytes: 4,
    }
}

fn on_host<T: Scalar>(scene: &Scene, limits: Limits) -> Result<Prepared> {
    let task = scene.task();
    let geometry = task.geometry();
    let group = Group::new(&task, &geometry, 0);
    let shape: Shape = config().shape::<T>(&task, &group, PARTICLES);
    let never = AtomicBool::new(false);
    let context = Context {
        task: &task,
        group: &group,
        geometry: &geometry,
        shape,
        isa: Isa::detect(),
        block_particles: PARTICLES,
        references: &[],
        kx: &[],
        ky: &[],
        phases: &[],
        step_phases: &[],
        log_directions: &[],
        shell_ranges: &[],
        stop: &never,
        used_shells: 0,
    };
    let (row, real) = (2 * group.count(), group.count());
    let mut out = Prepared { rows: Default::default(), records: Vec::new() };
    Arena::reserve(1 << 30)?.run(|frame| {
        let images = shape::image_buffers(frame, &shape)?;
        let mut worker = Worker::<T>::new(frame, 0, &group, &shape)?;
        let members: Vec<(usize, u32)> = (0..PARTICLES).map(|p| (p, p as u32)).collect();
        let given = AtomicBool::new(false);
        let next = |_: usize, blocks: &mut Vec<u32>| {
            blocks.extend((!given.swap(true, SeqCst)).then_some(0));
            Ok(())
        };
        let all = ahead::Members { all: &members, block_particles: PARTICLES, next: &next };
        ahead::each_batch(scene, task.dataset, &shape, &all, images, |members, images| {
            for (p, (position, index)) in members.iter().enumerate() {
                let mut record = Record::new(&shape);
                record.start(*index, *position, &shape);
                let [mut masked, mut unmasked] = [(); 2].map(|()| vec![T::default(); row]);
                let [mut power, mut weight] = [(); 2].map(|()| vec![T::default(); real]);
                let mut log_offsets = vec![T::default(); shape.translations * (1 + shape.steps)];
                let rows = ParticleRows {
                    masked: &mut masked,
                    unmasked: &mut unmasked,
                    power: &mut power,
                    weight: &mut weight,
                    log_offsets: &mut log_offsets,
                };
                load::load(&context, limits, images, p, &mut record, &mut worker, rows)?;
                for (out, row) in out.rows.iter_mut().zip([masked, unmasked, power, weight]) {
                    out.extend(row.into_iter().map(product_f64));
                }
                out.records.push(record);
            }
            Ok(Next::GoOn)
        })
        .map(|_| ())
    })?;
    Ok(out)
}

/// How the images come to the device.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Uploaded,
    Resident,
}

fn on_device<T: Scalar + device::Plain>(
    driver: &mut dyn Driver,
    scene: &Scene,
    limits: Limits,
    at_once: usize,
    way: Way,
) -> Result<Prepared> {
    let task = scene.task();
    let geometry = task.geometry();
    let group = Group::new(&task, &geometry, 0);
    let precision = if size_of::<T>() == 4 { Precision::Single } else { Precision::Double };
    let sizes = Sizes::new(&task, &group, PARTICLES, at_once, scene.image_bytes(), way == Way::Uploaded);
    // Longer than the pixels: the rest becomes zero.
    let stride = sizes.pixels + 5;
    let slot_bytes = sizes.images * sizes.image_bytes;
    let layout = |arena: &mut Arena, base: u64, driver: Option<&dyn Driver>| {
        arena.run(|frame| -> Result<Option<Prepared>> {
            let mut resident = Resident::new(frame, base, PARTICLES, slot_bytes, PARTICLES)?;
            frame.child(Kind::Batch, |frame| {
                let [masked, unmasked] = [(); 2].map(|()| frame.place::<T>("rows", 2 * stride * PARTICLES));
                let [power, weight] = [(); 2].map(|()| frame.place::<T>("rows", stride * PARTICLES));
                let places = [masked?, unmasked?, power?, weight?];
                let memory = memory(frame, &sizes)?;
                let Some(driver) = driver else { return Ok(None) };
                let [masked, unmasked, power, weight] = places.map(|place| base + place.offset() as u64);
                let transform = HostTransform::new(sizes.edge);
                let mut preparation =
                    Preparation::new(driver, precision, &transform, base, &task, &group, sizes, memory)?;
                let shape = config().shape::<T>(&task, &group, PARTICLES);
                let mut records: Vec<Record> = (0..PARTICLES).map(|_| Record::new(&shape)).collect();
                records.iter_mut().enumerate().for_each(|(p, record)| record.start(p as u32, p, &shape));
                let names = |p: usize| {
                    let index = p as u32;
                    [ImageName { stack: 0, index }, ImageName { stack: 1, index }].into_iter().take(sizes.images)
                };
                let bytes: Vec<Vec<u8>> = (0..PARTICLES).flat_map(names).map(|name| scene.stored(name)).collect();
                if way == Way::Resident {
                    for (p, images) in bytes.chunks_exact(sizes.images).enumerate() {
                        resident.keep(driver, Stream::Compute, p as u32, &images.concat())?;
                    }
                }
                let images: Vec<Image<'_>> = bytes
                    .iter()
                    .enumerate()
                    .map(|(i, bytes)| {
                        let (p, which) = (i / sizes.images, i % sizes.images);
                        let on_device = |slot: u64| Stored::Device(slot + (which * sizes.image_bytes) as u64);
                        let place = resident.slot(p as u32).map_or(Stored::Host(bytes), on_device);
                        Image { place, format: scene.format }
                    })
                    .collect();
                let rows = Rows { masked, unmasked, power, weight, stride };
                preparation.prepare_batch(&images, rows, limits, &mut records)?;
                let mut out = Prepared { rows: Default::default(), records };
                for ((out, address), parts) in
                    out.rows.iter_mut().zip([masked, unmasked, power, weight]).zip([2, 2, 1, 1])
                {
                    let mut values = vec![T::default(); parts * stride * PARTICLES];
                    device::download(driver, Stream::Compute, address, &mut values)?;
                    driver.finish(Stream::Compute)?;
                    for row in values.chunks_exact(parts * stride) {
                        let (row, rest) = row.split_at(parts * sizes.pixels);
                        out.extend(row.iter().map(|v| product_f64(*v)));
                        assert!(rest.iter().all(|v| product_f64(*v) == 0.0), "what follows a row is zero");
                    }
                }
                Ok(Some(out))
            })
        })
    };
    let mut counting = Arena::of_device(Arena::UNLIMITED);
    layout(&mut counting, 0, None)?;
    let base = driver.reserve(counting.layout().peak)?;
    let mut arena = Arena::of_device(counting.layout().peak);
    let prepared = layout(&mut arena, base, Some(&*driver))?;
    assert_eq!(arena.layout(), counting.layout());
    Ok(prepared.expect("the device was there"))
}

fn close(name: &str, host: f64, device: f64, scale: f64, tolerance: f64) {
    let off = (host - device).abs();
    assert!(off <= tolerance * scale.max(f64::MIN_POSITIVE), "{name}: {device} instead of {host}");
}

/// Compares rows and records.
fn agree(host: &Prepared, device: &Prepared, tolerance: f64) {
    for (p, (a, b)) in host.records.iter().zip(&device.records).enumerate() {
        assert_eq!(a.set_aside, b.set_aside, "particle {p}");
        let rows = host.rows.iter().zip(&device.rows).map(|(a, b)| {
            let len = a.len() / PARTICLES;
            (&a[p * len..][..len], &b[p * len..][..len])
        });
        for (which, (a, b)) in rows.enumerate() {
            if device.records[p].set_aside.is_some() {
                assert!(b.iter().all(|v| *v == 0.0), "a row of a particle that is set aside");
                continue;
            }
            let rms = (a.iter().map(|v| v * v).sum::<f64>() / a.len() as f64).sqrt();
            assert!(rms > 0.0 && rms.is_finite());
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                let largest = rms.max(a.abs());
                close(&format!("particle {p}, row {which}, value {i}"), *a, *b, largest, tolerance);
            }
        }
        if a.set_aside.is_some() {
            continue;
        }
        assert_eq!((a.offset_pixels, a.group_scale), (b.offset_pixels, b.group_scale));
        let amplitude = a.power.iter().sum::<f64>().sqrt();
        for (name, a, b, scale) in [
            ("masked dc", a.masked_dc, b.masked_dc, amplitude),
            ("unmasked dc", a.unmasked_dc, b.unmasked_dc, amplitude),
            ("CTF dc", a.ctf_dc, b.ctf_dc, 1.0),
            ("constant", a.constant, b.constant, a.constant),
            ("correlation power", a.correlation_power, b.correlation_power, a.correlation_power),
        ] {
            close(&format!("particle {p}, {name}"), a, b, scale, DOUBLE);
        }
        assert_eq!((a.power.len(), a.ctf2.len()), (b.power.len(), b.ctf2.len()));
        let total: f64 = a.power.iter().sum();
        for (shell, (x, y)) in a.power.iter().zip(&b.power).enumerate() {
            close(&format!("particle {p}, power of shell {shell}"), *x, *y, total, DOUBLE);
        }
        for (shell, (x, y)) in a.ctf2.iter().zip(&b.ctf2).enumerate() {
            close(&format!("particle {p}, CTF of shell {shell}"), *x, *y, x.abs(), 1e3 * DOUBLE);
        }
    }
}

/// The twin agrees with the CPU in both precisions.
fn check(scene: &Scene) {
    check_at(scene, WIDE, Way::Uploaded);
}

fn check_at(scene: &Scene, limits: Limits, way: Way) {
    let mut double = OnCpu::open(Precision::Double).expect("a compiler");
    let host = on_host::<f64>(scene, limits).expect("sound images");
    agree(&host, &on_device::<f64>(&mut double, scene, limits, 3, way).expect("sound images"), DOUBLE);
    let mut single = OnCpu::open(Precision::Single).expect("a compiler");
    let host = on_host::<f32>(scene, limits).expect("sound images");
    agree(&host, &on_device::<f32>(&mut single, scene, limits, 4, way).expect("sound images"), SINGLE);
}

#[test]
fn rows_and_records_are_those_of_the_cpu() {
    for edge in [60, 64, 90] {
        check(&Scene::new(edge));
    }
}

#[test]
fn noise_outside_the_mask_is_the_same_noise() {
    for edge in [60, 62] {
        let mut scene = Scene::new(edge);
        scene.options.zero_mask = false;
        check(&scene);
    }
}

#[test]
fn every_number_type_and_byte_order_is_read() {
    for mode in [Mode::Int8, Mode::Int16, Mode::Uint16, Mode::Float16, Mode::Float32] {
        for byte_order in [ByteOrder::Little, ByteOrder::Big] {
            let mut scene = Scene::new(60);
            scene.format = PixelFormat { mode, byte_order };
            check(&scene);
        }
    }
}

#[test]
fn corrections_can_be_left_out() {
    let mut scene = Scene::new(60);
    scene.options.norm_correction = false;
    scene.options.scale_correction = false;
    scene.options.parity = true;
    check(&scene);
    scene.comparison = Comparison::CrossCorrelation;
    check(&scene);
}

#[test]
fn ctfs_of_every_kind() {
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
        check(&scene);
    }
    scene.options.ctf = Some(options);
    scene.dataset.optics[0].ctf_premultiplied = true;
    check(&scene);
    scene.dataset.optics[0].ctf_premultiplied = false;
    scene.dataset.optics[0].ctf_corrected = true;
    check(&scene);
}

#[test]
fn aberrations_magnification_and_detectors() {
    let mut scene = Scene::new(60);
    let optics = &mut scene.dataset.optics[0];
    optics.beam_tilt_mrad = [0.6, -0.9];
    optics.odd_zernike = vec![0.0, 0.3, 0.0, 0.0, 5.0, -3.0];
    optics.even_zernike = vec![0.1, 0.0, 4.0, 2.0];
    optics.magnification = [[1.02, 0.01], [-0.01, 0.98]];
    check(&scene);
    // Another group has another detector.
    scene.dataset.optics.push(scene.dataset.optics[0].clone());
    scene.model.noise.push(scene.model.noise[0].clone());
    let detector = |end: f64| Mtf::new(&[0.0, 0.5], &[1.0, end], 2.0, false).expect("a table");
    scene.options.mtfs = vec![detector(0.3), detector(0.6)];
    scene.options.zero_mask = false;
    check(&scene);
}

#[test]
fn other_images_are_reconstructed_from() {
    let mut scene = Scene::new(60);
    scene.reconstruct_images = true;
    check(&scene);
    check_at(&scene, WIDE, Way::Resident);
    scene.images[PARTICLES + 2][77] = f32::NEG_INFINITY;
    check(&scene);
}

#[test]
fn images_may_be_resident() {
    let mut scene = Scene::new(60);
    scene.format.mode = Mode::Float16;
    check_at(&scene, WIDE, Way::Resident);
}

#[test]
fn images_are_set_aside_for_the_same_causes() {
    let mut scene = Scene::new(60);
    scene.images[0][123] = f32::NAN;
    scene.images[1][60 * 59 + 1] = f32::INFINITY;
    scene.images[1][60 * 59 + 2] = f32::NAN;
    scene.images[2].fill(7.0);
    scene.images[3].iter_mut().for_each(|v| *v *= 1e4);
    let limits = Limits { data: 1e5, weight: 1e9 };
    check_at(&scene, limits, Way::Uploaded);
    let host = on_host::<f64>(&scene, limits).expect("sound images");
    assert!(host.records[..4].iter().all(|record| record.set_aside.is_some()));
    assert!(host.records[4..].iter().all(|record| record.set_aside.is_none()));
}

#[test]
fn errors_are_those_of_the_cpu() {
    let mut driver = OnCpu::open(Precision::Double).expect("a compiler");
    let mut same = |scene: &Scene| {
        let host = on_host::<f64>(scene, WIDE).err().expect("an error").to_string();
        let device = on_device::<f64>(&mut driver, scene, WIDE, 3, Way::Uploaded).err().expect("an error").to_string();
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

#[test]
fn the_order_of_threads_and_parts_changes_no_bit() {
    let mut scene = Scene::new(60);
    scene.options.zero_mask = false;
    scene.dataset.optics[0].ctf_premultiplied = true;
    let mut driver = OnCpu::open(Precision::Single).expect("a compiler");
    let mut run = |at_once: usize| on_device::<f32>(&mut driver, &scene, WIDE, at_once, Way::Uploaded).expect("rows");
    let first = run(PARTICLES);
    for at_once in [1, 2, 5] {
        let other = run(at_once);
        let bits = |rows: &[Vec<f64>; 4]| rows.concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&first.rows), bits(&other.rows));
        for (a, b) in first.records.iter().zip(&other.records) {
            assert_eq!(
                (a.constant, a.correlation_power, &a.power, &a.ctf2),
                (b.constant, b.correlation_power, &b.power, &b.ctf2)
            );
        }
    }
}

#[test]
fn the_struct_of_a_particle_is_as_long_as_its_words() {
    // Two addresses, four 32-bit words, twelve doubles less one, an item.
    assert_eq!(particle::WORDS * 8, 128);
}
