//! The product engine against the plain step.

use relion_rs::arena::Arena;
use relion_rs::dataset::ImageName;
use relion_rs::error::{Error, Result};
use relion_rs::expectation::products::{self, Config};
use relion_rs::expectation::{ImageSource, Scalar, Task};
use relion_rs::formats::mrc::PixelFormat;
use relion_rs::fourier;
use relion_rs::fourier::RealFft2;
use relion_rs::imaging::mtf::Mtf;
use relion_rs::product::Isa;
use relion_rs::sampling::LocalPrior;

use super::found::{Found, engine, plain};
use super::golden::{self, Scene, Variant};

pub const CONFIG: Config = Config {
    isa: Isa::Portable,
    threads: 1,
    block_particles: 8,
    blocks_per_batch: 1,
    sum_copies: 1,
    energy_bytes: 32 << 20,
    weight_bytes: 64 << 20,
    column_bytes: 16 << 20,
    pixel_bytes: 4,
};

fn config() -> Config {
    Config { isa: Isa::detect(), ..CONFIG }
}

pub fn scene(v: &Variant) -> Scene {
    let mut scene = Scene::new(v);
    scene.options.parity = false;
    // The plain step is slow: two blocks of particles are enough.
    scene.particles.truncate(12);
    scene
}

pub fn with_local<R>(scene: &Scene, v: &Variant, work: impl FnOnce(Option<&LocalPrior<'_>>) -> R) -> R {
    let local =
        v.sigma_angle_degrees.map(|s| LocalPrior::new(&scene.orientations, &scene.group, [s; 3], false).unwrap());
    work(local.as_ref())
}

fn run<T: Scalar>(scene: &Scene, v: &Variant, config: &Config) -> Found {
    with_local(scene, v, |local| engine::<T>(&scene.task(v, local), scene, config))
}

pub fn reference(scene: &Scene, v: &Variant) -> Found {
    with_local(scene, v, |local| plain(&scene.task(v, local), &|p, out| scene.read(p, out)))
}

fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm: f64 = b.iter().map(|x| x * x).sum();
    let miss: f64 = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum();
    if norm == 0.0 { miss.sqrt() } else { (miss / norm).sqrt() }
}

/// Real and imaginary parts of a class's volume.
fn data(found: &Found, class: usize) -> Vec<f64> {
    found.volumes[class].iter().flat_map(|v| [v[0], v[1]]).collect()
}

fn v_is_correlation(name: &str) -> bool {
    name.starts_with("cc")
}

/// Compares everything an outcome holds; `tolerance` is relative, for weights absolute.
pub fn compare(name: &str, ours: &Found, truth: &Found, tolerance: f64) {
    assert!(ours.set_aside.is_empty(), "{name}: {:?}", ours.set_aside);
    let (mut worst, mut logs) = (0.0_f64, 0.0_f64);
    let mut poses = 0;
    for (a, b) in ours.assignments.iter().zip(&truth.assignments) {
        worst = worst.max((a.max_probability - b.max_probability).abs());
        logs = logs.max((a.log_likelihood - b.log_likelihood).abs());
        assert!((a.norm_correction / b.norm_correction - 1.0).abs() <= tolerance, "{name}: norm");
        let close = a.euler.matrix().angle_degrees(b.euler.matrix()) < 1e-6;
        let moved = (0..2).any(|i| (a.offset_angstrom[i] - b.offset_angstrom[i]).abs() > 1e-9);
        poses += usize::from(close && !moved && a.class == b.class);
    }
    println!("{name}: poses {poses}, Pmax {worst:.2e}, logL {logs:.2e}");
    // Poses may only differ between equally good ones.
    assert!(poses + 1 >= ours.assignments.len(), "{name}: {poses} poses agree");
    assert!(worst <= tolerance, "{name}: Pmax {worst}");
    assert!(logs <= 100.0 * tolerance, "{name}: log-likelihood {logs}");
    let (a, b) = (&ours.sums, &truth.sums);
    for k in 0..truth.volumes.len() {
        let data = relative(&data(ours, k), &data(truth, k));
        let weights = |found: &Found| -> Vec<f64> { found.volumes[k].iter().map(|v| v[2]).collect() };
        let weight = relative(&weights(ours), &weights(truth));
        let directions = relative(&a.directions[k], &b.directions[k]);
        println!("{name}: data {data:.2e}, weight {weight:.2e}, directions {directions:.2e}");
        assert!(data <= tolerance && weight <= tolerance && directions <= tolerance, "{name}");
    }
    if v_is_correlation(name) {
        // No noise, norm or scale is learned from correlations.
        return;
    }
    for (a, b) in a.noise.iter().zip(&b.noise) {
        let noise = relative(a, b);
        println!("{name}: noise {noise:.2e}");
        assert!(noise <= tolerance, "{name}: noise {a:?} {b:?}");
    }
    for (what, a, b) in [
        ("noise mass", &a.noise_mass, &b.noise_mass),
        ("xa", &a.scale_xa, &b.scale_xa),
        ("aa", &a.scale_aa, &b.scale_aa),
        ("norm", &vec![a.norm], &vec![b.norm]),
        ("offset", &vec![a.offset2_angstrom2], &vec![b.offset2_angstrom2]),
    ] {
        let miss = relative(a, b);
        assert!(miss <= tolerance, "{name}: {what} {miss:.2e} {a:?} {b:?}");
    }
}

