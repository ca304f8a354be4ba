//! Particles prepared by the CPU's engine and by a device, and their comparison.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use crate::arena::Arena;
use crate::arena::Kind;
use crate::dataset::ImageName;
use crate::device;
use crate::device::Driver;
use crate::device::Precision;
use crate::device::Stream;
use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::gpu::Resident;
use crate::expectation::gpu::transform;
use crate::expectation::group::Group;
use crate::expectation::products::Config;
use crate::expectation::products::Next;
use crate::expectation::products::Shape;
use crate::expectation::products::ahead;
use crate::expectation::products::batch::Loader;
use crate::expectation::products::batch::Record;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::batch::product_f64;
use crate::expectation::products::load;
use crate::expectation::products::load::Limits;
use crate::expectation::products::load::ParticleRows;
use crate::expectation::products::shape;
use crate::product::Isa;

use super::super::Image;
use super::super::Preparation;
use super::super::Rows;
use super::super::Sizes;
use super::super::memory;
use super::scene::PARTICLES;
use super::scene::Scene;

/// Of the root mean square of a row: both sides round some thousand sums of doubles differently.
pub const DOUBLE: f64 = 1e-12;
/// Rows in single precision are the same numbers, rounded once more.
pub const SINGLE: f64 = 1.2e-7;

/// Limits of these images; some test lowers them.
pub const WIDE: Limits = Limits { data: 1e9, weight: 1e9 };

/// Rows of all particles as doubles: masked, unmasked, power, weight; and the records.
pub struct Prepared {
    pub rows: [Vec<f64>; 4],
    pub records: Vec<Record>,
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

pub fn on_host<T: Scalar>(scene: &Scene, limits: Limits) -> Result<Prepared> {
    let task = scene.task();
    let geometry = task.geometry();
    let group = Group::new(&task, &geometry, 0);
    let shape: Shape = config().shape::<T>(&task, &group, PARTICLES);
    let never = AtomicBool::new(false);
    let setting = Setting {
        task: &task,
        group: &group,
        geometry: &geometry,
        shape,
        block_particles: PARTICLES,
        reference_dc: &[],
        shell_ranges: &[],
        stop: &never,
    };
    let (row, real) = (2 * group.count(), group.count());
    let mut out = Prepared { rows: Default::default(), records: Vec::new() };
    Arena::reserve(1 << 30)?.run(|frame| {
        let images = shape::image_buffers(frame, &shape)?;
        let mut loader = Loader::new(&group, &shape);
        let members: Vec<(usize, u32)> = (0..PARTICLES).map(|p| (p, p as u32)).collect();
        let given = AtomicBool::new(false);
        let next = |_: usize, blocks: &mut Vec<u32>| {
            blocks.extend((!given.swap(true, SeqCst)).then_some(0));
            Ok(())
        };
        let all = ahead::Members { all: &members, block_particles: PARTICLES, next: &next, has: &|_| false };
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
                load::load(&setting, limits, images, p, &mut record, &mut loader, rows)?;
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
pub enum Way {
    Uploaded,
    Resident,
}

pub fn on_device<T: Scalar + device::Plain>(
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
    let sizes = Sizes::new(&task, &group, PARTICLES, at_once, scene.image_bytes());
    // Longer than the pixels: the rest becomes zero.
    let stride = sizes.pixels + 5;
    let mut resident = Resident::new(sizes.image_bytes, PARTICLES);
    resident.fit(if way == Way::Resident { usize::MAX } else { 0 });
    let mut layout = |arena: &mut Arena, base: u64, driver: Option<&dyn Driver>| {
        arena.run(|frame| -> Result<Option<Prepared>> {
            resident.settle(frame, base)?;
            frame.child(Kind::Batch, |frame| {
                let [masked, unmasked] = [(); 2].map(|()| frame.place::<T>("rows", 2 * stride * PARTICLES));
                let [power, weight] = [(); 2].map(|()| frame.place::<T>("rows", stride * PARTICLES));
                let places = [masked?, unmasked?, power?, weight?];
                let memory = memory(frame, &sizes)?;
                let Some(driver) = driver else { return Ok(None) };
                let [masked, unmasked, power, weight] = places.map(|place| base + place.offset() as u64);
                let work = base + memory.transform.offset() as u64;
                let transform = transform::of_device(driver, sizes.edge, work)?;
                let mut preparation =
                    Preparation::new(driver, precision, &*transform, base, &task, &group, sizes, memory)?;
                let shape = config().shape::<T>(&task, &group, PARTICLES);
                let mut records: Vec<Record> = (0..PARTICLES).map(|_| Record::new(&shape)).collect();
                records.iter_mut().enumerate().for_each(|(p, record)| record.start(p as u32, p, &shape));
                let names = |p: usize| {
                    let index = p as u32;
                    [ImageName { stack: 0, index }, ImageName { stack: 1, index }].into_iter().take(sizes.images)
                };
                let bytes: Vec<Vec<u8>> = (0..PARTICLES).flat_map(names).map(|name| scene.stored(name)).collect();
                let raw = base + memory.raw.offset() as u64;
                let images = bytes.iter().enumerate().map(|(i, bytes)| {
                    let own = i % sizes.images == 0;
                    let p = (i / sizes.images) as u32;
                    let kept = if own { resident.keep(driver, Stream::Compute, p, bytes)? } else { None };
                    let address = kept.unwrap_or(raw + (i * sizes.image_bytes) as u64);
                    if kept.is_none() {
                        driver.upload(Stream::Compute, address, bytes)?;
                    }
                    Ok(Image { address, format: scene.format })
                });
                let images = images.collect::<Result<Vec<Image>>>()?;
                let rows = Rows { masked, unmasked, power, weight, stride };
                preparation.note(0..PARTICLES as u32, &images)?;
                preparation.start(rows)?;
                preparation.finish(rows, limits, &mut records)?;
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
pub fn agree(host: &Prepared, device: &Prepared, tolerance: f64) {
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
