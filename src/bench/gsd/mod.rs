//! `bench gsd`: the coarse pass's squared differences, form by form and box by box, on the rows of a real job.
//!
//! The rows come once, over the window of the images. Pixels lie by shell, so the rows of a smaller box are their first
//! part (cropped in Fourier space) and those of a larger box are followed by zeros (padded).

mod cpu;
mod device;
mod measure;
mod peak;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::gpu::Form;
use crate::expectation::gpu::trial;
use crate::expectation::gpu::trial::Operands;
use crate::expectation::gpu::trial::Sizes;
use crate::expectation::products::CoarseRows;
use crate::imaging::PixelList;
use crate::plan::GsdPeak;
use crate::plan::GsdRecord;
use crate::plan::GsdRow;
use crate::plan::GsdSettings;
use crate::plan::Plan;
use crate::plan::Precision;
use crate::refine::rows::coarse_rows;

use device::Opened;
use measure::Measured;

/// Name of the engine's own product beside the device's forms.
const CPU: &str = "cpu";
const BOXES: [usize; 4] = [64, 128, 256, 512];
const BOXES_OF_TWIN: [usize; 2] = [32, 64];
const PARTICLES: u32 = 64;
const PARTICLES_OF_TWIN: u32 = 4;
const POSES: u32 = 4096;
const POSES_OF_TWIN: u32 = 96;
const FORMS_OF_TWIN: [Form; 3] = [Form::Direct, Form::Tile, Form::Product];
const LARGEST_BOX: usize = 2048;

/// What is measured, with nothing left open.
struct Wanted {
    boxes: Vec<usize>,
    forms: Vec<Form>,
    cpu: bool,
    particles: usize,
    poses: usize,
}

/// Measures the forms on the rows of a job. `tell` hears what is being done.
///
/// # Errors
/// `Usage` for boxes and forms that are none; `Unavailable` where the device is not there; those of the job's inputs.
pub fn run(plan: &Plan, settings: &GsdSettings, tell: &mut dyn FnMut(&str)) -> Result<GsdRecord> {
    match settings.precision {
        Precision::Single => of_scalar::<f32>(plan, settings, tell),
        Precision::Double => of_scalar::<f64>(plan, settings, tell),
    }
}

fn of_scalar<T: Scalar + crate::device::Plain>(
    plan: &Plan,
    settings: &GsdSettings,
    tell: &mut dyn FnMut(&str),
) -> Result<GsdRecord> {
    let mut opened = device::open(settings.device, settings.precision)?;
    let wanted = wanted(settings, &opened)?;
    let identity = opened.driver.identity().clone();
    tell(&format!("{}: preparing {} particles and {} projections", identity.name, wanted.particles, wanted.poses));
    let job = coarse_rows::<T>(plan, wanted.particles, wanted.poses)?;
    let mut notes = opened.notes.clone();
    let mut rows = Vec::new();
    for box_pixels in &wanted.boxes {
        let operands = fitting(&opened, resampled(&job.rows, *box_pixels), &mut notes)?;
        let filled = job.rows.pixels.min(operands.sizes.pixels);
        let exact = measure::sample(&operands);
        let mut measured: Vec<(String, bool, Measured)> = Vec::new();
        if wanted.cpu {
            tell(&format!("{box_pixels} px: {CPU}"));
            measured.push((CPU.to_string(), true, cpu::measure(&operands, job.isa, &exact)?));
        }
        if !wanted.forms.is_empty() {
            let base = opened.driver.reserve(trial::bytes::<T>(&operands.sizes)?)?;
            for form in &wanted.forms {
                tell(&format!("{box_pixels} px: {}", form.name()));
                let is_timed = !opened.is_twin;
                let found = measure::on_device(&*opened.driver, base, *form, &operands, &exact, is_timed)?;
                measured.push((form.name().to_string(), is_timed, found));
            }
        }
        rows.extend(rows_of(*box_pixels, filled, &operands.sizes, measured));
    }
    let peaks = match opened.is_twin {
        true => Vec::new(),
        false => {
            tell("the most that the units do");
            peaks(&mut opened, settings.precision, &mut notes)
        }
    };
    for row in &mut rows {
        row.share_of_peak = row.gigaflops.zip(peak::of_form(&peaks, &row.form)).map(|(speed, peak)| speed / peak);
    }
    Ok(GsdRecord {
        device: identity.name,
        uuid: identity.uuid,
        capability: [identity.capability.0, identity.capability.1],
        kernels: identity.kernels,
        is_twin: opened.is_twin,
        precision: settings.precision,
        cpu_threads: rayon::current_num_threads(),
        instruction_set: job.isa.name().to_string(),
        source_box_pixels: job.box_pixels,
        notes,
        peaks,
        rows,
    })
}

