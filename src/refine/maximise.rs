//! The maximisation step: from the sums of the halves to the next state.

use crate::arena::Frame;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::Outcome;
use crate::expectation::SumVoxel;
use crate::expectation::Sums;
use crate::imaging::Geometry;
use crate::maximisation::classes;
use crate::maximisation::flatten;
use crate::maximisation::flatten::Solvent;
use crate::maximisation::fsc;
use crate::maximisation::initial;
use crate::maximisation::join;
use crate::maximisation::parameters;
use crate::maximisation::reconstruct;
use crate::maximisation::reconstruct::Division;
use crate::maximisation::reconstruct::Prior;
use crate::maximisation::sizes;
use crate::maximisation::solvent_fsc;
use crate::maximisation::ssnr;
use crate::maximisation::ssnr::Spectra;
use crate::maximisation::symmetrise;
use crate::model::ClassModel;
use crate::model::State;
use crate::model::Volume;
use crate::plan::JobKind;
use crate::plan::Plan;
use crate::rotation::Matrix3;

use super::Job;
use super::inputs::Inputs;
use super::ranks::Share;

/// Unregularised half maps of a converged refinement.
pub struct Finale {
    pub unfiltered: [Volume; 2],
}

/// One step, as far as its memory goes.
#[derive(Clone, Debug)]
pub struct Step {
    pub geometry: Geometry,
    /// The final iteration of a refinement, in which the halves are added.
    pub last: bool,
    /// Poses came from cross-correlation.
    pub correlation: bool,
    /// Maps without regularisation are made as well, and the FSC is corrected by them.
    pub unfiltered: bool,
    corrects_fsc: bool,
    low_pass: bool,
    gridding: bool,
    threads: usize,
    halves: usize,
    classes: usize,
    operators: usize,
}

impl Step {
    pub fn new(plan: &Plan, inputs: &Inputs, geometry: Geometry, last: bool, correlation: bool) -> Self {
        let halves = if plan.kind == JobKind::Refine3d { 2 } else { 1 };
        let corrects_fsc = halves == 2 && plan.solvent_correct_fsc && inputs.mask.is_some();
        Self {
            geometry,
            last,
            correlation,
            unfiltered: last || corrects_fsc,
            corrects_fsc,
            low_pass: correlation && plan.ini_high_angstrom.is_some(),
            gridding: plan.gridding,
            threads: plan.thread_count(),
            halves,
            classes: plan.classes,
            operators: inputs.group.operators().len(),
        }
    }
}

/// The allocations of [`update`], alone: what it needs when `frame` counts.
pub fn count(step: &Step, frame: &mut Frame<'_>) -> Result<()> {
    let geometry = &step.geometry;
    for _ in 0..step.halves * step.classes {
        symmetrise::count(geometry, step.operators, frame)?;
    }
    if step.unfiltered {
        for _ in 0..step.halves {
            reconstruct::count(geometry, step.gridding, step.threads, frame)?;
        }
    }
    if step.corrects_fsc {
        solvent_fsc::count(geometry.box_pixels, frame)?;
    } else if step.halves == 2 {
        fsc::count(geometry, step.threads, frame)?;
    }
    for _ in 0..if step.last { 1 } else { step.halves * step.classes } {
        reconstruct::count(geometry, step.gridding, step.threads, frame)?;
    }
    if step.low_pass {
        for _ in 0..step.halves * step.classes {
            initial::count_low_pass(geometry.box_pixels, frame)?;
        }
    }
    Ok(())
}

