//! Squared differences in single precision against double, in both passes, on whole images.

use std::path::Path;

use relion_rs::arena::Arena;
use relion_rs::dataset::{Dataset, ImageName, OpticsGroup, ReadOptions};
use relion_rs::error::Result;
use relion_rs::expectation::products::{self, Pass, Terms};
use relion_rs::expectation::{Comparison, ImageSource, Options, Scalar, Task};
use relion_rs::formats::mrc::{self, ByteOrder, Mode, PixelFormat, Stack};
use relion_rs::fourier;
use relion_rs::imaging::CtfOptions;
use relion_rs::imaging::mask::CircularMask;
use relion_rs::maximisation::initial::InitialNoise;
use relion_rs::model::{ClassModel, GroupModel, HalfModel, PriorMode, SamplingState, Volume};
use relion_rs::product::Isa;
use relion_rs::rotation::PointGroup;
use relion_rs::sampling::{LocalPrior, Orientations, Search, Translations};
use relion_rs::simulate::{self, Draw, Noise, Truth};

/// A squared difference is two terms that grow with the signal and cancel. f32 keeps 6e-8 of a value; sums over a few
/// thousand pixels in sixteen chains lose about ten times that.
const ABSOLUTE: f64 = 1e-3;
const OF_TERMS: f64 = 2e-6;

/// What a squared difference needs.
struct Scene {
    dataset: Dataset,
    images: Vec<f32>,
    model: HalfModel,
    options: Options,
    particles: Vec<u32>,
}

impl ImageSource for Scene {
    fn read(&self, wanted: &[ImageName], stride: usize, _: &mut [u8], out: &mut [u8]) -> Result<()> {
        let pixels = self.model.classes[0].map.box_pixels.pow(2);
        for (image, place) in wanted.iter().zip(out.chunks_exact_mut(stride)) {
            let values = &self.images[image.index as usize * pixels..][..pixels];
            for (value, bytes) in values.iter().zip(place.as_chunks_mut::<4>().0) {
                *bytes = value.to_le_bytes();
            }
        }
        Ok(())
    }

    fn format(&self, _: ImageName) -> PixelFormat {
        PixelFormat { mode: Mode::Float32, byte_order: ByteOrder::Little }
    }

    fn decode(&self, _: ImageName, place: &[u8], out: &mut [f32]) {
        for (pixel, bytes) in out.iter_mut().zip(place.as_chunks::<4>().0) {
            *pixel = f32::from_le_bytes(*bytes);
        }
    }
}

impl Scene {
    /// Particles of one stack, compared with a map of their box.
    fn new(star: &Path, map: &Path, diameter_angstrom: f64) -> Self {
        let dataset = Dataset::read(star, &ReadOptions::default()).unwrap();
        let stack = Stack::open(&dataset.stack_files[0]).unwrap();
        let n = stack.nx;
        let mut images = vec![0.0; stack.count * n * n];
        stack.read(&(0..stack.count as u32).collect::<Vec<_>>(), &mut images).unwrap();
        let pixel = dataset.optics[0].pixel_size_angstrom;
        let mask = CircularMask::<f64>::new(n, diameter_angstrom / (2.0 * pixel), 5.0);
        let mut noise = InitialNoise::new(n, 1);
        for image in images.chunks_exact(n * n) {
            let mut image: Vec<f64> = image.iter().map(|v| f64::from(*v)).collect();
            mask.fill_with_mean(&mut image);
            noise.add(0, &image);
        }
        let zeros = vec![0.0; n / 2 + 1];
        let map = mrc::read_map(map).unwrap();
        let class = ClassModel {
            map: Volume { box_pixels: n, pixel_size_angstrom: pixel, data: map.data },
            share: 1.0,
            directions: vec![],
            tau2: zeros.clone(),
            sigma2: zeros.clone(),
            ssnr: zeros.clone(),
            fsc: zeros.clone(),
            coverage: zeros,
            orientability: vec![],
            accuracy_degrees: 999.0,
            accuracy_angstrom: 999.0,
        };
        let groups = dataset.groups.iter().map(|name| GroupModel { name: name.clone(), particle_count: 1, scale: 1.0 });
        let model = HalfModel {
            classes: vec![class],
            noise: noise.finish(),
            groups: groups.collect(),
            average_norm: 1.0,
            sigma_offset_angstrom: 10.0,
            log_likelihood: 0.0,
            average_max_probability: 0.0,
        };
        let options = Options {
            diameter_angstrom,
            mask_edge_pixels: 5.0,
            zero_mask: true,
            mtfs: Vec::new(),
            ctf: Some(CtfOptions::default()),
            norm_correction: true,
            scale_correction: true,
            adaptive_fraction: 0.999,
            max_significant: None,
            padding: 2.0,
            seed: 1,
            parity: false,
        };
        let particles = (0..dataset.particles.len() as u32).collect();
        Self { dataset, images, model, options, particles }
    }

