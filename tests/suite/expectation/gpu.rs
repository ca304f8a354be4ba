//! The engine on a device against the plain step: on the kernels' twin everywhere, and on the GPU where there is one.

use relion_rs::arena::Arena;
use relion_rs::arena::Layout;
use relion_rs::device::Driver;
use relion_rs::device::OnCpu;
use relion_rs::expectation::ImageSource;
use relion_rs::expectation::Scalar;
use relion_rs::expectation::SumVoxel;
use relion_rs::expectation::Task;
use relion_rs::expectation::gpu::Config;
use relion_rs::expectation::gpu::Form;
use relion_rs::expectation::gpu::Link;
use relion_rs::expectation::gpu::count_device;
use relion_rs::expectation::gpu::count_host;
use relion_rs::expectation::gpu::expect;
use relion_rs::imaging::SphereRows;

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

const CONFIG: Config = Config {
    threads: 2,
    block_particles: 8,
    blocks_per_batch: 1,
    energy_bytes: 64 << 20,
    weight_bytes: 64 << 20,
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
    let mut host = Arena::counting();
    host.run(|frame| count_host::<T>(task, config, frame)).unwrap();
    let mut device = Arena::of_device(Arena::UNLIMITED);
    device.run(|frame| count_device::<T>(task, config, frame)).unwrap();
    let counted = [host.layout(), device.layout()];
    let base = driver.reserve(counted[1].peak).unwrap();
    let (mut host, mut device) = (Arena::reserve(counted[0].peak).unwrap(), Arena::of_device(counted[1].peak));
    let link = Link { driver, base };
    let found = find(task, |volumes| {
        host.run(|frame| {
            device.run(|device_frame| expect::<T>(task, source, config, link, volumes, frame, device_frame))
        })
    });
    let layouts = [host.layout(), device.layout()];
    assert_eq!(layouts, counted, "memory lies as it was counted");
    (found, layouts)
}

fn run<T: Scalar>(scene: &Scene, v: &Variant, config: &Config, order: u64) -> Found {
    let mut driver = OnCpu::open(T::PRECISION).unwrap().shuffled(order);
    with_local(scene, v, |local| step::<T>(&mut driver, &scene.task(v, local), scene, config).0)
}

#[test]
fn double_precision_equals_the_plain_step() {
    for v in [golden::OS1, golden::FULL, golden::SYM, golden::PERTURB] {
        let scene = scene(&v);
        compare(v.folder, &run::<f64>(&scene, &v, &CONFIG, 0), &reference(&scene, &v), DOUBLE);
    }
}

#[test]
fn single_precision_is_close() {
    for v in [golden::OS1, golden::FULL, golden::START0] {
        let scene = scene(&v);
        let [mut ours, mut truth] = [run::<f32>(&scene, &v, &CONFIG, 0), reference(&scene, &v)];
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

#[test]
fn local_searches_equal_the_plain_step() {
    for v in [golden::LOCAL, golden::SKIP] {
        let scene = scene(&v);
        let truth = reference(&scene, &v);
        compare("local double", &run::<f64>(&scene, &v, &CONFIG, 0), &truth, DOUBLE);
        compare("local single", &run::<f32>(&scene, &v, &CONFIG, 0), &truth, SINGLE);
    }
}

/// As the CPU's engine, with volumes of its own memory: bits that neither threads, nor batches, nor the memory of the
/// weights, nor the order of threads on the device change.
#[test]
fn nothing_but_the_block_changes_a_bit() {
    for v in [golden::FULL, golden::LOCAL] {
        let scene = scene(&v);
        let first = run::<f32>(&scene, &v, &CONFIG, 0);
        for (config, order) in [
            (Config { threads: 1, ..CONFIG }, 7),
            (Config { blocks_per_batch: 2, ..CONFIG }, 0),
            // A particle's blocks of weights do not fit, and are made in several sweeps.
            (Config { weight_bytes: 1, ..CONFIG }, 3),
            (Config { energy_bytes: 1, blocks_per_batch: 2, ..CONFIG }, 0),
        ] {
            let other = run::<f32>(&scene, &v, &config, order);
            assert_eq!(other.sums, first.sums, "{config:?}");
            assert_eq!(other.assignments, first.assignments, "{config:?}");
            assert!(other.volumes == first.volumes, "{config:?}");
        }
    }
}
