//! The most that a device's units do, measured: what the forms' speed is a share of (`kernels/peak.cu`).

use crate::device;
use crate::device::Driver;
use crate::device::Grid;
use crate::device::Mark;
use crate::device::Precision;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::gpu::Form;
use crate::plan::GsdPeak;

use super::measure;

const THREADS: u32 = 256;
/// Blocks of which all are at work at once, on every GPU: two have registers enough.
const BLOCKS_A_PROCESSOR: u32 = 2;
/// A launch lasts milliseconds. Sums of ones stay below 2^24, where FP32 is exact.
const ROUNDS: u32 = 1 << 15;
/// Compute capability of the matrix units, and of those that read shared memory.
const MATRIX_UNITS: (u32, u32) = (8, 0);
const WIDE_UNITS: (u32, u32) = (9, 0);
const TWIN: (u32, u32) = (0, 0);

/// A kernel of `peak.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peak {
    kernel: &'static str,
    /// What is multiplied, and by which instruction.
    unit: &'static str,
    instruction: &'static str,
    /// Products of a thread in a round.
    products: u64,
}

const FMA: Peak = Peak { kernel: "peak_fma", unit: "fma", instruction: "fma", products: 16 };
const ALL: [Peak; 5] = [
    FMA,
    Peak { kernel: "peak_tf32", unit: "tf32", instruction: "mma", products: 8 * 4 * 8 },
    Peak { kernel: "peak_fp16", unit: "fp16", instruction: "mma", products: 8 * 4 * 16 },
    Peak { kernel: "peak_wide_tf32", unit: "tf32", instruction: "wgmma", products: 64 * 8 * 8 },
    Peak { kernel: "peak_wide_fp16", unit: "fp16", instruction: "wgmma", products: 64 * 8 * 16 },
];

/// As `PeakArguments` in `peak.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Arguments {
    totals: u64,
    rounds: u32,
    one: f32,
}

impl Peak {
    fn available(&self, capability: (u32, u32), precision: Precision) -> bool {
        let has = match self.instruction {
            "mma" => capability >= MATRIX_UNITS,
            "wgmma" => capability == WIDE_UNITS,
            _ => return true,
        };
        precision == Precision::Single && (has || capability == TWIN)
    }

    fn launch(&self, driver: &dyn Driver, base: u64, blocks: u32, rounds: u32) -> Result<()> {
        let grid = Grid { blocks: [blocks, 1, 1], threads: [THREADS, 1, 1], shared_bytes: 0 };
        device::launch(driver, Stream::Compute, self.kernel, grid, &Arguments { totals: base, rounds, one: 1.0 })
    }

    /// Runs once and reads the sums: no product was left out.
    fn check(&self, driver: &dyn Driver, base: u64, blocks: u32, rounds: u32) -> Result<()> {
        self.launch(driver, base, blocks, rounds)?;
        let mut totals = vec![0i64; (blocks * THREADS) as usize];
        device::download(driver, Stream::Compute, base, &mut totals)?;
        driver.finish(Stream::Compute)?;
        let wanted = self.products as i64 * i64::from(rounds);
        match totals.iter().find(|total| **total != wanted) {
            None => Ok(()),
            Some(total) => Err(Error::internal(format!("{}: {total} products, not {wanted}", self.kernel))),
        }
    }

    fn seconds(&self, driver: &dyn Driver, base: u64, blocks: u32) -> Result<f64> {
        let (start, end) = (Mark(0), Mark(1));
        driver.mark(Stream::Compute, start)?;
        self.launch(driver, base, blocks, ROUNDS)?;
        driver.mark(Stream::Compute, end)?;
        driver.finish(Stream::Compute)?;
        driver.seconds(start, end)
    }
}

/// Bytes of the device for so many blocks.
fn bytes(blocks: u32) -> usize {
    (blocks * THREADS) as usize * size_of::<i64>()
}

