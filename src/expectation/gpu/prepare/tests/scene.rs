//! A few particles made here, and what both engines make of them.

use half::f16;

use crate::dataset::Assignment;
use crate::dataset::CtfParameters;
use crate::dataset::Dataset;
use crate::dataset::ImageName;
use crate::dataset::OpticsGroup;
use crate::dataset::Particle;
use crate::error::Result;
use crate::expectation::ImageSource;
use crate::expectation::task::Comparison;
use crate::expectation::task::Options;
use crate::expectation::task::Task;
use crate::formats::mrc::ByteOrder;
use crate::formats::mrc::Mode;
use crate::formats::mrc::PixelFormat;
use crate::formats::star::StarFile;
use crate::imaging::CtfOptions;
use crate::imaging::random::Stream;
use crate::model::ClassModel;
use crate::model::GroupModel;
use crate::model::HalfModel;
use crate::model::PriorMode;
use crate::model::SamplingState;
use crate::model::Volume;
use crate::rotation::Euler;
use crate::rotation::PointGroup;
use crate::sampling::Orientations;
use crate::sampling::Search;
use crate::sampling::Translations;

const PIXEL_ANGSTROM: f64 = 2.5;
pub const PARTICLES: usize = 7;

/// Particles with what differs from test to test.
pub struct Scene {
    pub dataset: Dataset,
    pub model: HalfModel,
    pub options: Options,
    pub orientations: Orientations,
    pub translations: Translations,
    pub particles: Vec<u32>,
    pub comparison: Comparison,
    pub reconstruct_images: bool,
    pub current_size: usize,
    pub usual_spread: Vec<f64>,
    pub format: PixelFormat,
    /// Pixels of every image: those of the particles, then those that replace them.
    pub images: Vec<Vec<f32>>,
}

impl Scene {
    /// Noise with a blob off the centre, in boxes of an edge; CTFs, offsets, norms and scales that differ.
    pub fn new(edge: usize) -> Self {
        let mut stream = Stream::new(5, 1, edge as u64);
        let image = |which: usize, stream: &mut Stream| -> Vec<f32> {
            let centre = [0.47, 0.55].map(|c| c * edge as f64 + which as f64 / 3.0);
            let blob = |i: usize| {
                let (x, y) = ((i % edge) as f64 - centre[0], (i / edge) as f64 - centre[1]);
                6.0 * (-(x * x + 2.0 * y * y) / (0.02 * (edge * edge) as f64)).exp()
            };
            (0..edge * edge).map(|i| (4.0 + blob(i) + 2.0 * stream.gaussian()) as f32).collect()
        };
        let images = (0..2 * PARTICLES).map(|which| image(which, &mut stream)).collect();
        let mut draw = |low: f64, high: f64| low + (high - low) * stream.uniform();
        let particles: Vec<Particle> = (0..PARTICLES as u32)
            .map(|index| Particle {
                image: ImageName { stack: 0, index },
                reconstruct_image: Some(ImageName { stack: 1, index }),
                optics: 0,
                group: index % 2,
                half: 1,
                ctf: CtfParameters {
                    defocus_u_angstrom: draw(9000.0, 20000.0),
                    defocus_v_angstrom: draw(9000.0, 20000.0),
                    defocus_angle_degrees: draw(0.0, 180.0),
                    phase_shift_degrees: if index == 3 { 90.0 } else { 0.0 },
                    b_factor_angstrom2: if index % 3 == 1 { 40.0 } else { 0.0 },
                    scale: if index == 4 { 0.8 } else { 1.0 },
                },
                angle_priors_degrees: [None; 3],
                offset_priors_angstrom: [None; 2],
                row: index,
            })
            .collect();
        let assignments = (0..PARTICLES)
            .map(|p| Assignment {
                euler: Euler { rot: 0.0, tilt: 0.0, psi: 0.0 },
                // The last one is moved out of its box.
                offset_angstrom: if p + 1 == PARTICLES {
                    [edge as f64 * PIXEL_ANGSTROM * 0.9, -4.0]
                } else {
                    [draw(-12.0, 12.0), draw(-12.0, 12.0)]
                },
                class: 1,
                norm_correction: draw(0.7, 1.4),
                log_likelihood: 0.0,
                max_probability: 0.0,
                significant_samples: 0,
            })
            .collect();
        let sampling = SamplingState {
            healpix_order: 0,
            psi_step_degrees: 60.0,
            offset_range_angstrom: 5.0,
            offset_step_angstrom: 2.5,
            oversampling: 1,
            perturbation: 0.2,
            perturbation_factor: 0.5,
            prior: PriorMode::Global,
            original_healpix_order: 0,
            original_psi_step_degrees: 0.0,
            original_offset_range_angstrom: 0.0,
            original_offset_step_angstrom: 0.0,
        };
        let group = PointGroup::parse("C1").expect("a point group");
        let groups = ["a", "b"].map(str::to_owned).to_vec();
        Self {
            dataset: Dataset {
                optics: vec![OpticsGroup::ordinary(PIXEL_ANGSTROM, edge)],
                particles,
                assignments,
                stacks: vec!["particles.mrcs".to_owned(), "replacements.mrcs".to_owned()],
                stack_files: Vec::new(),
                groups: groups.clone(),
                tables: StarFile::new(Vec::new()),
            },
            model: model(edge, groups),
            options: Options {
                diameter_angstrom: 0.7 * edge as f64 * PIXEL_ANGSTROM,
                mask_edge_pixels: 5.0,
                zero_mask: true,
                ctf: Some(CtfOptions::default()),
                mtfs: Vec::new(),
                norm_correction: true,
                scale_correction: true,
                adaptive_fraction: 0.999,
                max_significant: None,
                padding: 2.0,
                seed: 11,
                parity: false,
            },
            orientations: Orientations::new(&sampling, &group, None, false).expect("a grid"),
            translations: Translations::new(&sampling).expect("a grid"),
            particles: (0..PARTICLES as u32).collect(),
            comparison: Comparison::Likelihood,
            reconstruct_images: false,
            current_size: edge * 3 / 4 / 2 * 2,
            usual_spread: Vec::new(),
            format: PixelFormat { mode: Mode::Float32, byte_order: ByteOrder::Little },
            images,
        }
    }

