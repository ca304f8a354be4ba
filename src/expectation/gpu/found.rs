//! What a device found out about a particle, as the record of the particle has it.

use crate::expectation::products::batch::Record;
use crate::expectation::products::batch::Setting;
use crate::expectation::products::maximise::SHELL_UNITS;
use crate::expectation::products::maximise::units;
use crate::expectation::products::posterior::MASS_UNITS;
use crate::expectation::task::Comparison;
use crate::weights::BLOCK;

use super::arguments::State;

/// Children of a translation for which a block of values has places.
const STEPS: usize = 4;
/// Units of expected squared offsets, and of the mass of weights.
const OFFSET_UNITS: f64 = (1_u64 << 32) as f64;
const WEIGHT_UNITS: f64 = (1_u64 << 34) as f64;

/// One particle's results as they come from the device.
pub struct Found<'f> {
    pub state: State,
    pub class_mass: &'f [i64],
    pub offset2: i64,
    /// By class and shell.
    pub cross: &'f [i64],
    pub own: &'f [i64],
}

impl Found<'_> {
    /// Fills the record. `poses`: the particle's own list in local searches; `resolved`: by class and shell.
    pub fn tell(&self, setting: &Setting<'_>, resolved: &[bool], poses: Option<&[u32]>, record: &mut Record) {
        let shape = &setting.shape;
        let correlates = setting.task.comparison == Comparison::CrossCorrelation;
        record.total = if correlates { 1.0 } else { self.state.total as f64 / WEIGHT_UNITS };
        let least = self.state.least_energy();
        let Some(least) = least.filter(|_| record.total > 0.0) else {
            record.set_aside = Some("no pose of the fine search has a probability".to_owned());
            return;
        };
        record.min_energy = least;
        record.threshold = self.state.threshold;
        let (subscript, at) = (self.state.best as usize / BLOCK, self.state.best as usize % BLOCK);
        let (listed, translation) = (subscript / shape.translations, subscript % shape.translations);
        let child = at / STEPS * shape.steps + at % STEPS;
        let pose = poses.map_or(listed as u32, |poses| poses[listed]);
        record.best = Some((listed as u32, translation as u32, child as u32));
        record.best_pose = Some((pose, translation as u32, child as u32));
        for (mass, units) in record.mass.iter_mut().zip(self.class_mass) {
            *mass = *units as f64 / MASS_UNITS;
        }
        record.offset2 = self.offset2 as f64 / OFFSET_UNITS;
        let (v, strongest) = (&setting.group.inverse_sigma2, setting.group.strongest_weight);
        // Without its noise weight, relative to the strongest: see `products::maximise`.
        let unweighted = |sum: i64, shell: usize| {
            if v[shell] > 0.0 { units(sum as f64 / SHELL_UNITS * (strongest / v[shell])) } else { 0 }
        };
        let terms = self.cross.chunks_exact(shape.shells).zip(self.own.chunks_exact(shape.shells));
        for ((cross, own), resolved) in terms.zip(resolved.chunks_exact(shape.shells)) {
            for shell in 0..shape.shells {
                record.cross[shell] += cross[shell];
                record.own[shell] += own[shell];
                if resolved[shell] {
                    record.resolved[0] += unweighted(cross[shell], shell);
                    record.resolved[1] += unweighted(own[shell], shell);
                }
            }
        }
    }
}