/// Updates the models of all halves from what was found about each, and from its volumes, one a class. Where several
/// ranks share the work, the state is right on rank 0 only.
pub fn update(
    job: &Job<'_>,
    state: &mut State,
    step: &Step,
    share: &Share,
    outcomes: &[Outcome],
    volumes: &mut [Vec<&mut [SumVoxel]>],
    frame: &mut Frame<'_>,
) -> Result<Option<Finale>> {
    let plan = job.plan;
    let operators: Vec<Matrix3> = job.inputs.group.operators().iter().map(|o| o.right).collect();
    for (half, volumes) in volumes.iter_mut().enumerate() {
        for (class, volume) in volumes.iter_mut().enumerate() {
            match share.is_mine(half, class) {
                true => symmetrise::symmetrise(&step.geometry, volume, &operators, frame)?,
                // The layout does not depend on who does it.
                false => symmetrise::count(&step.geometry, operators.len(), frame)?,
            }
        }
    }
    let premultiplied: Vec<bool> = job.inputs.dataset.optics.iter().map(|o| o.ctf_premultiplied).collect();
    let options = parameters::Options {
        box_pixels: job.inputs.box_pixels(),
        cross_correlation: step.correlation,
        norm: job.inputs.options.norm_correction,
        scale: job.inputs.options.scale_correction,
        premultiplied: &premultiplied,
        parity: plan.parity,
    };
    let finale = match (plan.kind, volumes) {
        (JobKind::Refine3d, [a, b]) => {
            let masses = [&outcomes[0].sums, &outcomes[1].sums].map(|sums| sums.masses()[0]);
            halves(job, state, step, share, masses, [&mut *a[0], &mut *b[0]], frame)?
        }
        (JobKind::Class3d, [volumes]) => {
            all_classes(job, state, step, share, &outcomes[0], volumes, frame)?;
            None
        }
        _ => return Err(Error::internal("a refinement has two halves, a classification one")),
    };
    if !share.leads() {
        return Ok(None);
    }
    for (half, outcome) in state.halves.iter_mut().zip(outcomes) {
        parameters::update(half, &outcome.sums, &options)?;
    }
    if !step.last {
        flatten_maps(job, state);
    }
    if step.correlation {
        after_correlation(job, state, frame)?;
    }
    Ok(finale)
}

/// Makes a map of a class of this posterior mass.
fn rebuild(
    step: &Step,
    sums: &[SumVoxel],
    mass: f64,
    prior: Option<&Prior<'_>>,
    map: &mut Volume,
    frame: &mut Frame<'_>,
) -> Result<()> {
    // `gridding` asks for the iterative weights.
    let division = if step.gridding { Division::Gridding { mass } } else { Division::Direct };
    reconstruct::reconstruct(&step.geometry, sums, prior, division, map, step.threads, frame)
}

/// The map of a class and its spectra, made by its owner, come to rank 0.
fn collect(share: &Share, half: usize, class: usize, model: &mut ClassModel, spectra: Option<Spectra>) -> Result<()> {
    let made = spectra.map(|spectra| (std::mem::take(&mut model.map.data), spectra));
    if let Some((map, spectra)) = share.collect(half, class, made)? {
        model.map.data = map;
        take_spectra(model, spectra);
    }
    Ok(())
}

fn take_spectra(class: &mut ClassModel, spectra: Spectra) {
    class.sigma2 = spectra.sigma2;
    class.tau2 = spectra.tau2;
    class.ssnr = spectra.ssnr;
    class.coverage = spectra.coverage;
}

fn all_classes(
    job: &Job<'_>,
    state: &mut State,
    step: &Step,
    share: &Share,
    outcome: &Outcome,
    volumes: &[&mut [SumVoxel]],
    frame: &mut Frame<'_>,
) -> Result<()> {
    let (plan, geometry, sums): (_, _, &Sums) = (job.plan, &step.geometry, &outcome.sums);
    let premultiplied = job.inputs.dataset.optics.iter().any(|o| o.ctf_premultiplied);
    let ctf2 = premultiplied.then(|| parameters::mean_ctf2(sums, geometry.box_pixels));
    let mut made: Vec<Option<Spectra>> = state.halves[0].classes.iter().map(|_| None).collect();
    let known = sums.masses().into_iter().zip(volumes);
    for (number, (class, (mass, volume))) in state.halves[0].classes.iter_mut().zip(known).enumerate() {
        if mass <= 0.0 {
            // Nobody chose this class: it is empty from now on. The layout does not depend on that.
            class.map.data.fill(0.0);
            reconstruct::count(geometry, step.gridding, step.threads, frame)?;
            continue;
        }
        if !share.is_mine(0, number) {
            reconstruct::count(geometry, step.gridding, step.threads, frame)?;
            continue;
        }
        let power = &outcome.reference_power[number];
        let spectra = ssnr::from_reference(geometry, volume, power, ctf2.as_deref(), plan.tau2_fudge, plan.parity);
        let prior = Prior { tau2: &spectra.tau2, tau2_fudge: plan.tau2_fudge, parity: plan.parity };
        rebuild(step, volume, mass, Some(&prior), &mut class.map, frame)?;
        made[number] = Some(spectra);
    }
    // All are at work before anybody waits for another's.
    let classes = state.halves[0].classes.iter_mut().zip(made).zip(sums.masses()).enumerate();
    for (number, ((class, spectra), _)) in classes.filter(|(_, (_, mass))| *mass > 0.0) {
        collect(share, 0, number, class, spectra)?;
    }
    Ok(())
}

