//! RELION's files of a run.

use std::path::Component;
use std::path::PathBuf;

use crate::error::Result;
use crate::model::State;
use crate::outputs;
use crate::outputs::Header;
use crate::outputs::Moment;
use crate::outputs::Names;
use crate::outputs::Snapshot;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::plan::RunDir;
use crate::sampling::Orientations;

use super::ADAPTIVE_FRACTION;
use super::inputs::Inputs;
use super::maximise::Finale;

/// Micrograph groups up to which noise tables for RELION 3.1 are written.
const MOST_GROUP_TABLES: usize = 100;

/// Writes the files of a run.
pub struct Files<'a> {
    plan: &'a Plan,
    names: Names,
}

impl<'a> Files<'a> {
    pub fn new(run_dir: &RunDir, plan: &'a Plan) -> Self {
        Self { plan, names: Names::new(run_dir.root(), &mentioned_root(plan)) }
    }

    /// All output files of an iteration.
    pub fn iteration(&self, inputs: &Inputs, state: &State, grid: &Orientations, used_size: usize) -> Result<()> {
        let snapshot = Snapshot { state, moment: Moment::Iteration(state.iteration), used_size };
        self.write(inputs, &snapshot, grid)
    }

    /// The final files of a refinement: all particles together, and the unregularised half maps.
    pub fn finale(
        &self,
        inputs: &Inputs,
        state: &State,
        finale: &Finale,
        grid: &Orientations,
        used_size: usize,
    ) -> Result<()> {
        for (half, map) in finale.unfiltered.iter().enumerate() {
            outputs::write_unfiltered_map(&self.names, Moment::Final, half + 1, 1, map)?;
        }
        // Not `..state.clone()`: that would copy the maps of both halves.
        let joined = State {
            iteration: state.iteration,
            halves: vec![state.halves[0].clone()],
            assignments: state.assignments.clone(),
            half_of: state.half_of.clone(),
            sampling: state.sampling,
            sizes: state.sizes,
            convergence: state.convergence,
        };
        self.write(inputs, &Snapshot { state: &joined, moment: Moment::Final, used_size }, grid)
    }

    fn write(&self, inputs: &Inputs, snapshot: &Snapshot<'_>, grid: &Orientations) -> Result<()> {
        let directions: Vec<[f64; 2]> = grid.directions().iter().map(|d| [d.rot_degrees, d.tilt_degrees]).collect();
        outputs::write_iteration(
            &self.names,
            &Self::header(self.plan, inputs),
            snapshot,
            &inputs.dataset,
            &directions,
        )?;
        Ok(())
    }

    /// What all files of a run say about it.
    pub fn header(plan: &Plan, inputs: &Inputs) -> Header {
        let dataset = &inputs.dataset;
        let group_optics = (dataset.groups.len() <= MOST_GROUP_TABLES).then(|| {
            (0..dataset.groups.len())
                .map(|g| dataset.particles.iter().find(|p| p.group as usize == g).map_or(0, |p| p.optics as usize))
                .collect()
        });
        Header {
            box_pixels: inputs.box_pixels(),
            pixel_size_angstrom: inputs.pixel_size_angstrom(),
            symmetry: plan.symmetry.clone(),
            particle_diameter_angstrom: plan.diameter_angstrom,
            mask_edge_pixels: plan.mask_edge_pixels.round() as usize,
            padding: plan.padding as f64,
            tau2_fudge: plan.tau2_fudge,
            tau2_fudge_given: Some(plan.tau2_fudge),
            iterations: plan.iterations,
            auto_refine: plan.kind == JobKind::Refine3d,
            join_halves_angstrom: plan.low_resolution_join_angstrom,
            adaptive_fraction: ADAPTIVE_FRACTION,
            seed: plan.seed,
            zero_mask: plan.zero_mask,
            flatten_solvent: plan.flatten_solvent,
            solvent_corrected_fsc: plan.solvent_correct_fsc,
            solvent_mask: plan.mask.as_ref().map(|m| m.display().to_string()),
            solvent_mask2: None,
            largest_coarse_size: None,
            high_resolution_limit_angstrom: None,
            low_resolution_limit_angstrom: None,
            local_search_order: plan.local_search_order,
            skip_align: plan.skip_align,
            correct_norm: plan.norm,
            correct_scale: inputs.options.scale_correction,
            correct_ctf: plan.ctf,
            ctf_intact_first_peak: plan.ctf_intact_first_peak,
            fix_noise: false,
            fix_offset_sigma: false,
            pool: 3,
            group_optics,
        }
    }
}

/// The root of the names inside files: from the folder in which the command was typed, as RELION wants to be started
/// there. A run folder elsewhere is left out, because files hold no absolute path.
fn mentioned_root(plan: &Plan) -> String {
    let out = plan.out.strip_prefix(&plan.working_directory).unwrap_or(&plan.out);
    let parts = out.components().filter(|part| !matches!(part, Component::CurDir));
    let folder: PathBuf = if out.is_absolute() { PathBuf::new() } else { parts.collect() };
    folder.join(RunDir::OUTPUT_PREFIX).display().to_string()
}