/// What this device's units do, one after another. Takes the place of what was reserved.
///
/// # Errors
/// The driver's; `Internal` where a kernel does not do what it is counted for.
pub fn measure(driver: &mut dyn Driver, precision: Precision) -> Result<Vec<GsdPeak>> {
    let blocks = driver.identity().processors * BLOCKS_A_PROCESSOR;
    let capability = driver.identity().capability;
    let base = driver.reserve(bytes(blocks))?;
    let mut peaks = Vec::new();
    for peak in ALL.iter().filter(|peak| peak.available(capability, precision)) {
        peak.check(driver, base, blocks, ROUNDS)?;
        let seconds = measure::median(|| peak.seconds(driver, base, blocks))?;
        let products = (peak.products * u64::from(ROUNDS) * u64::from(blocks * THREADS)) as f64;
        peaks.push(GsdPeak {
            unit: peak.unit.to_string(),
            instruction: peak.instruction.to_string(),
            // A product and its sum.
            peak_gigaflops: 2.0 * products / seconds / 1e9,
        });
    }
    Ok(peaks)
}

/// The most that the units of a form do, in operations of the form: by their fastest instruction, whichever the form
/// uses. 3xTF32 takes three products for one.
pub fn of_form(peaks: &[GsdPeak], form: &str) -> Option<f64> {
    let form = Form::parse(form).ok()?;
    let (unit, times) = match form {
        Form::Tf32 => ("tf32", 1.0),
        Form::Fp16 => ("fp16", 1.0),
        Form::ThreeTf32 => ("tf32", 3.0),
        Form::Direct | Form::Tile | Form::Product => (FMA.unit, 1.0),
    };
    let of_unit = peaks.iter().filter(|peak| peak.unit == unit).map(|peak| peak.peak_gigaflops);
    of_unit.reduce(f64::max).map(|peak| peak / times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::OnCpu;

    #[test]
    fn every_product_that_is_counted_is_made() {
        for precision in [Precision::Single, Precision::Double] {
            let mut driver = OnCpu::open(precision).unwrap().shuffled(1);
            let base = driver.reserve(bytes(2)).unwrap();
            let there: Vec<Peak> = ALL.into_iter().filter(|peak| peak.available(TWIN, precision)).collect();
            assert_eq!(there.len(), if precision == Precision::Single { 5 } else { 1 });
            for peak in there {
                for rounds in [1, 3] {
                    peak.check(&driver, base, 2, rounds).unwrap();
                }
                let less = Peak { products: peak.products - 1, ..peak };
                assert!(less.check(&driver, base, 1, 1).unwrap_err().problem.contains("products"));
            }
        }
    }

    #[test]
    fn units_are_those_of_the_architecture() {
        let there = |capability, precision| {
            let there = ALL.iter().filter(|peak| peak.available(capability, precision));
            there.map(|peak| peak.kernel).collect::<Vec<_>>()
        };
        assert_eq!(there((7, 5), Precision::Single), ["peak_fma"]);
        assert_eq!(there((8, 6), Precision::Single), ["peak_fma", "peak_tf32", "peak_fp16"]);
        assert_eq!(there((9, 0), Precision::Single).len(), 5);
        assert_eq!(there((12, 0), Precision::Single).len(), 3);
        assert_eq!(there((9, 0), Precision::Double), ["peak_fma"]);
    }

    #[test]
    fn a_form_has_the_peak_of_its_fastest_instruction() {
        let peak = |unit: &str, instruction: &str, peak_gigaflops| GsdPeak {
            unit: unit.to_string(),
            instruction: instruction.to_string(),
            peak_gigaflops,
        };
        let peaks = [peak("fma", "fma", 50.0), peak("tf32", "mma", 300.0), peak("tf32", "wgmma", 450.0)];
        let of = |form| of_form(&peaks, form);
        assert_eq!((of("product"), of("tf32"), of("3xtf32")), (Some(50.0), Some(450.0), Some(150.0)));
        assert_eq!((of("fp16"), of("cpu")), (None, None));
    }
}
