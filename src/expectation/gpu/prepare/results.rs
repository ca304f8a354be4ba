//! What the kernels found, in the records of the particles.

use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::products::ahead;
use crate::expectation::products::batch::Record;
use crate::expectation::products::load;
use crate::expectation::products::load::Limits;

use super::Preparation;
use super::particle;

/// sum 1/sigma2 |F|^2 over the window, zero frequency excluded.
fn weighted_power(group: &Group, power: &[f64]) -> f64 {
    let inside = 1..=group.size / 2;
    power[inside.clone()].iter().zip(&group.inverse_sigma2[inside]).map(|(p, v)| p * v).sum()
}

impl Preparation<'_, '_> {
    /// Fills the record of particle `p` of the batch, as `products::load` does.
    pub(super) fn fill(&mut self, p: usize, limits: Limits, record: &mut Record) -> Result<()> {
        let (task, group, each) = (self.task, self.group, self.sizes.results());
        let results = &self.results[p * each..][..each];
        let particle = &task.dataset.particles[record.index as usize];
        let names = [particle.image, ahead::reconstruct_image(task.dataset, record.index)];
        for (which, pixels) in
            results[particle::PIXELS..].chunks_exact(particle::PIXELS_RESULTS).take(self.sizes.images).enumerate()
        {
            let first_bad = pixels[particle::PIXELS_FIRST_BAD] as usize;
            if first_bad < self.sizes.image() {
                let value = pixels[particle::PIXELS_BAD_VALUE] as f32;
                record.set_aside = Some(load::not_finite(group, value, first_bad));
                return Ok(());
            }
            if let Some(usual) = task.usual_spread[which].get(group.optics) {
                task.dataset.refuse_wild(names[which], pixels[particle::PIXELS_SPREAD], *usual)?;
            }
        }
        let known = &mut self.known[p];
        if let Some(error) = known.error.take() {
            return Err(error);
        }
        let (power, ctf2) = results[particle::SHELLS..].split_at(self.sizes.shells());
        record.power.clear();
        record.power.extend_from_slice(power);
        record.correlation_power = results[particle::CORRELATION_POWER];
        if task.dataset.optics[group.optics].ctf_premultiplied {
            record.ctf2.clear();
            record.ctf2.extend_from_slice(ctf2);
        }
        let alike = results[particle::PIXELS + particle::PIXELS_ALIKE] != 0.0;
        // What a transform makes of a constant beyond the zero frequency is rounding, not signal.
        let weighted_power = if alike { 0.0 } else { weighted_power(group, power) };
        let largest = [results[particle::LARGEST_DATA], results[particle::LARGEST_WEIGHT]];
        record.set_aside = load::unusable(limits, largest, weighted_power);
        if record.set_aside.is_some() {
            return Ok(());
        }
        record.constant = 0.5 * (weighted_power + load::power_beyond(group, power));
        record.offset_pixels = known.offset_pixels;
        record.group_scale = known.group_scale;
        (record.masked_dc, record.unmasked_dc, record.ctf_dc) =
            (results[particle::MASKED_DC], results[particle::UNMASKED_DC], known.ctf_dc);
        Ok(())
    }
}
