//! Every form of the coarse comparison against plain sums in double precision.

use relion_rs::device::Driver;
use relion_rs::device::OnCpu;
use relion_rs::device::Plain;
use relion_rs::device::Precision;
use relion_rs::expectation::Scalar;
use relion_rs::expectation::gpu::Form;
use relion_rs::expectation::gpu::trial;
use relion_rs::expectation::gpu::trial::Exact;
use relion_rs::expectation::gpu::trial::Operands;
use relion_rs::expectation::gpu::trial::Sizes;
use relion_rs::expectation::gpu::trial::Trial;
use relion_rs::imaging::random::Stream;
use relion_rs::product;

use crate::devices::Open;
use crate::devices::on_both;

/// A squared difference is two terms that grow with the signal and cancel. f32 keeps 6e-8 of a value; sums of a few
/// thousand terms, cut into chunks, lose some ten times that.
const SINGLE: (f64, f64) = (1e-3, 2e-6);
/// f64 keeps 1.1e-16; sums of thousands of terms lose at most as many times that.
const DOUBLE: (f64, f64) = (1e-10, 1e-12);
/// Errors of rounded factors are sums of many small ones, hence normal: of some thousands none is beyond 6 rms.
const LARGEST_IN_RMS: f64 = 6.0;
/// Cross-correlations are at most 1.
const CORRELATION: f64 = 1e-5;

/// Around the edges of all tiles: 32, 64 and 128 lines, stretches of 16, 32 and 64 reals.
const SIZES: &[[usize; 4]] = &[
    [1, 1, 1, 1],
    [8, 33, 3, 11],
    [16, 31, 4, 8],
    [17, 64, 2, 21],
    [31, 65, 6, 21],
    [32, 128, 8, 16],
    [33, 127, 3, 43],
    [48, 129, 1, 130],
    [700, 70, 3, 9],
];

fn sizes([pixels, poses, particles, translations]: [usize; 4]) -> Sizes {
    Sizes { pixels, poses, particles, translations }
}

fn real<T: product::Scalar>(value: f64) -> T {
    T::from_f64(value)
}

/// Projections of a spectrum that falls off, images of unit noise with some of them inside, and everything beside.
fn operands<T: Scalar>(sizes: Sizes) -> Operands<T> {
    let mut random = Stream::new(5, 1, (sizes.pixels * sizes.poses) as u64);
    let stride = sizes.stride();
    let amplitude = |k: usize| 3.0 / (1.0 + 0.05 * k as f64);
    let mut rows = vec![T::default(); sizes.poses * stride];
    for row in rows.chunks_exact_mut(stride) {
        for (k, value) in row[..2 * sizes.pixels].iter_mut().enumerate() {
            *value = real::<T>(amplitude(k / 2) * random.gaussian());
        }
    }
    let mut columns = vec![T::default(); sizes.columns() * stride];
    for (c, column) in columns.chunks_exact_mut(stride).enumerate() {
        let row = &rows[c % sizes.poses * stride..][..stride];
        for (value, signal) in column[..2 * sizes.pixels].iter_mut().zip(row) {
            *value = real::<T>(random.gaussian() + 0.5 * signal.to_f64());
        }
    }
    let mut power = vec![T::default(); sizes.particles * sizes.power_stride()];
    for power in power.chunks_exact_mut(sizes.power_stride()) {
        power[..sizes.pixels].fill_with(|| real::<T>(random.uniform()));
    }
    let mut list = |count: usize| (0..count).map(|_| real::<T>(-10.0 * random.uniform())).collect::<Vec<T>>();
    Operands {
        sizes,
        rows,
        columns,
        power,
        log_poses: list(sizes.poses),
        log_offsets: list(sizes.columns()),
        image_powers: (0..sizes.particles).map(|q| 100.0 + q as f64).collect(),
        allowed: Vec::new(),
    }
}

fn twin(precision: Precision, order: u64) -> OnCpu {
    OnCpu::open(precision).unwrap().shuffled(order)
}

fn precision<T>() -> Precision {
    if size_of::<T>() == 4 { Precision::Single } else { Precision::Double }
}

fn forms<T>(driver: &dyn Driver) -> Vec<Form> {
    let capability = driver.identity().capability;
    Form::ALL.into_iter().filter(|form| form.available(capability, precision::<T>())).collect()
}

fn energies<T: Scalar + Plain>(driver: &mut dyn Driver, operands: &Operands<T>, form: Form) -> Vec<T> {
    let base = driver.reserve(trial::bytes::<T>(&operands.sizes).unwrap()).unwrap();
    let mut trial = Trial::upload(driver, base, operands).unwrap();
    trial.prepare(form).unwrap();
    trial.energies(form).unwrap()
}

/// Calls `check` for every energy, with what it should be.
fn each<T: Scalar>(operands: &Operands<T>, energies: &[T], mut check: impl FnMut(f64, Exact)) {
    let Sizes { poses, particles, translations, .. } = operands.sizes;
    for particle in 0..particles {
        for pose in 0..poses {
            for t in 0..translations {
                let energy = energies[operands.sizes.at(particle, pose, t)];
                check(energy.to_f64(), operands.exact(particle, pose, t));
            }
        }
    }
}

