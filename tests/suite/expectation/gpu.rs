//! The engine on a device against the plain step: on the kernels' twin everywhere, and on the GPU where there is one.

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use relion_rs::arena::Arena;
use relion_rs::arena::Layout;
use relion_rs::dataset::ImageName;
use relion_rs::device::Driver;
use relion_rs::device::Precision;
use relion_rs::error::Result;
use relion_rs::expectation::ImageSource;
use relion_rs::expectation::Scalar;
use relion_rs::expectation::SumVoxel;
use relion_rs::expectation::Task;
use relion_rs::expectation::gpu::Config;
use relion_rs::expectation::gpu::DeviceFrame;
use relion_rs::expectation::gpu::Form;
use relion_rs::expectation::gpu::Link;
use relion_rs::expectation::gpu::Resident;
use relion_rs::expectation::gpu::count_device;
use relion_rs::expectation::gpu::count_host;
use relion_rs::expectation::gpu::expect;
use relion_rs::expectation::gpu::staging_bytes;
use relion_rs::formats::mrc::PixelFormat;
use relion_rs::imaging::SphereRows;

use crate::devices::Open;
use crate::devices::on_both;

use super::found::Found;
use super::found::find;
use super::golden;
use super::golden::Scene;
use super::golden::Variant;
use super::products::DOUBLE;
use super::products::SINGLE;
use super::products::compare;
use super::products::reference;
use super::products::scene;
use super::products::with_local;

on_both! {
    double_precision_equals_the_plain_step,
    single_precision_is_close,
    local_searches_equal_the_plain_step,
    nothing_but_the_block_changes_a_bit,
    images_that_stay_on_the_device_are_not_read_again,
}

const CONFIG: Config = Config {
    threads: 2,
    block_particles: 8,
    blocks_per_batch: 1,
    energy_bytes: 64 << 20,
    weight_bytes: 64 << 20,
    image_bytes: 1 << 20,
    pixel_bytes: 4,
    form: Form::Product,
};

/// What a step found, and where everything lay: on the host, on the device.
fn step<T: Scalar>(
    driver: &mut dyn Driver,
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
) -> (Found, [Layout; 2]) {
    let (mut found, layouts) = steps::<T>(driver, task, source, config, &[0]);
    (found.remove(0), layouts)
}

/// The same several times over, each with so many bytes for images that stay on the device.
fn steps<T: Scalar>(
    driver: &mut dyn Driver,
    task: &Task<'_>,
    source: &dyn ImageSource,
    config: &Config,
    resident_bytes: &[usize],
) -> (Vec<Found>, [Layout; 2]) {
    let mut host = Arena::counting();
    host.run(|frame| count_host::<T>(task, config, frame)).unwrap();
    let mut device = Arena::of_device(Arena::UNLIMITED);
    device.run(|frame| count_device::<T>(task, config, frame)).unwrap();
    let counted = [host.layout(), device.layout()];
    let widest = task.dataset.optics.iter().map(|optics| optics.box_pixels).max().unwrap();
    let image_bytes = widest.pow(2) * config.pixel_bytes;
    let mut resident = Mutex::new(Resident::new(image_bytes, task.dataset.particles.len()));
    let most = counted[1].peak + resident_bytes.iter().max().unwrap().next_multiple_of(256);
    let base = driver.reserve(most).unwrap();
    let mut staging = driver.pinned(staging_bytes::<T>(task, config).unwrap()).unwrap();
    let link = Link { driver, base };
    let mut layouts = counted.clone();
    let mut once = |bytes: usize| {
        let (mut host, mut device) = (Arena::reserve(counted[0].peak).unwrap(), Arena::of_device(most));
        resident.get_mut().unwrap().fit(bytes);
        let found = find(task, |volumes| {
            host.run(|frame| {
                device.run(|device_frame| {
                    resident.lock().unwrap().settle(device_frame, base).unwrap();
                    let (staging, resident) = (staging.bytes_mut(), &resident);
                    let on = DeviceFrame { link, frame: device_frame, staging, resident };
                    expect::<T>(task, source, config, volumes, frame, on)
                })
            })
        });
        let kept = resident.lock().unwrap().len();
        assert_eq!(kept, (bytes / image_bytes).min(task.particles.len()), "images on the device");
        layouts = [host.layout(), device.layout()];
        found
    };
    let found = resident_bytes.iter().map(|bytes| once(*bytes)).collect();
    let images = counted[1].placements.len() + 1;
    assert_eq!(layouts[0], counted[0], "memory of the host lies as it was counted");
    assert_eq!(layouts[1].placements.len(), images);
    let kept = layouts[1].placements[0].bytes.next_multiple_of(256);
    assert_eq!(layouts[1].peak, counted[1].peak + kept, "memory of the device lies as it was counted");
    for (placement, counted) in layouts[1].placements[1..].iter().zip(&counted[1].placements) {
        assert_eq!((placement.name, placement.offset), (counted.name, counted.offset + kept));
    }
    (found, layouts)
}

fn run<T: Scalar>(open: Open, scene: &Scene, v: &Variant, config: &Config, order: u64) -> Found {
    let mut driver = open(T::PRECISION, order);
    with_local(scene, v, |local| step::<T>(&mut *driver, &scene.task(v, local), scene, config).0)
}