    /// Simulated particles of the protein in the repository, its map brought to another box.
    fn simulated(folder: &Path, box_pixels: usize, count: usize, signal_to_noise: f64) -> Self {
        let source =
            mrc::read_map(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/beta_galactosidase.mrc")).unwrap();
        let pixel = source.pixel_size_angstrom * source.nx as f64 / box_pixels as f64;
        let data = fourier::resize_volume(&source.data, source.nx, box_pixels);
        let map = Volume { box_pixels, pixel_size_angstrom: pixel, data };
        let optics = OpticsGroup::ordinary(pixel, box_pixels);
        let draw = Draw {
            count,
            seed: 3,
            optics: vec![optics],
            micrographs: 2,
            gains: vec![],
            defocus_angstrom: [8000.0, 20000.0],
            astigmatism_angstrom: 500.0,
            offset_sigma_angstrom: 5.0,
        };
        let truth = Truth::draw(&draw).unwrap();
        let options = simulate::Options { noise: Noise::White { signal_to_noise }, ..Default::default() };
        simulate::simulate(&map, &truth, &options, folder, &mut |_, _| {}).unwrap();
        Self::new(&folder.join("truth.star"), &folder.join("truth.mrc"), 200.0)
    }

    /// Compares single with double precision at some poses, the particle's own neighbours among them when `local`.
    fn check(&mut self, name: &str, healpix_order: u32, local: bool, coarse_size: usize, count: usize) {
        let pixel = self.model.classes[0].map.pixel_size_angstrom;
        let sampling = SamplingState {
            healpix_order,
            psi_step_degrees: 60.0 / f64::from(1 << healpix_order),
            offset_range_angstrom: 3.0 * pixel,
            offset_step_angstrom: 2.0 * pixel,
            oversampling: 1,
            perturbation: 0.2,
            perturbation_factor: 0.5,
            prior: PriorMode::Global,
            original_healpix_order: healpix_order,
            original_psi_step_degrees: 0.0,
            original_offset_range_angstrom: 0.0,
            original_offset_step_angstrom: 0.0,
        };
        let group = PointGroup::parse("C1").unwrap();
        let orientations = Orientations::new(&sampling, &group, None, false).unwrap();
        let translations = Translations::new(&sampling).unwrap();
        self.model.classes[0].directions =
            vec![1.0 / orientations.direction_count() as f64; orientations.direction_count()];
        let prior = LocalPrior::new(&orientations, &group, [2.0 * sampling.fine_angular_step_degrees(); 3], false);
        let prior = prior.unwrap();
        let scene = &*self;
        let task = Task {
            dataset: &scene.dataset,
            particles: &scene.particles,
            assignments: &scene.dataset.assignments,
            model: &scene.model,
            orientations: &orientations,
            translations: &translations,
            search: if local { Search::Near(&prior) } else { Search::Everywhere },
            longest_list: if local { 4096 } else { 0 },
            options: &scene.options,
            comparison: Comparison::Likelihood,
            current_size: scene.model.classes[0].map.box_pixels,
            coarse_size,
            reconstruct_images: false,
            usual_spread: [&[]; 2],
            only_class: None,
            iteration: 1,
        };
        let step = scene.particles.len() / count.min(scene.particles.len());
        for pass in [Pass::Coarse, Pass::Fine] {
            let (mut samples, mut worst, mut largest) = (0, 0.0_f64, 0.0_f64);
            let wanted: Vec<(usize, Vec<u32>)> = (0..scene.particles.len())
                .step_by(step)
                .take(count)
                .map(|position| {
                    let mut list = Vec::new();
                    prior.near(scene.dataset.assignments[scene.particles[position] as usize].euler, &mut list);
                    let near = list.iter().map(|(pose, _)| *pose).take(if local { 24 } else { 4 });
                    (position, near.chain((0..8).map(|i| (i * orientations.count() / 8) as u32)).collect())
                })
                .collect();
            let (single, double) = (run::<f32>(scene, &task, &wanted, pass), run::<f64>(scene, &task, &wanted, pass));
            assert_eq!(single.len(), double.len());
            for (s, d) in single.iter().zip(&double) {
                let error = ((s.square - s.product) - (d.square - d.product)).abs();
                let allowed = ABSOLUTE + OF_TERMS * (d.square.abs() + d.product.abs());
                assert!(error <= allowed, "{name}, {pass:?}: {error} of {d:?}");
                worst = worst.max(error / allowed);
                largest = largest.max(d.square);
                samples += 1;
            }
            println!("{name}, {pass:?}: {samples} samples, terms up to {largest:.0}, {worst:.3} of the tolerance");
            assert!(samples > 100 && largest > 0.0);
        }
    }
}

fn run<T: Scalar>(scene: &Scene, task: &Task<'_>, wanted: &[(usize, Vec<u32>)], pass: Pass) -> Vec<Terms> {
    let mut arena = Arena::reserve(8 << 30).unwrap();
    arena.run(|frame| products::terms::<T>(task, scene, Isa::detect(), wanted, pass, frame)).unwrap()
}

#[test]
fn noisy_images_of_64_pixels() {
    let folder = tempfile::tempdir().unwrap();
    Scene::simulated(folder.path(), 64, 40, 0.05).check("64 px", 2, false, 28, 8);
}

#[test]
fn local_searches() {
    let folder = tempfile::tempdir().unwrap();
    Scene::simulated(folder.path(), 64, 40, 0.05).check("local search", 4, true, 64, 8);
}

#[test]
fn strong_signal_in_256_pixels() {
    let folder = tempfile::tempdir().unwrap();
    Scene::simulated(folder.path(), 256, 2, 5.0).check("256 px", 2, false, 90, 2);
}

/// The benchmark that docs/benchmarks.md calls 1,000 simulated particles, against its start and against the truth.
#[test]
#[ignore = "needs RELION_RS_DATA"]
fn benchmark_a() {
    let folder = std::path::PathBuf::from(std::env::var_os("RELION_RS_DATA").expect("RELION_RS_DATA names the data"));
    let folder = folder.join("bench_a");
    for map in ["ref64_lp40.mrc", "truth_64.mrc"] {
        let mut scene = Scene::new(&folder.join("A_truth.star"), &folder.join(map), 208.0);
        scene.check(&format!("benchmark A, {map}"), 2, false, 28, 40);
        scene.check(&format!("benchmark A, {map}, local"), 4, true, 64, 40);
    }
}