fn exact_forms<T: Scalar + Plain>(driver: &mut dyn Driver, (absolute, of_terms): (f64, f64)) {
    for size in SIZES {
        let operands = operands::<T>(sizes(*size));
        for form in forms::<T>(driver).into_iter().filter(|form| form.is_exact()) {
            let found = energies(driver, &operands, form);
            let (mut sum, mut count) = (0.0, 0.0);
            each(&operands, &found, |energy, exact| {
                let error = energy - exact.energy;
                let tolerance = absolute + of_terms * (exact.half_power.abs() + exact.product.abs());
                assert!(error.abs() <= tolerance, "{form:?} {size:?}: {energy} instead of {exact:?}");
                sum += error * error / (exact.spread + exact.half_power).powi(2);
                count += 1.0;
            });
            let rms = f64::sqrt(sum / count);
            let stated = form.relative_rms(precision::<T>());
            assert!(rms <= stated, "{form:?} {size:?}: errors of {rms:.2e} rms, {stated:.2e} are stated");
        }
    }
}

on_both! {
    exact_forms_keep_single_precision,
    exact_forms_keep_double_precision,
    rounded_factors_err_as_stated,
    spreads_are_roots_of_half_the_squares,
    correlations_and_excluded_particles,
    an_energy_depends_on_its_own_row_and_column_only,
    what_is_no_number_stays_in_its_place_and_shows,
    half_powers_are_sums_of_squares,
}

fn exact_forms_keep_single_precision(open: Open) {
    exact_forms::<f32>(&mut *open(Precision::Single, 0), SINGLE);
}

fn exact_forms_keep_double_precision(open: Open) {
    exact_forms::<f64>(&mut *open(Precision::Double, 0), DOUBLE);
}

fn rounded_factors_err_as_stated(open: Open) {
    let driver = &mut *open(Precision::Single, 0);
    for size in &SIZES[3..] {
        let operands = operands::<f32>(sizes(*size));
        for form in forms::<f32>(driver).into_iter().filter(|form| !form.is_exact()) {
            let found = energies(driver, &operands, form);
            let stated = form.relative_rms(Precision::Single);
            let (mut sum, mut count) = (0.0, 0.0);
            each(&operands, &found, |energy, exact| {
                let relative = (energy - exact.energy).abs() / exact.spread;
                assert!(relative <= LARGEST_IN_RMS * stated, "{form:?} {size:?}: {energy} instead of {exact:?}");
                sum += relative * relative;
                count += 1.0;
            });
            let rms = f64::sqrt(sum / count);
            assert!(rms <= stated && rms > 0.5 * stated, "{form:?} {size:?}: {rms:.2e}, {stated:.2e} are stated");
        }
    }
}

fn spreads_are_roots_of_half_the_squares(open: Open) {
    fn check<T: Scalar + Plain>(driver: &mut dyn Driver, relative: f64) {
        for size in SIZES {
            let operands = operands::<T>(sizes(*size));
            let base = driver.reserve(trial::bytes::<T>(&operands.sizes).unwrap()).unwrap();
            let found: Vec<T> = Trial::upload(driver, base, &operands).unwrap().spreads().unwrap();
            let Sizes { pixels, poses, particles, translations } = operands.sizes;
            let squares = |values: &[T], line: usize| -> Vec<f64> {
                let line = &values[line * operands.sizes.stride()..][..2 * pixels];
                line.chunks_exact(2).map(|z| z[0].to_f64().powi(2) + z[1].to_f64().powi(2)).collect()
            };
            for q in 0..particles {
                let column = squares(&operands.columns, q * translations);
                for pose in 0..poses {
                    let row = squares(&operands.rows, pose);
                    let exact = (0.5 * row.iter().zip(&column).map(|(a, b)| a * b).sum::<f64>()).sqrt();
                    let spread = found[q * poses + pose].to_f64();
                    assert!((spread - exact).abs() <= relative * exact, "{size:?} {q} {pose}: {spread}, not {exact}");
                }
            }
        }
    }
    check::<f32>(&mut *open(Precision::Single, 0), 2e-6);
    check::<f64>(&mut *open(Precision::Double, 0), 1e-14);
}

