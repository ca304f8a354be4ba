//! Whether a job's settings make sense for these particles: what neither knows alone.

use crate::error::Error;
use crate::error::Result;
use crate::plan::JobKind;
use crate::plan::Plan;

use super::particle::Dataset;

/// A particle of fewer pixels across has no shape to align.
const SMALLEST_DIAMETER_PIXELS: f64 = 4.0;

impl Dataset {
    /// Refuses settings that cannot give a meaningful result with these particles.
    ///
    /// # Errors
    /// `Usage`, with the setting and what it is compared with.
    pub fn suits(&self, plan: &Plan) -> Result<()> {
        for optics in &self.optics {
            let (pixel, name) = (optics.pixel_size_angstrom, &optics.name);
            let edge = optics.box_pixels as f64 * pixel;
            if plan.diameter_angstrom > edge {
                return Err(Error::usage(
                    format!(
                        "the diameter of {} A does not fit into the box of {edge:.1} A of optics group {name}",
                        plan.diameter_angstrom
                    ),
                    "Give the diameter of the particle, or extract the particles in a larger box.",
                ));
            }
            if plan.diameter_angstrom < SMALLEST_DIAMETER_PIXELS * pixel {
                return Err(Error::usage(
                    format!(
                        "the diameter of {} A is less than {SMALLEST_DIAMETER_PIXELS} pixels of {pixel} A of optics group {name}",
                        plan.diameter_angstrom
                    ),
                    "Give the diameter of the particle in Angstrom.",
                ));
            }
            if plan.offset_range_pixels > optics.box_pixels as f64 / 2.0 {
                return Err(Error::usage(
                    format!(
                        "offsets of up to {} pixels leave the box of {} pixels of optics group {name}",
                        plan.offset_range_pixels, optics.box_pixels
                    ),
                    "Search a few pixels (--offset-range-pixels 5); centre the particles before they are extracted.",
                ));
            }
        }
        if plan.classes > self.particles.len() {
            return Err(Error::usage(
                format!("{} classes for {} particles", plan.classes, self.particles.len()),
                "Ask for fewer --classes.",
            ));
        }
        Ok(())
    }

    /// What works but may not be what was meant, a sentence each.
    pub fn remarks(&self, plan: &Plan) -> Vec<String> {
        let mut told = Vec::new();
        let finest = self.optics.iter().map(|optics| 2.0 * optics.pixel_size_angstrom).fold(f64::INFINITY, f64::min);
        if let Some(ini_high) = plan.ini_high_angstrom.filter(|ini_high| *ini_high < finest) {
            let halves = match plan.kind {
                JobKind::Refine3d => ", both halves start from its details, which can inflate the FSC",
                JobKind::Class3d => "",
            };
            told.push(format!(
                "ini_high of {ini_high} A is beyond the Nyquist limit of {finest:.2} A: the starting map is not filtered{halves}"
            ));
        }
        told
    }
}
