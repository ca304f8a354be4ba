//! The built-in defaults of a job. `config/job.toml` shows the same values; a test compares them.

use std::path::PathBuf;

use super::job_file::JobFile;
use super::kinds::Backend;
use super::kinds::CoarseForm;
use super::kinds::InstructionSet;
use super::kinds::JobKind;
use super::kinds::Precision;

/// Every key that has a default. `kind`, `particles`, `reference`, `out` and `diameter` have none.
pub fn defaults(kind: JobKind) -> JobFile {
    let is_classification = kind == JobKind::Class3d;
    JobFile {
        kind: None,
        particles: None,
        reference: None,
        out: None,
        mask: Some(PathBuf::new()),

        symmetry: Some("C1".to_string()),
        diameter: None,
        ini_high: Some(60.0),
        mask_edge: Some(5.0),
        zero_mask: Some(true),
        flatten_solvent: Some(true),
        trust_reference_size: Some(false),

        classes: Some(0),
        iterations: Some(if is_classification { 25 } else { 999 }),
        tau2_fudge: Some(if is_classification { 4.0 } else { 1.0 }),
        first_iteration_cc: Some(true),
        low_resolution_join: Some(40.0),
        solvent_correct_fsc: Some(false),
        norm: Some(true),
        scale: Some(true),
        gridding: Some(false),
        padding: Some(2),
        seed: Some(1),

        ctf: Some(true),
        ctf_phase_flipped: Some(false),
        ctf_intact_first_peak: Some(false),
        only_flip_phases: Some(false),

        healpix_order: Some(2),
        local_search_order: Some(4),
        oversampling: Some(1),
        offset_range_pixels: Some(5.0),
        offset_step_pixels: Some(2.0),
        sigma_offset: Some(10.0),
        sigma_angles: Some(0.0),
        skip_align: Some(false),
        perturb: Some(0.5),
        max_significant: Some(0),

        threads: Some(0),
        memory: Some("auto".to_string()),
        precision: Some(Precision::Single),
        backend: Some(Backend::Auto),
        gpu_memory: Some("auto".to_string()),
        share_gpu: Some(false),
        coarse_form: Some(CoarseForm::Auto),
        isa: Some(InstructionSet::Auto),
        block_particles: Some(64),
        blocks_per_batch: Some(0),
        dedicated_leader: Some(false),
        keep_last: Some(2),
        keep_every: Some(0),
        checkpoint_minutes: Some(10.0),
        max_hours: Some(0.0),

        parity: Some(false),
    }
}
