//! The state that this program would hold after RELION's iteration.

use crate::dataset::Dataset;
use crate::error::Error;
use crate::error::Result;
use crate::maximisation::sizes;
use crate::model::Convergence;
use crate::model::PriorMode;
use crate::model::SamplingState;
use crate::model::Sizes;
use crate::model::State;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::rotation::PointGroup;
use crate::sampling::Orientations;

use super::history;
use super::model;
use super::model::Frame;
use super::run::Run;

/// The state after the run's iteration, for particles in canonical order, and what its files lack, a sentence each.
pub fn state(run: &Run, plan: &Plan, dataset: &Dataset, group: &PointGroup) -> Result<(State, Vec<String>)> {
    let sampling = sampling(run, plan)?;
    let directions = match plan.skip_align {
        true => 1,
        false => Orientations::new(&sampling, group, None, plan.parity)?.direction_count(),
    };
    let group_of = groups_of(dataset)?;
    let frame = Frame { run, dataset, group_of: &group_of, directions };
    let half_of: Vec<u8> = match plan.kind {
        JobKind::Refine3d => halves_of(dataset)?,
        JobKind::Class3d => vec![0; dataset.particles.len()],
    };
    let (mut halves, mut missing) = (Vec::new(), Vec::new());
    for (at, star) in run.models.iter().enumerate() {
        let half = if run.models.len() > 1 { at as u8 + 1 } else { 0 };
        let members: Vec<usize> = (0..half_of.len()).filter(|i| half_of[*i] == half).collect();
        let (model, lacks) = model::half(&frame, star, &members)?;
        halves.push(model);
        missing.extend(lacks);
    }
    let state = State {
        iteration: run.iteration,
        halves,
        assignments: dataset.assignments.clone(),
        half_of,
        sampling,
        sizes: sizes(run, plan, &sampling)?,
        convergence: convergence(run)?,
    };
    Ok((state, missing))
}

/// RELION's micrograph group of each particle, 0-based; without the column all are of one group.
fn groups_of(dataset: &Dataset) -> Result<Vec<usize>> {
    let Some(column) = dataset.tables.require("particles")?.column("rlnGroupNumber") else {
        return Ok(vec![0; dataset.particles.len()]);
    };
    let number = |row: u32| match column.i64(row as usize)? {
        number @ 1.. => Ok(number as usize - 1),
        other => Err(column.error(row as usize, format!("group {other} is none"), "Groups count from 1.")),
    };
    dataset.particles.iter().map(|particle| number(particle.row)).collect()
}

/// Half sets as RELION drew them: new ones would mix the maps.
fn halves_of(dataset: &Dataset) -> Result<Vec<u8>> {
    let table = dataset.tables.require("particles")?;
    let column = table.require("rlnRandomSubset").map_err(|error| Error {
        problem: "the half sets (rlnRandomSubset) are missing".to_owned(),
        fix: "Restore the particle file of that iteration: half sets drawn anew would mix the two maps.".to_owned(),
        ..error
    })?;
    for particle in &dataset.particles {
        if !matches!(column.i64(particle.row as usize)?, 1 | 2) {
            return Err(column.error(
                particle.row as usize,
                "the particle is in none of the half sets 1 and 2",
                "Restore the particle file of that iteration.",
            ));
        }
    }
    Ok(dataset.particles.iter().map(|particle| particle.half).collect())
}

fn sampling(run: &Run, plan: &Plan) -> Result<SamplingState> {
    let grid = run.grid()?;
    let order = |label: &str| -> Result<u32> { Ok(grid.count(label)?.try_into().unwrap_or(u32::MAX)) };
    let original = |label: &str, now: f64| grid.real_or(label, now);
    let (range, step) = (grid.real("rlnOffsetRange")?, grid.real("rlnOffsetStep")?);
    let psi_step_degrees = grid.real("rlnPsiStep")?;
    let scale = run.length_angstrom;
    let first = if grid.0.has("rlnHealpixOrderOriginal") { "rlnHealpixOrderOriginal" } else { "rlnHealpixOrder" };
    Ok(SamplingState {
        healpix_order: order("rlnHealpixOrder")?,
        psi_step_degrees,
        offset_range_angstrom: range * scale,
        offset_step_angstrom: step * scale,
        oversampling: plan.oversampling,
        perturbation: if plan.perturb > 0.0 { grid.real("rlnSamplingPerturbInstance")? } else { 0.0 },
        perturbation_factor: plan.perturb,
        prior: match run.sigma_angles()? {
            None => PriorMode::Global,
            Some(sigma) => PriorMode::Local { sigma_degrees: [sigma; 3] },
        },
        original_healpix_order: order(first)?,
        original_psi_step_degrees: original("rlnPsiStepOriginal", psi_step_degrees)?,
        original_offset_range_angstrom: original("rlnOffsetRangeOriginal", range)? * scale,
        original_offset_step_angstrom: original("rlnOffsetStepOriginal", step)? * scale,
    })
}

/// Sizes and resolution. Files print few digits, and a resolution is that of a shell.
fn sizes(run: &Run, plan: &Plan, sampling: &SamplingState) -> Result<Sizes> {
    let (list, general) = (run.list()?, run.general()?);
    let (n, pixel) = (run.box_pixels, run.pixel_size_angstrom);
    let extent = n as f64 * pixel;
    let of_shell = |per_angstrom: f64| (per_angstrom * extent).round() / extent;
    let resolution = general.real("rlnCurrentResolution")?;
    if resolution <= 0.0 {
        return Err(general.column("rlnCurrentResolution")?.error(0, format!("{resolution} A is no resolution"), ""));
    }
    let current_size = general.count("rlnCurrentImageSize")?;
    Ok(Sizes {
        current_resolution_per_angstrom: of_shell(1.0 / resolution),
        best_resolution_per_angstrom: of_shell(list.real("rlnBestResolutionThusFar")?),
        current_size,
        coarse_size: sizes::coarse_size(sampling, current_size, plan.diameter_angstrom, n, pixel),
        increment: list.count("rlnIncrementImageSize")?,
        has_high_fsc_at_limit: list.flag("rlnHasHighFscAtResolLimit")?,
    })
}

fn convergence(run: &Run) -> Result<Convergence> {
    let list = run.list()?;
    let counter = |label: &str| -> Result<u32> { Ok(list.count(label)?.try_into().unwrap_or(u32::MAX)) };
    let in_angstrom = list.0.has("rlnOverallAccuracyTranslationsAngst");
    let accuracy = if in_angstrom { "rlnOverallAccuracyTranslationsAngst" } else { "rlnOverallAccuracyTranslations" };
    Ok(Convergence {
        iterations_without_resolution_gain: counter("rlnNumberOfIterWithoutResolutionGain")?,
        iterations_without_large_changes: counter("rlnNumberOfIterWithoutChangingAssignments")?,
        change_degrees: list.real("rlnChangesOptimalOrientations")?,
        change_angstrom: run.angstrom(list.real("rlnChangesOptimalOffsets")?),
        change_classes: list.real("rlnChangesOptimalClasses")?,
        smallest_change_degrees: list.real("rlnSmallestChangesOrientations")?,
        smallest_change_angstrom: run.angstrom(list.real("rlnSmallestChangesOffsets")?),
        smallest_change_classes: list.real("rlnSmallestChangesClasses")?,
        accuracy_degrees: list.real("rlnOverallAccuracyRotations")?,
        accuracy_angstrom: run.angstrom(list.real(accuracy)?),
        has_fine_enough_sampling: run.kind == JobKind::Refine3d && history::has_fine_enough_sampling(run)?,
        has_converged: false,
    })
}