    pub fn task(&self) -> Task<'_> {
        Task {
            dataset: &self.dataset,
            particles: &self.particles,
            assignments: &self.dataset.assignments,
            model: &self.model,
            orientations: &self.orientations,
            translations: &self.translations,
            search: Search::Everywhere,
            longest_list: 0,
            options: &self.options,
            comparison: self.comparison,
            current_size: self.current_size,
            coarse_size: self.current_size / 2,
            reconstruct_images: self.reconstruct_images,
            usual_spread: [&self.usual_spread; 2],
            only_class: None,
            iteration: 3,
        }
    }

    /// Bytes of an image in the type of its file.
    pub fn stored(&self, image: ImageName) -> Vec<u8> {
        let pixels = &self.images[image.stack as usize * PARTICLES + image.index as usize];
        let ordered = |mut bytes: Vec<u8>| {
            if self.format.byte_order == ByteOrder::Big {
                bytes.reverse();
            }
            bytes
        };
        let stored = |v: &f32| match self.format.mode {
            Mode::Int8 => vec![*v as i8 as u8],
            Mode::Int16 => ordered(((20.0 * v) as i16).to_le_bytes().to_vec()),
            Mode::Uint16 => ordered(((100.0 + 20.0 * v) as u16).to_le_bytes().to_vec()),
            Mode::Float16 => ordered(f16::from_f32(*v).to_le_bytes().to_vec()),
            Mode::Float32 => ordered(v.to_le_bytes().to_vec()),
        };
        pixels.iter().flat_map(stored).collect()
    }

    pub fn image_bytes(&self) -> usize {
        self.images[0].len() * self.format.mode.bytes()
    }
}

fn model(edge: usize, groups: Vec<String>) -> HalfModel {
    let zeros = vec![0.0; edge / 2 + 1];
    let class = ClassModel {
        map: Volume::zeros(edge, PIXEL_ANGSTROM),
        share: 1.0,
        directions: Vec::new(),
        tau2: zeros.clone(),
        sigma2: zeros.clone(),
        ssnr: zeros.clone(),
        fsc: zeros.clone(),
        coverage: zeros,
        orientability: Vec::new(),
        accuracy_degrees: 999.0,
        accuracy_angstrom: 999.0,
    };
    let noise = (0..=edge / 2).map(|s| 2.0 / (edge * edge) as f64 * (1.0 + 5.0 / (1 + s) as f64)).collect();
    let scales = [0.9, 1.2];
    let groups = groups.into_iter().zip(scales).map(|(name, scale)| GroupModel { name, particle_count: 3, scale });
    HalfModel {
        classes: vec![class],
        noise: vec![noise],
        groups: groups.collect(),
        average_norm: 1.1,
        sigma_offset_angstrom: 10.0,
        log_likelihood: 0.0,
        average_max_probability: 0.0,
    }
}

impl ImageSource for Scene {
    fn read(&self, wanted: &[ImageName], stride: usize, _: &mut [u8], out: &mut [u8]) -> Result<()> {
        for (image, place) in wanted.iter().zip(out.chunks_exact_mut(stride)) {
            let bytes = self.stored(*image);
            place[..bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn format(&self, _: ImageName) -> PixelFormat {
        self.format
    }

    fn decode(&self, _: ImageName, place: &[u8], out: &mut [f32]) {
        self.format.decode(&place[..self.image_bytes()], out);
    }
}