/// Last of all: what was measured before is told even where this fails.
fn peaks(opened: &mut Opened, precision: Precision, notes: &mut Vec<String>) -> Vec<GsdPeak> {
    peak::measure(&mut *opened.driver, device::precision(precision)).unwrap_or_else(|error| {
        notes.push(format!("the peak of the units is not known: {}", error.problem));
        Vec::new()
    })
}

fn wanted(settings: &GsdSettings, opened: &Opened) -> Result<Wanted> {
    let usual = |count: Option<u32>, on_gpu: u32, on_twin: u32| {
        count.unwrap_or(if opened.is_twin { on_twin } else { on_gpu }) as usize
    };
    let boxes = match (settings.boxes.is_empty(), opened.is_twin) {
        (false, _) => settings.boxes.clone(),
        (true, true) => BOXES_OF_TWIN.to_vec(),
        (true, false) => BOXES.to_vec(),
    };
    if let Some(wrong) = boxes.iter().find(|n| !(8..=LARGEST_BOX).contains(*n) || !n.is_multiple_of(2)) {
        return Err(Error::usage(format!("a box of {wrong} pixels"), "Give even numbers from 8 to 2048 with --box."));
    }
    let precision = device::precision(settings.precision);
    let capability = opened.driver.identity().capability;
    let mut forms: Vec<Form> = Form::ALL.into_iter().filter(|form| form.available(capability, precision)).collect();
    if opened.is_twin {
        forms = FORMS_OF_TWIN.to_vec();
    }
    let mut cpu = true;
    if !settings.forms.is_empty() {
        cpu = settings.forms.iter().any(|name| name == CPU);
        let named = settings.forms.iter().filter(|name| *name != CPU);
        forms = named.map(|name| Form::parse(name)).collect::<Result<_>>()?;
        if let Some(missing) = forms.iter().find(|form| !form.available(capability, precision)) {
            return Err(Error::new(
                ExitCode::Unavailable,
                opened.driver.identity().name.clone(),
                format!("has no form {} in {} precision", missing.name(), precision.name()),
                "Matrix units take single precision and compute capability 8.0 or newer; leave the form out.",
            ));
        }
    }
    Ok(Wanted {
        boxes,
        forms,
        cpu,
        particles: usual(settings.particles, PARTICLES, PARTICLES_OF_TWIN),
        poses: usual(settings.poses, POSES, POSES_OF_TWIN),
    })
}

/// The job's rows at another box.
fn resampled<T: Scalar>(rows: &CoarseRows<T>, box_pixels: usize) -> Operands<T> {
    let pixels = PixelList::new(box_pixels).inside;
    let particles = rows.image_powers.len();
    let poses = rows.rows.len() / (2 * rows.pixels);
    let sizes = Sizes { pixels, poses, particles, translations: rows.translations };
    let spread = |values: &[T], length: usize, wanted: usize, stride: usize| {
        let mut out = vec![T::default(); values.len() / length * stride];
        for (from, to) in values.chunks_exact(length).zip(out.chunks_exact_mut(stride)) {
            let kept = length.min(wanted);
            to[..kept].copy_from_slice(&from[..kept]);
        }
        out
    };
    Operands {
        sizes,
        rows: spread(&rows.rows, 2 * rows.pixels, 2 * pixels, sizes.stride()),
        columns: spread(&rows.columns, 2 * rows.pixels, 2 * pixels, sizes.stride()),
        power: spread(&rows.power, rows.pixels, pixels, sizes.power_stride()),
        log_poses: vec![T::default(); poses],
        log_offsets: rows.log_offsets.clone(),
        image_powers: rows.image_powers.clone(),
        allowed: Vec::new(),
    }
}