fn double_precision_equals_the_plain_step(open: Open) {
    for v in [golden::OS1, golden::FULL, golden::SYM, golden::PERTURB] {
        let scene = scene(&v);
        compare(v.folder, &run::<f64>(open, &scene, &v, &CONFIG, 0), &reference(&scene, &v), DOUBLE);
    }
}

fn single_precision_is_close(open: Open) {
    for v in [golden::OS1, golden::FULL, golden::START0] {
        let scene = scene(&v);
        let [mut ours, mut truth] = [run::<f32>(open, &scene, &v, &CONFIG, 0), reference(&scene, &v)];
        let rows = scene.task(&v, None).geometry().rows;
        [&mut ours, &mut truth].into_iter().flat_map(|f| &mut f.volumes).for_each(|volume| fold(&rows, volume));
        compare(v.folder, &ours, &truth, SINGLE);
    }
}

/// Adds up both sides of the plane x = 0. Grids that are not perturbed put samples right onto it, and rounding decides
/// on which side each is stored; what is made of the sums afterwards adds both.
fn fold(rows: &SphereRows, volume: &mut [SumVoxel]) {
    let before = volume.to_vec();
    rows.for_each(|index, x, y, z| {
        if x == 0 {
            let mate = before[rows.index(0, -y, -z).expect("the rows are symmetric")];
            let own = &mut volume[index];
            *own = [own[0] + mate[0], own[1] - mate[1], own[2] + mate[2]];
        }
    });
}

fn local_searches_equal_the_plain_step(open: Open) {
    for v in [golden::LOCAL, golden::SKIP] {
        let scene = scene(&v);
        let truth = reference(&scene, &v);
        compare("local double", &run::<f64>(open, &scene, &v, &CONFIG, 0), &truth, DOUBLE);
        compare("local single", &run::<f32>(open, &scene, &v, &CONFIG, 0), &truth, SINGLE);
    }
}

/// As the CPU's engine, with volumes of its own memory: bits that neither threads, nor batches, nor the memory of the
/// weights, nor the order of threads on the device change.
fn nothing_but_the_block_changes_a_bit(open: Open) {
    for v in [golden::FULL, golden::LOCAL] {
        let scene = scene(&v);
        let first = run::<f32>(open, &scene, &v, &CONFIG, 0);
        for (config, order) in [
            // The lowest bits make streams late, each by itself and together.
            (Config { threads: 1, ..CONFIG }, 7),
            // Images are prepared one by one.
            (Config { image_bytes: 1, blocks_per_batch: 2, ..CONFIG }, 1),
            // A particle's blocks of weights do not fit, and are made in several sweeps.
            (Config { weight_bytes: 1, ..CONFIG }, 2),
            (Config { energy_bytes: 1, blocks_per_batch: 2, ..CONFIG }, 4),
        ] {
            let other = run::<f32>(open, &scene, &v, &config, order);
            assert_eq!(other.sums, first.sums, "{config:?}");
            assert_eq!(other.assignments, first.assignments, "{config:?}");
            assert!(other.volumes == first.volumes, "{config:?}");
        }
    }
}

/// Images that stay on the device are the images that were read; nobody reads them again.
fn images_that_stay_on_the_device_are_not_read_again(open: Open) {
    let v = golden::FULL;
    let scene = scene(&v);
    let reads = Counting { scene: &scene, images: AtomicUsize::new(0) };
    let mut driver = open(Precision::Single, 7);
    let (found, _) = with_local(&scene, &v, |local| {
        let task = scene.task(&v, local);
        let image_bytes = task.model.classes[0].map.box_pixels.pow(2) * 4;
        // None, three, all, all again, two.
        let rooms = [0, 3 * image_bytes, 1 << 30, 1 << 30, 2 * image_bytes];
        let particles = task.particles.len();
        let found = steps::<f32>(&mut *driver, &task, &reads, &CONFIG, &rooms);
        let expected = [particles, particles, particles - 3, 0, particles - 2].iter().sum::<usize>();
        assert_eq!(reads.images.load(SeqCst), expected, "images that were read");
        found
    });
    for other in &found[1..] {
        assert_eq!(other.sums, found[0].sums);
        assert_eq!(other.assignments, found[0].assignments);
        assert!(other.volumes == found[0].volumes);
    }
}

/// Counts what is read.
struct Counting<'s> {
    scene: &'s Scene,
    images: AtomicUsize,
}

impl ImageSource for Counting<'_> {
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()> {
        self.images.fetch_add(wanted.len(), SeqCst);
        ImageSource::read(self.scene, wanted, stride, request, out)
    }

    fn format(&self, image: ImageName) -> PixelFormat {
        self.scene.format(image)
    }

    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]) {
        self.scene.decode(image, place, out);
    }
}

/// The region is the only memory that a step has on the GPU: whatever is taken, by this program or by CUDA's libraries,
/// is taken before the first step ends.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn no_step_takes_memory_of_the_gpu() {
    let v = golden::FULL;
    let scene = scene(&v);
    let mut driver = crate::devices::gpu(Precision::Single, 0);
    with_local(&scene, &v, |local| {
        let task = scene.task(&v, local);
        let mut taken = || {
            let before = relion_rs::device::driver_allocations();
            steps::<f32>(&mut *driver, &task, &scene, &CONFIG, &[0, 0, 0]);
            // The region itself is part of what is free.
            (relion_rs::device::driver_allocations() - before, driver.free_bytes().unwrap())
        };
        let (_, free) = taken();
        assert_eq!(taken(), (2, free), "allocations: the region, and page-locked memory; and what is free");
    });
}
