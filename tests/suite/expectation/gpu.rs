//! The engine on a device against the plain step: on the kernels' twin everywhere, and on the GPU where there is one.

use relion_rs::arena::Arena;
use relion_rs::arena::Layout;
use relion_rs::device::Driver;
use relion_rs::device::OnCpu;
use relion_rs::expectation::ImageSource;
use relion_rs::expectation::Scalar;
use relion_rs::expectation::Task;
use relion_rs::expectation::gpu::Config;
use relion_rs::expectation::gpu::Form;
use relion_rs::expectation::gpu::Link;
use relion_rs::expectation::gpu::count_device;
use relion_rs::expectation::gpu::count_host;
use relion_rs::expectation::gpu::expect;

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
fn step<T: Scalar>(driver: &mut dyn Driver, task: &Task<'_>, source: &dyn ImageSource, config: &Config) -> (Found, [Layout; 2]) {
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
        compare(v.folder, &run::<f32>(&scene, &v, &CONFIG, 0), &reference(&scene, &v), SINGLE);
    }
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