fn halves(
    job: &Job<'_>,
    state: &mut State,
    step: &Step,
    share: &Share,
    masses: [f64; 2],
    [a, b]: [&mut [SumVoxel]; 2],
    frame: &mut Frame<'_>,
) -> Result<Option<Finale>> {
    let (plan, geometry) = (job.plan, &step.geometry);
    let (box_pixels, pixel) = (job.inputs.box_pixels(), job.inputs.pixel_size_angstrom());
    let unfiltered = if step.unfiltered {
        let mut maps = [Volume::zeros(box_pixels, pixel), Volume::zeros(box_pixels, pixel)];
        for (half, ((map, sums), mass)) in maps.iter_mut().zip([&*a, &*b]).zip(masses).enumerate() {
            match share.is_mine(half, 0) {
                true => rebuild(step, sums, mass, None, map, frame)?,
                false => reconstruct::count(geometry, step.gridding, step.threads, frame)?,
            }
        }
        for (half, map) in maps.iter_mut().enumerate() {
            let made = share.is_mine(half, 0).then(|| std::mem::take(&mut map.data));
            map.data = share.collect(half, 0, made)?.unwrap_or_default();
        }
        Some(maps)
    } else {
        None
    };
    share.swap(a, b)?;
    if let Some(resolution) = plan.low_resolution_join_angstrom {
        let shell = join::joined_shell(resolution, state.sizes.current_resolution_per_angstrom, box_pixels, pixel);
        join::join_low_resolution(geometry, shell, a, b);
    }
    let curve = match (&unfiltered, &job.inputs.mask) {
        _ if !share.leads() => None,
        (Some([a, b]), Some(mask)) if step.corrects_fsc => {
            Some(solvent_fsc::corrected(a, b, mask, geometry.r_max, plan.seed, frame)?.corrected)
        }
        _ => Some(fsc::of_sums(geometry, a, b, step.threads, frame)?),
    };
    let curve = share.agree(curve)?;
    sizes::learn_from_fsc(&mut state.sizes, &curve, plan.parity);
    if step.last {
        join::add(a, b);
    }
    let mut made = [None, None];
    // The joined map is the first half set's.
    let maps = if step.last { 1 } else { 2 };
    for (number, ((half, sums), mass)) in state.halves.iter_mut().zip([&*a, &*b]).zip(masses).take(maps).enumerate() {
        let model = &mut half.classes[0];
        model.fsc.clone_from(&curve);
        if !share.is_mine(number, 0) {
            reconstruct::count(geometry, step.gridding, step.threads, frame)?;
            continue;
        }
        let spectra = ssnr::gold_standard(geometry, sums, &curve, step.last, plan.tau2_fudge, plan.parity);
        let prior = Prior { tau2: &spectra.tau2, tau2_fudge: plan.tau2_fudge, parity: plan.parity };
        rebuild(step, sums, mass, Some(&prior), &mut model.map, frame)?;
        made[number] = Some(spectra);
    }
    // Both are at work before one waits for the other's.
    for (number, (half, made)) in state.halves.iter_mut().zip(made).take(maps).enumerate() {
        collect(share, number, 0, &mut half.classes[0], made)?;
    }
    if step.last {
        let joined = state.halves[0].classes[0].clone();
        let other = &mut state.halves[1].classes[0];
        let directions = std::mem::take(&mut other.directions);
        *other = ClassModel { directions, ..joined };
    }
    Ok(if step.last { unfiltered.map(|unfiltered| Finale { unfiltered }) } else { None })
}

fn flatten_maps(job: &Job<'_>, state: &mut State) {
    if !job.plan.flatten_solvent {
        return;
    }
    let solvent = match &job.inputs.mask {
        Some(mask) => Solvent::Mask(mask),
        None => {
            Solvent::Sphere { diameter_angstrom: job.plan.diameter_angstrom, edge_pixels: job.plan.mask_edge_pixels }
        }
    };
    for class in state.halves.iter_mut().flat_map(|half| &mut half.classes) {
        flatten::flatten(&mut class.map, solvent);
    }
}

/// The first maps on the right grey scale are low-pass filtered as the references were; with one reference for
/// several classes only the first map was improved.
fn after_correlation(job: &Job<'_>, state: &mut State, frame: &mut Frame<'_>) -> Result<()> {
    for half in &mut state.halves {
        if let Some(resolution) = job.plan.ini_high_angstrom {
            for class in &mut half.classes {
                initial::low_pass_class(class, resolution, frame)?;
            }
        }
        if half.classes.len() > 1 && job.inputs.references.len() == 1 {
            classes::copy_first(half);
        }
    }
    Ok(())
}
