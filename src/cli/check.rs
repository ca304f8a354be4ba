//! `check`: reads all inputs of a job and reports what is wrong with them, before anything runs.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::dataset::Dataset;
use crate::dataset::ReadOptions;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::imaging::mask::has_inside;
use crate::model::Volume;
use crate::plan::JobKind;
use crate::plan::Plan;

use super::job::Job;
use super::job::JobArguments;
use super::job::reference_files;
use super::maps::read_particles;
use super::maps::read_volume;
use super::maps::same_box;
use super::pixels;
use super::pixels::Looked;
use super::screen::Screen;
use super::screen::counted;
use super::screen::error_value;

#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub job: JobArguments,
    /// Read every pixel of every image too
    #[arg(long)]
    pub images: bool,
}

/// One finding: an input and what is known about it.
#[derive(Debug)]
struct Findings<'a> {
    screen: &'a Screen,
    told: Vec<Told>,
    first_error: Option<ExitCode>,
}

#[derive(Debug, Serialize)]
struct Told {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<serde_json::Value>,
}

pub fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode> {
    let job = Job::load(arguments.job)?.with_some_out();
    let resolved = job.resolve()?;
    for warning in &resolved.warnings {
        screen.warning(warning);
    }
    let plan = resolved.plan;
    let mut findings = Findings { screen, told: Vec::new(), first_error: None };

    let options = ReadOptions { ctf: plan.ctf, ..ReadOptions::default() };
    let dataset = findings.note("particles", read_particles(&plan.file(&plan.particles), &options), particles_line)?;
    if let Some(dataset) = dataset.as_ref().filter(|_| plan.kind == JobKind::Refine3d) {
        let mut halved = dataset.clone();
        halved.assign_halves(plan.seed);
        if halved.check_halves().is_err() {
            findings.note("half sets", halved.check_halves(), |()| String::new())?;
        }
    }
    for remark in dataset.iter().flat_map(|dataset| dataset.remarks(&plan)) {
        screen.warning(&remark);
    }
    let mut first: Option<(PathBuf, Volume)> = None;
    for file in reference_files(&plan.reference, &plan.working_directory)? {
        let map = read_volume(&file).and_then(|map| match &first {
            Some((path, other)) => same_box((path, other), (&file, &map)).map(|()| map),
            None => Ok(map),
        });
        if let Some(map) = findings.note("reference", map, |map| map_line(&file, map))? {
            first.get_or_insert((file, map));
        }
    }
    if let (Some(dataset), Some((path, map))) = (&dataset, &first) {
        findings.note("sizes", sizes(&plan, dataset, path, map), Clone::clone)?;
    }
    if let Some(path) = &plan.mask {
        let path = plan.file(path);
        let mask = read_volume(&path).and_then(|mask| {
            within_zero_and_one(&path, &mask)?;
            if let Some((other, map)) = &first {
                same_box((other, map), (&path, &mask))?;
            }
            Ok(mask)
        });
        findings.note("mask", mask, |mask| map_line(&path, mask))?;
    }
    if let Some(dataset) = dataset.as_ref().filter(|_| arguments.images) {
        findings.images(pixels::look(dataset))?;
    }
    findings.end()
}

impl Findings<'_> {
    /// Keeps a result and tells it at once; an error does not stop the other checks.
    fn note<T>(&mut self, name: &str, result: Result<T>, line: impl Fn(&T) -> String) -> Result<Option<T>> {
        match result {
            Ok(value) => {
                let message = line(&value);
                if !self.screen.is_json() {
                    self.screen.print(&format!("{name}: {message}"))?;
                }
                self.told.push(Told { name: name.to_string(), message: Some(message), error: None });
                Ok(Some(value))
            }
            Err(error) => {
                if !self.screen.is_json() {
                    self.screen.error(&error);
                }
                self.first_error.get_or_insert(error.code);
                self.told.push(Told { name: name.to_string(), message: None, error: Some(error_value(&error)) });
                Ok(None)
            }
        }
    }

    /// Every bad image, or that there is none.
    fn images(&mut self, looked: Result<Looked>) -> Result<()> {
        match looked {
            Ok(looked) if !looked.bad.is_empty() => {
                for error in looked.bad {
                    self.note("images", Err::<Looked, _>(error), images_line)?;
                }
            }
            looked => drop(self.note("images", looked, images_line)?),
        }
        Ok(())
    }

    fn end(self) -> Result<ExitCode> {
        if self.screen.is_json() {
            self.screen.print_json(&self.told)?;
        }
        Ok(self.first_error.unwrap_or(ExitCode::Done))
    }
}

fn particles_line(dataset: &Dataset) -> String {
    let boxes: Vec<String> = dataset
        .optics
        .iter()
        .map(|group| format!("{} ({} px, {:.4} A)", group.name, group.box_pixels, group.pixel_size_angstrom))
        .collect();
    let halves = dataset.particles.iter().filter(|particle| particle.half > 0).count();
    let halves = if halves == dataset.particles.len() { "with half sets" } else { "half sets will be drawn" };
    format!(
        "{} in {} and {}, {halves}; optics {}",
        dataset.particles.len(),
        counted(dataset.stacks.len(), "stack"),
        counted(dataset.groups.len(), "micrograph group"),
        boxes.join(", ")
    )
}

fn images_line(looked: &Looked) -> String {
    format!("{} read, standard deviation {:.3}", looked.images, looked.usual)
}

fn map_line(path: &Path, map: &Volume) -> String {
    format!("{}, {} voxels of {:.4} A", path.display(), map.box_pixels, map.pixel_size_angstrom)
}

/// Whether the diameter and the starting map fit the particles.
fn sizes(plan: &Plan, dataset: &Dataset, path: &Path, map: &Volume) -> Result<String> {
    let edge = |group: &crate::dataset::OpticsGroup| group.box_pixels as f64 * group.pixel_size_angstrom;
    let smallest = dataset.optics.iter().map(edge).fold(f64::INFINITY, f64::min);
    dataset.suits(plan)?;
    let Some(first) = dataset.optics.first() else {
        return Err(Error::internal("a data set without optics groups"));
    };
    let images =
        Volume { box_pixels: first.box_pixels, pixel_size_angstrom: first.pixel_size_angstrom, data: Vec::new() };
    if !plan.trust_reference_size {
        same_box((path, map), (&plan.particles, &images))?;
    }
    Ok(format!("diameter {} A in a box of {smallest:.1} A", plan.diameter_angstrom))
}

fn within_zero_and_one(path: &Path, mask: &Volume) -> Result<()> {
    match mask.data.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        None => has_inside(&path.display().to_string(), &mask.data),
        Some(value) => Err(Error::bad_data(
            path.display().to_string(),
            format!("a mask holds the value {value}"),
            "Use values from 0 to 1; `relion-rs mask` makes a mask from a map.",
        )),
    }
}