/// With fewer poses where the device's memory asks for it.
fn fitting<T: Scalar>(opened: &Opened, mut operands: Operands<T>, notes: &mut Vec<String>) -> Result<Operands<T>> {
    let (free, asked) = (opened.free_bytes, operands.sizes.poses);
    while trial::bytes::<T>(&operands.sizes)? > free && operands.sizes.poses > 1 {
        operands.sizes.poses /= 2;
    }
    let poses = operands.sizes.poses;
    if poses < asked {
        operands.rows.truncate(poses * operands.sizes.stride());
        operands.log_poses.truncate(poses);
        notes.push(format!("{} pixels a row: {poses} of {asked} projections fit the device", operands.sizes.pixels));
    }
    Ok(operands)
}

fn rows_of(box_pixels: usize, filled: usize, sizes: &Sizes, measured: Vec<(String, bool, Measured)>) -> Vec<GsdRow> {
    let direct = measured.iter().find(|(form, is_timed, _)| *is_timed && form == Form::Direct.name());
    let direct = direct.map(|(.., found)| found.seconds);
    let row = |(form, is_timed, found): (String, bool, Measured)| GsdRow {
        box_pixels,
        pixels: sizes.pixels,
        filled_pixels: filled,
        poses: sizes.poses,
        particles: sizes.particles,
        translations: sizes.translations,
        form,
        seconds: found.seconds,
        share_of_peak: None,
        gigaflops: is_timed.then(|| sizes.operations() / found.seconds / 1e9),
        speed_up: direct.filter(|_| is_timed).map(|direct| direct / found.seconds),
        rms_error: found.rms_error,
        largest_error: found.largest_error,
        relative_error: found.relative_error,
        error_of_spread: found.error_of_spread,
    };
    measured.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_box_is_a_first_part_or_followed_by_zeros() {
        let pixels = PixelList::new(16).inside;
        let count = |n: usize| (0..n).map(|i| i as f32 + 1.0).collect::<Vec<f32>>();
        let rows = CoarseRows {
            pixels,
            translations: 2,
            rows: count(3 * 2 * pixels),
            columns: count(2 * 2 * pixels),
            power: count(pixels),
            log_offsets: count(2),
            image_powers: vec![1.0],
        };
        for box_pixels in [8, 16, 24] {
            let operands = resampled(&rows, box_pixels);
            let (sizes, inside) = (operands.sizes, PixelList::new(box_pixels).inside);
            assert_eq!((sizes.pixels, sizes.poses, sizes.columns()), (inside, 3, 2));
            let kept = 2 * pixels.min(inside);
            for (row, from) in operands.rows.chunks_exact(sizes.stride()).zip(rows.rows.chunks_exact(2 * pixels)) {
                assert_eq!(row[..kept], from[..kept]);
                assert!(row[kept..].iter().all(|value| *value == 0.0));
            }
        }
    }

    #[test]
    fn speed_ups_are_over_the_direct_form_of_a_device() {
        let sizes = Sizes { pixels: 500, poses: 10, particles: 5, translations: 2 };
        let found = |seconds: f64| Measured { seconds, ..Measured::default() };
        let measured = || {
            vec![
                ("cpu".to_string(), true, found(2.0)),
                ("direct".to_string(), true, found(1.0)),
                ("product".to_string(), true, found(0.25)),
            ]
        };
        let rows = rows_of(64, 500, &sizes, measured());
        assert_eq!(rows.iter().map(|row| row.speed_up.unwrap()).collect::<Vec<f64>>(), [0.5, 1.0, 4.0]);
        assert_eq!(rows[1].gigaflops, Some(2.0 * 1000.0 * 100.0 / 1e9));
        let on_twin: Vec<_> = measured().into_iter().map(|(form, _, found)| (form, false, found)).collect();
        assert!(rows_of(64, 500, &sizes, on_twin).iter().all(|row| row.speed_up.is_none() && row.gigaflops.is_none()));
    }
}