// f64 products sum in another order than the plain step; posteriors amplify that by the size of the squared
// differences (some 1e3) and the threshold's integers cut at 2^-34.
pub const DOUBLE: f64 = 2e-7;
// Images are stored in f32 after the blur: 1e-7 of a pixel, seen by squared differences of 1e3.
const ROUNDED_IMAGES: f64 = 1e-6;
// f32: squared differences are right to about 1e-3, weights to the same.
pub const SINGLE: f64 = 3e-3;

#[test]
fn double_precision_equals_the_plain_step() {
    for v in [golden::OS1, golden::FULL, golden::SYM, golden::PERTURB] {
        let scene = scene(&v);
        compare(v.folder, &run::<f64>(&scene, &v, &config()), &reference(&scene, &v), DOUBLE);
    }
}

#[test]
fn single_precision_is_close() {
    // Without oversampling the plain step sums all samples, the engine the significant ones (0.999 of the mass).
    for v in [golden::OS1, golden::FULL, golden::SYM, golden::START0] {
        let scene = scene(&v);
        compare(v.folder, &run::<f32>(&scene, &v, &config()), &reference(&scene, &v), SINGLE);
    }
}

#[test]
fn local_searches_equal_the_plain_step() {
    let v = golden::LOCAL;
    let scene = scene(&v);
    let truth = reference(&scene, &v);
    compare("local double", &run::<f64>(&scene, &v, &config()), &truth, DOUBLE);
    compare("local single", &run::<f32>(&scene, &v, &config()), &truth, SINGLE);
}

#[test]
fn kept_poses_equal_the_plain_step() {
    let v = golden::SKIP;
    let scene = scene(&v);
    let truth = reference(&scene, &v);
    compare("skip double", &run::<f64>(&scene, &v, &config()), &truth, DOUBLE);
    compare("skip single", &run::<f32>(&scene, &v, &config()), &truth, SINGLE);
}

/// Images of two detectors, each with its own MTF that is declared, are those of one detector with the mean MTF.
#[test]
fn declared_mtfs_are_corrected() {
    let v = golden::START0;
    let mtfs = [[1.0, 0.9, 0.6], [1.0, 0.6, 0.3]]
        .map(|values| Mtf::new(&[0.0, 0.25, 0.5], &values, v.pixel_size_angstrom, false).unwrap());
    let mean = |f: f64| 0.5 * (mtfs[0].at(f) + mtfs[1].at(f));
    let blurred = |of: &dyn Fn(usize, f64) -> f64| {
        let mut scene = scene(&v);
        // Masks and shifts of whole pixels do not commute with a blur.
        scene.options.diameter_angstrom = 1000.0;
        scene.dataset.assignments.iter_mut().for_each(|a| a.offset_angstrom = [0.0; 2]);
        let groups: std::collections::BTreeMap<u32, usize> =
            scene.dataset.particles.iter().map(|p| (p.image.index, p.optics as usize)).collect();
        let n = 32;
        let plan = RealFft2::<f64>::new(n);
        let mut half = vec![num_complex::Complex::default(); plan.half_len()];
        for (index, image) in (0..).zip(scene.images.chunks_exact_mut(n * n)) {
            let mut pixels: Vec<f64> = image.iter().map(|v| f64::from(*v)).collect();
            plan.forward(&pixels, &mut half, &mut plan.scratch());
            for (i, value) in half.iter_mut().enumerate() {
                let (kx, ky) = (i % (n / 2 + 1), fourier::frequency(i / (n / 2 + 1), n));
                let frequency = (kx as f64).hypot(f64::from(ky)) / (n as f64 * v.pixel_size_angstrom);
                *value *= of(groups[&index], frequency);
            }
            plan.inverse(&mut half, &mut pixels, &mut plan.scratch());
            image.iter_mut().zip(pixels).for_each(|(v, p)| *v = p as f32);
        }
        scene
    };
    let mut two = blurred(&|group, f| mtfs[group].at(f));
    let wrong = reference(&two, &v);
    two.options.mtfs = mtfs.to_vec();
    let one = blurred(&|_, f| mean(f));
    let truth = reference(&one, &v);
    compare("two detectors", &reference(&two, &v), &truth, ROUNDED_IMAGES);
    compare("two detectors, products", &run::<f32>(&two, &v, &config()), &truth, SINGLE);
    assert!(relative(&data(&wrong, 0), &data(&truth, 0)) > 0.01, "the blur matters");
}

