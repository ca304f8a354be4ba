//! The device that the forms run on.

use crate::device;
use crate::device::Driver;
use crate::device::OnCpu;
use crate::error::Result;
use crate::plan::BenchDevice;
use crate::plan::Precision;

pub struct Opened {
    pub driver: Box<dyn Driver>,
    pub is_twin: bool,
    pub free_bytes: usize,
    pub notes: Vec<String>,
}

pub fn precision(precision: Precision) -> device::Precision {
    match precision {
        Precision::Single => device::Precision::Single,
        Precision::Double => device::Precision::Double,
    }
}

/// # Errors
/// `Unavailable` for a GPU that is not there, and for a twin without a C++ compiler.
pub fn open(wanted: BenchDevice, scalar: Precision) -> Result<Opened> {
    let mut notes = Vec::new();
    if wanted != BenchDevice::Twin {
        // The first that this process sees, as for a run of one rank.
        match device::open(None, precision(scalar)) {
            Ok((driver, notes)) => {
                let free_bytes = driver.free_bytes()? as usize;
                return Ok(Opened { driver, is_twin: false, free_bytes, notes });
            }
            Err(error) if wanted == BenchDevice::Cuda => return Err(error),
            Err(error) => notes.push(format!("no GPU: {}", error.problem)),
        }
    }
    let driver = OnCpu::open(precision(scalar))?;
    notes.push(
        "the forms ran on the kernels' twin on the CPU: their seconds are the twin's, no GPU's, and it has no peak"
            .to_string(),
    );
    let free_bytes = driver.free_bytes()? as usize;
    Ok(Opened { driver: Box::new(driver), is_twin: true, free_bytes, notes })
}
