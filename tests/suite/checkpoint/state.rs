//! States with numbers that differ everywhere, the same ones every time.

use relion_rs::checkpoint::Identity;
use relion_rs::checkpoint::InputFile;
use relion_rs::checkpoint::Origin;
use relion_rs::dataset::Assignment;
use relion_rs::model::ClassModel;
use relion_rs::model::Convergence;
use relion_rs::model::GroupModel;
use relion_rs::model::HalfModel;
use relion_rs::model::PriorMode;
use relion_rs::model::SamplingState;
use relion_rs::model::Sizes;
use relion_rs::model::State;
use relion_rs::model::Volume;
use relion_rs::rotation::Euler;

/// A small generator (splitmix64): numbers that differ everywhere.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In [-1, 1), all bits of the mantissa in use.
    pub fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn floats(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.float()).collect()
    }

    fn small(&mut self) -> u32 {
        (self.next() % 1000) as u32
    }
}

fn class(n: &mut Numbers, box_pixels: usize) -> ClassModel {
    let shells = box_pixels / 2 + 1;
    ClassModel {
        map: Volume {
            box_pixels,
            pixel_size_angstrom: 1.0 + n.float() / 3.0,
            data: (0..box_pixels.pow(3)).map(|_| n.float() as f32).collect(),
        },
        share: n.float(),
        directions: n.floats(192),
        tau2: n.floats(shells),
        sigma2: n.floats(shells),
        ssnr: n.floats(shells),
        fsc: n.floats(shells),
        coverage: n.floats(shells),
        orientability: Vec::new(),
        accuracy_degrees: n.float(),
        accuracy_angstrom: 999.0,
    }
}

fn half(n: &mut Numbers, box_pixels: usize, classes: usize, groups: usize) -> HalfModel {
    HalfModel {
        classes: (0..classes).map(|_| class(n, box_pixels)).collect(),
        noise: (0..2).map(|_| n.floats(box_pixels / 2 + 1)).collect(),
        groups: (0..groups)
            .map(|i| GroupModel {
                name: format!("mic rographs/é_{i}.mrc"),
                particle_count: n.small() as usize,
                scale: n.float(),
            })
            .collect(),
        average_norm: n.float(),
        sigma_offset_angstrom: n.float(),
        log_likelihood: n.float() * 1e9,
        average_max_probability: n.float(),
    }
}

pub fn state(halves: usize, classes: usize, particles: usize, box_pixels: usize) -> State {
    let n = &mut Numbers(7);
    let assignments = (0..particles)
        .map(|_| Assignment {
            euler: Euler { rot: n.float() * 180.0, tilt: n.float() * 180.0, psi: n.float() * 180.0 },
            offset_angstrom: [n.float(), n.float()],
            class: n.small(),
            norm_correction: n.float(),
            log_likelihood: n.float() * 1e6,
            max_probability: n.float(),
            significant_samples: n.small(),
        })
        .collect();
    State {
        iteration: 12,
        halves: (0..halves).map(|_| half(n, box_pixels, classes, 5)).collect(),
        assignments,
        half_of: (0..particles).map(|i| (i % 2) as u8 + 1).collect(),
        sampling: SamplingState {
            healpix_order: 4,
            psi_step_degrees: 3.75,
            offset_range_angstrom: n.float(),
            offset_step_angstrom: n.float(),
            oversampling: 1,
            perturbation: n.float(),
            perturbation_factor: 0.5,
            prior: PriorMode::Local { sigma_degrees: [n.float(), n.float(), n.float()] },
            original_healpix_order: 2,
            original_psi_step_degrees: n.float(),
            original_offset_range_angstrom: n.float(),
            original_offset_step_angstrom: n.float(),
        },
        sizes: Sizes {
            current_resolution_per_angstrom: n.float(),
            best_resolution_per_angstrom: n.float(),
            current_size: 28,
            coarse_size: 18,
            increment: 10,
            has_high_fsc_at_limit: true,
        },
        convergence: Convergence {
            iterations_without_resolution_gain: 1,
            iterations_without_large_changes: 2,
            change_degrees: n.float(),
            change_angstrom: n.float(),
            change_classes: n.float(),
            smallest_change_degrees: 999.0,
            smallest_change_angstrom: f64::INFINITY,
            smallest_change_classes: n.float(),
            accuracy_degrees: n.float(),
            accuracy_angstrom: n.float(),
            has_fine_enough_sampling: false,
            has_converged: true,
        },
    }
}

pub fn origin() -> Origin {
    Origin {
        identity: Identity {
            program_version: "0.1.0".into(),
            precision: "single".into(),
            block_particles: 64,
            instruction_set: "avx512".into(),
            backend: "cpu".into(),
            device: String::new(),
        },
        plan_digest: "00ff".into(),
        inputs: vec![InputFile { role: "particles".into(), path: "p.star".into(), bytes: 17, digest: "ab".into() }],
    }
}
