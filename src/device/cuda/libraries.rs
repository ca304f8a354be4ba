//! The libraries beside the driver, for those who want to know before anything runs.

use cudarc::cufft;

use super::super::Arch;
use super::super::Library;
use super::super::Nvrtc;
use super::super::Places;
use super::calls;
use super::devices::devices;

const OF_THE_KERNEL: &str = "/proc/driver/nvidia/version";

/// The driver, NVRTC and cuFFT. For kernels that were compiled ahead NVRTC is the one that compiled them.
pub fn libraries() -> Vec<Library> {
    let driver = calls::start();
    let newest_major = driver.as_ref().ok().map(|version| version / 1000);
    let driver = driver.map(driver_text).map_err(|error| error.problem);
    [("driver", driver), ("NVRTC", nvrtc(newest_major)), ("cuFFT", cufft_version())].map(of).into()
}

fn of((name, told): (&str, Result<String, String>)) -> Library {
    let (version, problem) = match told {
        Ok(version) => (Some(version), String::new()),
        Err(problem) => (None, problem),
    };
    Library { name: name.to_string(), version, problem }
}

/// `550.54.15, CUDA 12.4`.
fn driver_text(version: i32) -> String {
    let cuda = format!("CUDA {}", calls::cuda_text(version));
    // A container may not show this file.
    let text = std::fs::read_to_string(OF_THE_KERNEL).unwrap_or_default();
    let is_version = |word: &&str| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let first_line = text.lines().next().unwrap_or_default();
    first_line.split_whitespace().find(is_version).map_or(cuda.clone(), |number| format!("{number}, {cuda}"))
}

fn nvrtc(newest_major: Option<i32>) -> Result<String, String> {
    let mut archs: Vec<Arch> =
        devices().unwrap_or_default().into_iter().map(|found| Arch::of(found.capability)).collect();
    archs.dedup();
    if archs.is_empty() {
        archs.push(Arch::of((8, 0)));
    }
    let places = Places::usual();
    let mut versions = archs
        .iter()
        .map(|arch| match newest_major.and_then(|newest| places.compiler(arch, newest)) {
            Some(compiler) => Ok(compiler.trim_start_matches("NVRTC ").to_string()),
            None => Nvrtc::find(arch, newest_major).map(|found| found.version_text()).map_err(|error| error.problem),
        })
        .collect::<Result<Vec<_>, _>>()?;
    versions.dedup();
    Ok(versions.join(" and "))
}

fn cufft_version() -> Result<String, String> {
    // SAFETY: loads the library, and closes it again.
    if !unsafe { cufft::sys::is_culib_present() } {
        return Err("there is no libcufft.so.11 or libcufft.so.12 where the loader looks".to_string());
    }
    let mut version = 0;
    // SAFETY: the library is there, and every version has this function.
    let code = unsafe { cufft::sys::cufftGetVersion(&mut version) };
    if code != cufft::sys::cufftResult::CUFFT_SUCCESS {
        return Err(format!("cuFFT does not tell its version: {code:?}"));
    }
    Ok(format!("{}.{}.{}", version / 1000, version % 1000 / 100, version % 100))
}
