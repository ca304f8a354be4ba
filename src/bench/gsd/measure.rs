//! Seconds and errors of one form.

use crate::device::Driver;
use crate::device::Plain;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::Scalar;
use crate::expectation::gpu::Form;
use crate::expectation::gpu::trial::Exact;
use crate::expectation::gpu::trial::Operands;
use crate::expectation::gpu::trial::Trial;
use crate::product;

/// Differences that are compared with double precision.
const SAMPLES: usize = 2048;
/// A form is timed until so many seconds have passed, at least so often and at most so often. The median counts.
const LONG_ENOUGH: f64 = 0.5;
const FEWEST: usize = 3;
const MOST: usize = 50;

/// An energy's place, and what it should be.
pub struct Sampled {
    pub at: usize,
    pub exact: Exact,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    pub seconds: f64,
    pub rms_error: f64,
    pub largest_error: f64,
    pub relative_error: f64,
    pub error_of_spread: f64,
}

/// Differences all over the particles, poses and translations, in double precision.
pub fn sample<T: Scalar>(operands: &Operands<T>) -> Vec<Sampled> {
    let sizes = operands.sizes;
    let all = sizes.poses * sizes.columns();
    let count = all.min(SAMPLES);
    // Steps by the golden section fall on no pattern of the sizes.
    let at = |i: usize| ((i as f64 * 0.618_033_988_749_894_9).fract() * all as f64) as usize;
    let sampled = |i: usize| {
        let at = at(i);
        let (pair, t) = (at / sizes.translations, at % sizes.translations);
        Sampled { at, exact: operands.exact(pair / sizes.poses, pair % sizes.poses, t) }
    };
    (0..count).map(sampled).collect()
}

/// # Errors
/// `Internal` where an energy is no number.
pub fn errors<T: Scalar>(name: &str, energies: &[T], sampled: &[Sampled]) -> Result<Measured> {
    let (mut squares, mut relatives, mut of_spreads, mut largest) = (0.0, 0.0, 0.0, 0.0_f64);
    for Sampled { at, exact } in sampled {
        let error = (product::Scalar::to_f64(energies[*at]) - exact.energy).abs();
        if !error.is_finite() {
            return Err(Error::internal(format!("form {name}: energy {at} is {:?}, not {exact:?}", energies[*at])));
        }
        squares += error * error;
        relatives += (error / (exact.half_power.abs() + exact.product.abs()).max(f64::MIN_POSITIVE)).powi(2);
        of_spreads += (error / exact.spread.max(f64::MIN_POSITIVE)).powi(2);
        largest = largest.max(error);
    }
    let count = sampled.len().max(1) as f64;
    Ok(Measured {
        seconds: 0.0,
        rms_error: (squares / count).sqrt(),
        largest_error: largest,
        relative_error: (relatives / count).sqrt(),
        error_of_spread: (of_spreads / count).sqrt(),
    })
}

/// A form on a device that has reserved a region at `base`. Unless it is timed it runs once.
///
/// # Errors
/// The driver's, and those of [`errors`].
pub fn on_device<T: Scalar + Plain>(
    driver: &dyn Driver,
    base: u64,
    form: Form,
    operands: &Operands<T>,
    sampled: &[Sampled],
    is_timed: bool,
) -> Result<Measured> {
    let mut trial = Trial::upload(driver, base, operands)?;
    trial.prepare(form)?;
    let energies = trial.energies::<T>(form)?;
    let found = errors(form.name(), &energies, sampled)?;
    let seconds = if is_timed { median(|| trial.seconds(form))? } else { trial.seconds(form)? };
    Ok(Measured { seconds, ..found })
}

/// The median of many runs.
///
/// # Errors
/// Those of the run.
pub fn median(mut run: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut all = Vec::new();
    while all.len() < FEWEST || (all.len() < MOST && all.iter().sum::<f64>() < LONG_ENOUGH) {
        all.push(run()?);
    }
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(energy: f64) -> Exact {
        Exact { half_power: 3.0, product: 1.0, spread: 1.0, energy }
    }

    #[test]
    fn errors_are_of_the_samples_and_never_no_number() {
        let sampled = [Sampled { at: 0, exact: exact(2.0) }, Sampled { at: 2, exact: exact(5.0) }];
        let found = errors("f", &[2.0_f64, 99.0, 9.0], &sampled).unwrap();
        assert_eq!((found.rms_error, found.largest_error), (8.0_f64.sqrt(), 4.0));
        assert_eq!((found.relative_error, found.error_of_spread), (0.5_f64.sqrt(), 8.0_f64.sqrt()));
        assert!(errors("f", &[f64::NAN, 0.0, 0.0], &sampled).is_err());
        assert!(errors("f", &[f64::INFINITY, 0.0, 0.0], &sampled).is_err());
    }

    #[test]
    fn short_runs_are_timed_often_and_the_median_counts() {
        let mut times = [9.0, 0.2, 0.3].into_iter();
        assert_eq!(median(|| Ok(times.next().unwrap())).unwrap(), 0.3);
        let mut count = 0;
        median(|| {
            count += 1;
            Ok(0.001)
        })
        .unwrap();
        assert_eq!(count, MOST);
    }
}
