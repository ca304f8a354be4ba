//! `bench gsd`: what the launcher asks of the engine, and what the engine answers.

use serde::Deserialize;
use serde::Serialize;

use super::kinds::Precision;

/// Where the device's forms run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BenchDevice {
    /// A GPU where there is one, else the kernels' twin on the CPU
    Auto,
    /// A GPU
    Cuda,
    /// The kernels' twin on the CPU: results, no speed
    Twin,
}

/// What is measured.
#[derive(clap::Args, Clone, Debug)]
pub struct GsdSettings {
    /// Boxes in pixels (default: 64,128,256,512; on the twin 32,64)
    #[arg(long = "box", value_name = "PIXELS", value_delimiter = ',')]
    pub boxes: Vec<usize>,
    /// Forms: direct, tile, product, tf32, fp16, 3xtf32, and cpu for the engine's own (default: all; on the twin
    /// direct, tile, product and cpu)
    #[arg(long = "form", value_name = "NAME", value_delimiter = ',')]
    pub forms: Vec<String>,
    /// Particles (default: 64; on the twin 4)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub particles: Option<u32>,
    /// Projections (default: 4096; on the twin 96)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub poses: Option<u32>,
    /// Where the forms run
    #[arg(long, value_enum, default_value_t = BenchDevice::Auto)]
    pub device: BenchDevice,
    /// Scalar of the rows; matrix units take single only
    #[arg(long, value_enum, default_value_t = Precision::Single)]
    pub precision: Precision,
}

impl GsdSettings {
    /// The same as words of a command.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut flag = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        let boxes: Vec<String> = self.boxes.iter().map(usize::to_string).collect();
        flag("box", (!boxes.is_empty()).then(|| boxes.join(",")));
        flag("form", (!self.forms.is_empty()).then(|| self.forms.join(",")));
        flag("particles", self.particles.map(|count| count.to_string()));
        flag("poses", self.poses.map(|count| count.to_string()));
        flag("device", Some(value_name(&self.device)));
        flag("precision", Some(value_name(&self.precision)));
        words
    }
}

fn value_name<T: clap::ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What was measured, and on what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GsdRecord {
    /// The device's name and identifier; the twin's where there is no GPU.
    pub device: String,
    pub uuid: String,
    /// Compute capability.
    pub capability: [u32; 2],
    /// Digest of the kernels, and what compiled them.
    pub kernels: String,
    /// The forms ran on the twin: their seconds say nothing about a GPU.
    pub is_twin: bool,
    pub precision: Precision,
    pub cpu_threads: usize,
    pub instruction_set: String,
    /// Box of the particles' images.
    pub source_box_pixels: usize,
    /// What a reader has to know.
    pub notes: Vec<String>,
    /// What the device's units did at most, measured. Not on the twin.
    pub peaks: Vec<GsdPeak>,
    pub rows: Vec<GsdRow>,
}

/// The most that units of a device did, in registers or shared memory only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GsdPeak {
    /// `fma`, `tf32`, `fp16`.
    pub unit: String,
    /// `fma`, `mma`, `wgmma`.
    pub instruction: String,
    pub peak_gigaflops: f64,
}

/// One form at one box.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GsdRow {
    pub box_pixels: usize,
    /// Complex values of a row, and of them those inside the window of the source.
    pub pixels: usize,
    pub filled_pixels: usize,
    pub poses: usize,
    pub particles: usize,
    pub translations: usize,
    pub form: String,
    pub seconds: f64,
    /// Not on the twin.
    pub gigaflops: Option<f64>,
    /// Of the peak of the form's units, by their fastest instruction; for 3xtf32 of a third of it.
    pub share_of_peak: Option<f64>,
    /// Over `direct` on the same device.
    pub speed_up: Option<f64>,
    /// Error of a squared difference against double precision, of the same rows.
    pub rms_error: f64,
    pub largest_error: f64,
    /// Rms of the error over the sum of the difference's two terms.
    pub relative_error: f64,
    /// Rms of the error over the root of the sum of the product's squared terms: what significance is widened by is four
    /// times the stated one (`Form::relative_rms`).
    pub error_of_spread: f64,
}