/// Another image for the reconstruction changes the sums of the map, and nothing else.
#[test]
fn reconstruct_images_replace_the_unmasked_ones() {
    let v = golden::FULL;
    let mut scene = scene(&v);
    let before = run::<f64>(&scene, &v, &config());
    // Twice the image gives twice the sums.
    let count = (scene.images.len() / (32 * 32)) as u32;
    let doubled: Vec<f32> = scene.images.iter().map(|pixel| 2.0 * pixel).collect();
    scene.images.extend(doubled);
    for particle in &mut scene.dataset.particles {
        particle.reconstruct_image = Some(ImageName { index: count + particle.image.index, ..particle.image });
    }
    assert_eq!(run::<f64>(&scene, &v, &config()).sums, before.sums, "not asked for");
    let task = Task { reconstruct_images: true, ..scene.task(&v, None) };
    let run = |config: Config| engine::<f64>(&task, &scene, &config);
    let replaced = run(config());
    let truth = plain(&task, &|image, out| scene.read(image, out));
    compare("replaced images", &replaced, &truth, DOUBLE);
    assert_eq!(replaced.assignments, before.assignments);
    assert_eq!(replaced.sums.noise, before.sums.noise);
    let (ours, before) = (&replaced.volumes[0], &before.volumes[0]);
    assert!(ours.iter().zip(before).all(|(a, b)| a[2] == b[2]), "weights");
    let norm = |re: f64, im: f64| re.hypot(im);
    let largest = before.iter().map(|v| norm(v[0], v[1])).fold(0.0, f64::max);
    let off = ours.iter().zip(before).map(|(a, b)| norm(a[0] - 2.0 * b[0], a[1] - 2.0 * b[1])).fold(0.0, f64::max);
    // Sums are integers, of a unit far below their noise.
    assert!(off < 1e-6 * largest, "{off} of {largest}");
    let in_two = run(Config { threads: 2, blocks_per_batch: 2, ..config() });
    assert_eq!(in_two.sums, replaced.sums);
    assert!(in_two.volumes == replaced.volumes);
}

/// A block whose particles all have the same pose, no CTF and so the largest weights there are: its sums still fit.
#[test]
fn a_block_in_one_pose_fits_into_the_sums() {
    let v = golden::SKIP;
    let mut scene = scene(&v);
    scene.options.ctf = None;
    scene.options.scale_correction = false;
    scene.particles = vec![3; 64];
    let truth = reference(&scene, &v);
    let ours = run::<f64>(&scene, &v, &Config { block_particles: 64, ..config() });
    compare("one pose", &ours, &truth, DOUBLE);
}

/// Images of which one cannot be read.
struct Torn<'a>(&'a Scene);

impl ImageSource for Torn<'_> {
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()> {
        if let Some(image) = wanted.iter().find(|image| image.index == 11) {
            return Err(Error::bad_data(self.0.dataset.image_name(*image), "torn", "Mend it."));
        }
        ImageSource::read(self.0, wanted, stride, request, out)
    }

    fn format(&self, image: ImageName) -> PixelFormat {
        self.0.format(image)
    }

    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]) {
        self.0.decode(image, place, out);
    }
}

