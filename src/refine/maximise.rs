//! The maximisation step: from the sums of the halves to the next state.

use crate::error::Result;
use crate::expectation::ClassSums;
use crate::expectation::Outcome;
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
use crate::rotation::Matrix3;

use super::Job;

/// Unregularised half maps of a converged refinement.
pub struct Finale {
    pub unfiltered: [Volume; 2],
}

/// Updates the models of all halves. `last` marks the final iteration of a refinement, in which the halves are added.
pub fn update(
    job: &Job<'_>,
    state: &mut State,
    outcomes: Vec<Outcome>,
    last: bool,
    correlation: bool,
) -> Result<Option<Finale>> {
    let plan = job.plan;
    let geometry = Geometry::new(job.inputs.box_pixels(), job.inputs.options.padding, outcomes[0].sums.current_size);
    let operators: Vec<Matrix3> = job.inputs.group.operators().iter().map(|o| o.right).collect();
    let power: Vec<Vec<f64>> = outcomes[0].reference_power.clone();
    let mut sums: Vec<Sums> = outcomes.into_iter().map(|o| o.sums).collect();
    for class in sums.iter_mut().flat_map(|s| &mut s.classes) {
        symmetrise::symmetrise(&geometry, class, &operators);
    }
    let premultiplied: Vec<bool> = job.inputs.dataset.optics.iter().map(|o| o.ctf_premultiplied).collect();
    let options = parameters::Options {
        box_pixels: job.inputs.box_pixels(),
        cross_correlation: correlation,
        norm: job.inputs.options.norm_correction,
        scale: job.inputs.options.scale_correction,
        premultiplied: &premultiplied,
        parity: plan.parity,
    };
    let finale = match plan.kind {
        JobKind::Refine3d => halves(job, state, &geometry, &mut sums, last)?,
        JobKind::Class3d => {
            all_classes(job, state, &geometry, &mut sums[0], &power);
            None
        }
    };
    for (half, sums) in state.halves.iter_mut().zip(&sums) {
        parameters::update(half, sums, &options)?;
    }
    if !last {
        flatten_maps(job, state);
    }
    if correlation {
        after_correlation(job, state);
    }
    Ok(finale)
}

fn division(job: &Job<'_>, class: &ClassSums) -> Division {
    // `gridding` asks for the iterative weights.
    if job.plan.gridding { Division::Gridding { mass: class.directions.iter().sum() } } else { Division::Direct }
}

fn rebuild(job: &Job<'_>, geometry: &Geometry, class: &mut ClassSums, prior: Option<&Prior<'_>>) -> Volume {
    let division = division(job, class);
    let pixel = job.inputs.pixel_size_angstrom();
    reconstruct::reconstruct(geometry, &mut class.data, &class.weight, prior, division, pixel)
}

fn take_spectra(class: &mut ClassModel, spectra: Spectra) {
    class.sigma2 = spectra.sigma2;
    class.tau2 = spectra.tau2;
    class.ssnr = spectra.ssnr;
    class.coverage = spectra.coverage;
}

fn all_classes(job: &Job<'_>, state: &mut State, geometry: &Geometry, sums: &mut Sums, power: &[Vec<f64>]) {
    let plan = job.plan;
    let premultiplied = job.inputs.dataset.optics.iter().any(|o| o.ctf_premultiplied);
    let ctf2 = premultiplied.then(|| parameters::mean_ctf2(sums, geometry.box_pixels));
    for (k, (class, sums)) in state.halves[0].classes.iter_mut().zip(&mut sums.classes).enumerate() {
        if sums.directions.iter().sum::<f64>() <= 0.0 {
            // Nobody chose this class: it is empty from now on.
            class.map.data.fill(0.0);
            continue;
        }
        let spectra =
            ssnr::from_reference(geometry, &sums.weight, &power[k], ctf2.as_deref(), plan.tau2_fudge, plan.parity);
        let prior = Prior { tau2: &spectra.tau2, tau2_fudge: plan.tau2_fudge, parity: plan.parity };
        class.map = rebuild(job, geometry, sums, Some(&prior));
        take_spectra(class, spectra);
    }
}

fn halves(
    job: &Job<'_>,
    state: &mut State,
    geometry: &Geometry,
    sums: &mut [Sums],
    last: bool,
) -> Result<Option<Finale>> {
    let plan = job.plan;
    let (box_pixels, pixel) = (job.inputs.box_pixels(), job.inputs.pixel_size_angstrom());
    let [first, second] = sums else {
        return Err(crate::error::Error::internal("a refinement has two halves"));
    };
    let (a, b) = (&mut first.classes[0], &mut second.classes[0]);
    let wants_unfiltered = last || (plan.solvent_correct_fsc && job.inputs.mask.is_some());
    let unfiltered = wants_unfiltered.then(|| {
        [&*a, &*b].map(|class| {
            let mut own = class.clone();
            rebuild(job, geometry, &mut own, None)
        })
    });
    if let Some(resolution) = plan.low_resolution_join_angstrom {
        let shell = join::joined_shell(resolution, state.sizes.current_resolution_per_angstrom, box_pixels, pixel);
        join::join_low_resolution(geometry, shell, a, b);
    }
    let curve = match (&unfiltered, &job.inputs.mask) {
        (Some([a, b]), Some(mask)) if plan.solvent_correct_fsc => {
            solvent_fsc::corrected(a, b, mask, geometry.r_max, plan.seed).corrected
        }
        _ => fsc::of_sums(geometry, a, b),
    };
    sizes::learn_from_fsc(&mut state.sizes, &curve, plan.parity);
    if last {
        join::add(a, b);
    }
    for (half, class) in state.halves.iter_mut().zip([a, b]) {
        let model = &mut half.classes[0];
        model.fsc.clone_from(&curve);
        let spectra = ssnr::gold_standard(geometry, &class.weight, &curve, last, plan.tau2_fudge, plan.parity);
        let prior = Prior { tau2: &spectra.tau2, tau2_fudge: plan.tau2_fudge, parity: plan.parity };
        model.map = rebuild(job, geometry, class, Some(&prior));
        take_spectra(model, spectra);
        if last {
            break;
        }
    }
    if last {
        let joined = state.halves[0].classes[0].clone();
        let other = &mut state.halves[1].classes[0];
        let directions = std::mem::take(&mut other.directions);
        *other = ClassModel { directions, ..joined };
    }
    Ok(if last { unfiltered.map(|unfiltered| Finale { unfiltered }) } else { None })
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
fn after_correlation(job: &Job<'_>, state: &mut State) {
    for half in &mut state.halves {
        if let Some(resolution) = job.plan.ini_high_angstrom {
            half.classes.iter_mut().for_each(|class| initial::low_pass_class(class, resolution));
        }
        if half.classes.len() > 1 && job.inputs.references.len() == 1 {
            classes::copy_first(half);
        }
    }
}
