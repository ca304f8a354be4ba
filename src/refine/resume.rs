//! Whether a run may go on from a checkpoint.

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::model::State;
use crate::plan::JobKind;
use crate::plan::Plan;

use super::inputs::Inputs;
use super::inputs::ORDER;

/// What the user allows and demands when a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Go on although inputs have changed, and from before what a newer program did.
    pub force: bool,
    /// Refuse another numerical identity instead of telling about it.
    pub exact: bool,
}

/// Checks a checkpoint against the inputs and the plan; a sentence for everything that is to be told.
///
/// # Errors
/// `BadData` for changed inputs (unless forced) and for a state that cannot belong to them; `Usage` for another
/// identity when the same is demanded.
pub fn check(
    place: &str,
    checkpoint: &Checkpoint,
    plan: &Plan,
    inputs: &Inputs,
    resume: Resume,
) -> Result<Vec<String>> {
    let (old, new) = (&checkpoint.origin, &inputs.origin);
    let changed = old.changed_inputs(&new.inputs);
    let order = |inputs: &[crate::checkpoint::InputFile]| inputs.iter().find(|input| input.role == ORDER).cloned();
    let other_particles = order(&old.inputs).is_some_and(|then| Some(then) != order(&new.inputs));
    if !changed.is_empty() && (!resume.force || other_particles) {
        let fix = match other_particles {
            true => "Restore the particle file, or start a new run folder: the particles are not the same.",
            false => "Restore the inputs, start a new run folder, or go on all the same: `relion-rs resume --force`.",
        };
        let problem = format!("the inputs are not those the run began with:\n  {}", changed.join("\n  "));
        return Err(Error::bad_data(place, problem, fix));
    }
    suits(place, &checkpoint.state, plan, inputs)?;
    // Another version may know other settings.
    let is_same_program = old.identity.program_version == new.identity.program_version;
    let mut told = Vec::new();
    if is_same_program && old.plan_digest != new.plan_digest {
        let problem = "plan.json has other settings than those the run began with";
        if !resume.force {
            let fix = "Restore plan.json, start a new run folder, or go on all the same: `relion-rs resume --force`.";
            return Err(Error::bad_data(place, problem, fix));
        }
        told.push(format!("{problem}: going on all the same"));
    }
    let differences = old.identity.differences(&new.identity);
    if resume.exact && !differences.is_empty() {
        return Err(Error::new(
            ExitCode::Usage,
            place,
            format!("--exact: {}", differences.join("; ")),
            "Go on with the same program on the same kind of machine (--isa pins the instructions, --backend cpu or cuda the backend), or without --exact.",
        ));
    }
    let changed = changed.into_iter().map(|sentence| format!("{sentence}: going on all the same"));
    let differences = differences.into_iter().map(|what| format!("{what}: results may differ in the last bits"));
    told.extend(changed.chain(differences));
    Ok(told)
}

/// Whether the state has the inputs' sizes.
fn suits(place: &str, state: &State, plan: &Plan, inputs: &Inputs) -> Result<()> {
    let half = &state.halves[0];
    let shells = inputs.box_pixels() / 2 + 1;
    let rows = [
        ("half sets", state.halves.len(), if plan.kind == JobKind::Refine3d { 2 } else { 1 }),
        ("particles", state.assignments.len(), inputs.dataset.particles.len()),
        ("classes", half.classes.len(), plan.classes),
        ("voxels an edge", half.classes[0].map.box_pixels, inputs.box_pixels()),
        ("optics groups", half.noise.len(), inputs.dataset.optics.len()),
        ("shells", half.classes[0].tau2.len(), shells),
        ("shells of the noise", half.noise.first().map_or(0, Vec::len), shells),
        ("micrograph groups", half.groups.len(), inputs.dataset.groups.len()),
    ];
    match rows.iter().find(|(_, there, here)| there != here) {
        None => Ok(()),
        Some((what, there, here)) => Err(Error::bad_data(
            place,
            format!("the checkpoint has {there} {what}, the inputs {here}"),
            "Restore the inputs, or start a new run folder.",
        )),
    }
}