#[test]
fn an_error_of_either_side_ends_the_step() {
    let v = golden::FULL;
    let scene = Scene::new(&v);
    let config = Config { block_particles: 2, threads: 2, ..config() };
    let run = |source: &dyn ImageSource, task: &Task<'_>| {
        let mut arena = Arena::reserve(1 << 30).unwrap();
        arena
            .run(|frame| {
                let mut sums = products::sums(frame, task.model.classes.len(), task.geometry().rows.len())?;
                products::expect::<f32>(task, source, &config, &mut sums, frame)
            })
            .unwrap_err()
    };
    let error = run(&Torn(&scene), &scene.task(&v, None));
    assert!(error.place.contains("image 12") && error.problem == "torn", "{error}");
    // The usual spread is claimed to be tiny: computing stops, and with it the reader.
    let usual = [1e-6; 2];
    let error = run(&scene, &Task { usual_spread: [&usual, &[]], ..scene.task(&v, None) });
    assert!(error.problem.contains("pixels spread"), "{error}");
}

#[test]
fn cross_correlation_equals_the_plain_step() {
    for v in [golden::CC1, golden::CC] {
        let scene = scene(&v);
        compare(v.folder, &run::<f64>(&scene, &v, &config()), &reference(&scene, &v), DOUBLE);
    }
}

/// Everything that must not change a bit: threads, blocks in a batch, copies, memory for weights, columns, energies.
#[test]
fn the_same_bits_whatever_happens() {
    for v in [golden::FULL, golden::LOCAL] {
        let scene = scene(&v);
        let plain = run::<f32>(&scene, &v, &config());
        let same = |name: &str, config: Config| {
            let other = run::<f32>(&scene, &v, &config);
            assert_eq!(other.assignments, plain.assignments, "{name}");
            assert_eq!(other.sums, plain.sums, "{name}");
            assert!(other.volumes == plain.volumes, "{name}");
        };
        same("2 threads", Config { threads: 2, ..config() });
        same("3 threads, 2 copies", Config { threads: 3, sum_copies: 2, ..config() });
        same("2 blocks", Config { blocks_per_batch: 2, ..config() });
        same("7 blocks", Config { blocks_per_batch: 7, ..config() });
        same("1/100 of the weights", Config { weight_bytes: 0, ..config() });
        same(
            "1/100 of the weights, 7 blocks, 2 threads",
            Config { weight_bytes: 0, blocks_per_batch: 7, threads: 2, ..config() },
        );
        same("no kept columns", Config { column_bytes: 0, ..config() });
        same("few kept columns", Config { column_bytes: 100_000, ..config() });
        same("one particle a search", Config { energy_bytes: 0, ..config() });
        for isa in ["avx2", "portable"].iter().filter_map(|name| Isa::from_name(name).ok()) {
            same(isa.name(), Config { isa, ..config() });
        }
    }
}

/// The counting arena runs the same allocations: every place and the peak.
#[test]
fn the_layout_is_known_before_the_run() {
    for v in [golden::FULL, golden::LOCAL, golden::CC1] {
        let scene = scene(&v);
        let tight = Config { threads: 3, sum_copies: 2, column_bytes: 100_000, weight_bytes: 0, ..config() };
        for config in [config(), Config { threads: 2, blocks_per_batch: 2, ..config() }, tight] {
            with_local(&scene, &v, |local| {
                let task = scene.task(&v, local);
                let voxels = task.geometry().rows.len();
                let classes = task.model.classes.len();
                let mut counting = Arena::counting();
                counting
                    .run(|frame| {
                        products::sums(frame, classes, voxels)?;
                        products::count::<f32>(&task, &config, frame)
                    })
                    .unwrap();
                let counted = counting.layout();
                // Not a byte more than planned is needed.
                let mut arena = Arena::reserve(counted.peak).unwrap();
                arena
                    .run(|frame| {
                        let mut sums = products::sums(frame, classes, voxels)?;
                        products::expect::<f32>(&task, &scene, &config, &mut sums, frame)
                    })
                    .unwrap();
                assert!(counted.most.len() > 30, "{}: {} allocations", v.folder, counted.most.len());
                assert_eq!(arena.layout(), counted, "{}", v.folder);
            });
        }
    }
}
