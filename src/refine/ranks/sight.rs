//! What CUDA shows to a rank.

use serde::Deserialize;
use serde::Serialize;

use crate::device;
use crate::device::Absent;
use crate::device::Found;
use crate::device::Library;
use crate::device::Source;
use crate::plan::Backend;

/// The one library that a device can do without: the host transforms images in its place.
const SPARED: &str = "cuFFT";
/// Digits of the kernels' digest that are told.
const DIGEST_DIGITS: usize = 16;

/// The devices that a rank sees, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    pub devices: Vec<Found>,
    /// What decides a result beside the device itself: kernels and libraries.
    pub program: String,
    /// Why devices are slower here than they could be.
    pub slower: Option<String>,
    /// Problem and fix, where no device can be used.
    pub absent: Option<(String, String)>,
}

impl Sight {
    /// Looks, unless CPUs were asked for: the driver is not woken for nothing.
    pub fn look(backend: Backend) -> Self {
        if backend == Backend::Cpu {
            return Self::default();
        }
        match device::seen() {
            Err(error) => Self::none(error.problem, error.fix),
            Ok(devices) => Self::of(devices, &device::needed_libraries()),
        }
    }

    fn of(devices: Vec<Found>, libraries: &[Library]) -> Self {
        if devices.is_empty() {
            return Self::none(Absent::Device.problem(), Absent::Device.fix());
        }
        let missing = || libraries.iter().filter(|library| library.version.is_none());
        let absent = |l: &Library| Absent::Library { name: l.name.clone(), cause: l.problem.clone() };
        if let Some(absent) = missing().find(|library| library.name != SPARED).map(absent) {
            return Self::none(absent.problem(), absent.fix());
        }
        let slower = missing().map(absent).next().map(|absent| {
            format!(
                "{}: images go to the host and back to be transformed, which is slower. {}",
                absent.problem(),
                absent.fix()
            )
        });
        // The driver compiles nothing and computes nothing.
        let versions = libraries.iter().filter(|library| library.name != "driver");
        let versions = versions.map(|library| match &library.version {
            Some(version) => format!(", {} {version}", library.name),
            None => format!(", no {}", library.name),
        });
        let program = format!("kernels {:.*}{}", DIGEST_DIGITS, Source::digest(), versions.collect::<String>());
        Self { devices, program, slower, absent: None }
    }

    pub fn none(problem: String, fix: String) -> Self {
        Self { absent: Some((problem, fix)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_as_good_as_no_device_but_for_cufft() {
        let device = Found {
            ordinal: 0,
            uuid: "GPU-a".to_owned(),
            name: "NVIDIA A100".to_owned(),
            capability: (8, 0),
            processors: 108,
            memory_bytes: 40 << 30,
        };
        let library = |name: &str, version: Option<&str>| Library {
            name: name.to_owned(),
            version: version.map(str::to_owned),
            problem: "no such file".to_owned(),
        };
        let all = [library("driver", Some("550.54")), library("NVRTC", Some("12.8")), library("cuFFT", Some("11.3"))];
        let sight = Sight::of(vec![device.clone()], &all);
        assert!(sight.absent.is_none() && sight.program.ends_with(", NVRTC 12.8, cuFFT 11.3"), "{sight:?}");
        assert_eq!(sight.slower, None);
        assert_eq!(sight.program.split(',').next().unwrap().len(), "kernels ".len() + DIGEST_DIGITS);
        let without = [library("NVRTC", Some("12.8")), library("cuFFT", None)];
        let sight = Sight::of(vec![device.clone()], &without);
        assert!(sight.absent.is_none() && sight.program.ends_with(", NVRTC 12.8, no cuFFT"), "{sight:?}");
        let slower = sight.slower.unwrap();
        assert!(
            slower.contains("cuFFT cannot be loaded: no such file") && slower.contains("LD_LIBRARY_PATH"),
            "{slower}"
        );
        let sight = Sight::of(vec![device], &[library("cuFFT", None), library("NVRTC", None)]);
        assert!(sight.devices.is_empty() && sight.absent.unwrap().0.contains("NVRTC cannot be loaded: no such file"));
        assert!(Sight::of(Vec::new(), &all).absent.unwrap().0.contains("no GPU is visible"));
        assert_eq!(Sight::look(Backend::Cpu), Sight::default());
    }
}