fn correlations_and_excluded_particles(open: Open) {
    fn check<T: Scalar + Plain>(driver: &mut dyn Driver) {
        let mut operands = operands::<T>(sizes([40, 37, 5, 7]));
        operands.allowed = vec![1, 0, 1, 1, 0];
        for correlate in [false, true] {
            if correlate {
                operands.log_poses.clear();
                // An image without power correlates with nothing.
                operands.image_powers[2] = 0.0;
            }
            for form in forms::<T>(driver) {
                let found = energies(driver, &operands, form);
                let stated = LARGEST_IN_RMS * form.relative_rms(precision::<T>());
                each(&operands, &found, |energy, exact| {
                    if exact.energy.is_infinite() || (correlate && exact.energy == 0.0) {
                        assert_eq!(energy, exact.energy, "{form:?}");
                        return;
                    }
                    let scale = if correlate { exact.energy / exact.product } else { 1.0 };
                    let tolerance = CORRELATION * exact.energy.abs() + stated * exact.spread * scale.abs();
                    assert!((energy - exact.energy).abs() <= tolerance, "{form:?}: {energy}, not {exact:?}");
                });
            }
        }
    }
    check::<f32>(&mut *open(Precision::Single, 0));
    check::<f64>(&mut *open(Precision::Double, 0));
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    fn check<T: Scalar + Plain>() {
        let operands = operands::<T>(sizes([45, 140, 7, 21]));
        for form in forms::<T>(&twin(precision::<T>(), 0)) {
            let bits = |order: u64| {
                let found = energies(&mut twin(precision::<T>(), order), &operands, form);
                found.into_iter().map(|energy| energy.to_f64().to_bits()).collect::<Vec<u64>>()
            };
            let in_order = bits(0);
            for order in 1..4 {
                assert!(bits(order) == in_order, "{form:?}, order {order}");
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

fn an_energy_depends_on_its_own_row_and_column_only(open: Open) {
    fn check<T: Scalar + Plain>(driver: &mut dyn Driver) {
        // A part of the poses and particles, and all of them.
        let whole = operands::<T>(sizes([45, 140, 7, 21]));
        let few = sizes([45, 40, 2, 21]);
        let stride = few.stride();
        let first = 70;
        let part = Operands {
            sizes: few,
            rows: whole.rows[first * stride..][..few.poses * stride].to_vec(),
            columns: whole.columns[3 * 21 * stride..][..few.columns() * stride].to_vec(),
            power: whole.power[3 * few.power_stride()..][..2 * few.power_stride()].to_vec(),
            log_poses: whole.log_poses[first..][..few.poses].to_vec(),
            log_offsets: whole.log_offsets[3 * 21..][..few.columns()].to_vec(),
            image_powers: whole.image_powers[3..5].to_vec(),
            allowed: Vec::new(),
        };
        // FP16 takes another scale where the largest value is another; a power of two, which changes no bit here.
        for form in forms::<T>(driver) {
            let (all, some) = (energies(driver, &whole, form), energies(driver, &part, form));
            for q in 0..2 {
                for pose in 0..few.poses {
                    for t in 0..21 {
                        let (a, b) = (all[whole.sizes.at(3 + q, first + pose, t)], some[few.at(q, pose, t)]);
                        assert_eq!(a.to_f64().to_bits(), b.to_f64().to_bits(), "{form:?} {q} {pose} {t}");
                    }
                }
            }
        }
    }
    check::<f32>(&mut *open(Precision::Single, 0));
    check::<f64>(&mut *open(Precision::Double, 0));
}

fn what_is_no_number_stays_in_its_place_and_shows(open: Open) {
    let driver = &mut *open(Precision::Single, 0);
    let mut operands = operands::<f32>(sizes([20, 40, 3, 5]));
    let stride = operands.sizes.stride();
    operands.columns[7 * stride + 11] = f32::NAN;
    for form in forms::<f32>(driver).into_iter().filter(|form| !form.is_narrow()) {
        let found = energies(driver, &operands, form);
        for q in 0..3 {
            for t in 0..5 {
                let is_nan = (0..40).map(|pose| found[operands.sizes.at(q, pose, t)].is_nan());
                assert!(is_nan.into_iter().all(|is| is == (5 * q + t == 7)), "{form:?} {q} {t}");
            }
        }
    }
    // The form that scales refuses it.
    let base = driver.reserve(trial::bytes::<f32>(&operands.sizes).unwrap()).unwrap();
    let mut trial = Trial::upload(driver, base, &operands).unwrap();
    assert!(trial.prepare(Form::Fp16).is_err());
}

fn half_powers_are_sums_of_squares(open: Open) {
    fn check<T: Scalar + Plain>(driver: &mut dyn Driver, relative: f64) {
        for size in SIZES {
            let operands = operands::<T>(sizes(*size));
            let base = driver.reserve(trial::bytes::<T>(&operands.sizes).unwrap()).unwrap();
            let mut trial = Trial::upload(driver, base, &operands).unwrap();
            trial.prepare(Form::Product).unwrap();
            let found: Vec<T> = trial.half_powers().unwrap();
            for q in 0..operands.sizes.particles {
                for pose in 0..operands.sizes.poses {
                    let (power, exact) = (found[q * operands.sizes.poses + pose].to_f64(), operands.exact(q, pose, 0));
                    let error = (power - exact.half_power).abs();
                    assert!(error <= relative * exact.half_power, "{size:?} {q} {pose}: {power}, not {exact:?}");
                }
            }
        }
    }
    // Sums of positive terms: no cancellation.
    check::<f32>(&mut *open(Precision::Single, 0), 2e-6);
    check::<f64>(&mut *open(Precision::Double, 0), 1e-14);
}
