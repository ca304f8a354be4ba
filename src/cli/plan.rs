//! `plan`: how much memory and time a job will take.

use crate::error::ExitCode;
use crate::error::Result;
use crate::plan::Backend;
use crate::plan::format_bytes;
use crate::refine::plan;
use crate::refine::plan::Allocation;
use crate::refine::plan::Estimate;
use crate::refine::plan::Step;

use super::job::Job;
use super::job::JobArguments;
use super::screen::Screen;
use super::screen::counted;
use super::screen::duration;

/// Allocations of the largest step that are told; `--json` tells all.
const TOLD: usize = 12;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub job: JobArguments,
}

pub fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode> {
    let resolved = Job::load(arguments.job)?.with_some_out().resolve()?;
    for warning in &resolved.warnings {
        screen.warning(warning);
    }
    let mut wanted = resolved.plan;
    // Who tells the memory of a GPU means one.
    if wanted.backend == Backend::Auto && wanted.gpu_memory_bytes.is_some() {
        wanted.backend = Backend::Cuda;
    }
    let estimate = plan::plan(&wanted)?;
    if screen.is_json() {
        screen.print_json(&estimate)?;
    } else {
        screen.print(&table(&estimate))?;
    }
    estimate.fits_gpu()?;
    Ok(ExitCode::Done)
}

fn rows(allocations: &[Allocation]) -> String {
    let row =
        |row: &Allocation| format!("  {:<10} {:<28} {:>12}\n", row.frame, row.name, format_bytes(row.bytes as u64));
    allocations.iter().take(TOLD).map(row).collect()
}

fn table(estimate: &Estimate) -> String {
    let size = |bytes: usize| format!("{} MiB", bytes.div_ceil(1 << 20));
    // A column of its own where a GPU is counted.
    let on_gpu = |text: String| if estimate.device_peak.is_some() { format!(" {text:>10}") } else { String::new() };
    let mut text = format!(
        "{} of {} pixels, {}\n\n{:<14} {:>6} {:>6} {:>9} {:>6} {:>10} {:>10} {:>10}{} {:>12}\n",
        counted(estimate.particles, "particle"),
        estimate.box_pixels,
        counted(estimate.threads, "thread"),
        "iteration",
        "window",
        "coarse",
        "poses",
        "shifts",
        "arena",
        "beside",
        "together",
        on_gpu("GPU".to_owned()),
        "about",
    );
    for step in &estimate.steps {
        let name = if step.local { format!("{}, local", step.name) } else { step.name.to_string() };
        text.push_str(&format!(
            "{name:<14} {:>6} {:>6} {:>9} {:>6} {:>10} {:>10} {:>10}{} {:>12}\n",
            step.current_size,
            step.coarse_size,
            step.poses,
            step.translations,
            size(step.arena),
            size(step.beside.total() + step.staging),
            size(step.total),
            on_gpu(step.device.as_ref().map(|device| size(device.peak)).unwrap_or_default()),
            duration(step.seconds),
        ));
    }
    if let Some(largest) = estimate.steps.iter().max_by_key(|step| step.total) {
        text.push_str(&format!("\nThe most of the arena of the {} iteration:\n", largest.name));
        text.push_str(&rows(&largest.allocations));
        let b = &largest.beside;
        let staging =
            if largest.staging > 0 { format!(", images for the GPU {}", size(largest.staging)) } else { String::new() };
        text.push_str(&format!(
            "Beside it: maps {}, particles {}, tables {}, program {}{staging}\n",
            size(b.models),
            size(b.particles),
            size(b.tables),
            size(b.program)
        ));
    }
    let of_gpu = |step: &Step| step.device.as_ref().map_or(0, |device| device.peak);
    let largest = estimate.steps.iter().max_by_key(|step| of_gpu(step));
    if let Some((largest, device)) = largest.and_then(|step| Some((step, step.device.as_ref()?))) {
        text.push_str(&format!("\nThe most of the GPU's memory in the {} iteration:\n", largest.name));
        text.push_str(&rows(&device.allocations));
        let verdict = match estimate.gpu_memory {
            Some(most) if device.peak as u64 <= most => format!(": fits {}", format_bytes(most)),
            Some(most) => format!(": does not fit {}", format_bytes(most)),
            None => " (--gpu-memory 24GiB says how much there is)".to_owned(),
        };
        text.push_str(&format!("GPU memory: {}{verdict}\n", size(device.peak)));
    }
    text.push_str(&format!(
        "\nmemory: {}; time: about {} for {} iterations (a guess: the data decide)\n",
        size(estimate.peak),
        duration(estimate.seconds),
        estimate.iterations
    ));
    text
}
