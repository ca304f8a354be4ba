//! Batch phase 2, second part: the significant samples of each particle, the smallest set of coarse samples that holds
//! the wanted share of the posterior.

use crate::expectation::scalar::Scalar;
use crate::expectation::task::Comparison;
use crate::product;

use super::batch::Context;
use super::batch::Record;
use super::batch::Worker;
use super::batch::product_f64;
use super::batch::scalar;
use super::coarse::LARGEST_EXPONENT;
use super::shape::PANEL;

/// What a coarse search found for one of its particles.
#[derive(Clone, Copy)]
pub struct Found<'e, T> {
    /// Energies by panel, particle, translation and orientation of the panel.
    pub energies: &'e [T],
    /// Smallest energy by panel and particle.
    pub least: &'e [T],
    /// The particle, of so many searched together.
    pub particle: usize,
    pub searched: usize,
    /// Panels, and poses of a class; the poses of a class start a new panel.
    pub panels: usize,
    pub per_class: usize,
    pub translations: usize,
}

impl<T: Scalar> Found<'_, T> {
    fn width(&self) -> usize {
        self.translations * PANEL
    }

    fn energies_of(&self, panel: usize) -> &[T] {
        &self.energies[(panel * self.searched + self.particle) * self.width()..][..self.width()]
    }

    fn least_of(&self, panel: usize) -> T {
        self.least[panel * self.searched + self.particle]
    }

    /// Number of the sample `place` of a panel, translations fastest.
    fn sample(&self, panel: usize, place: usize) -> usize {
        let panels_per_class = self.per_class.div_ceil(PANEL);
        let first = panel / panels_per_class * self.per_class + panel % panels_per_class * PANEL;
        (first + place % PANEL) * self.translations + place / PANEL
    }
}

/// Sets the bits of the particle's significant samples.
pub fn significant<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    record: &mut Record,
    found: Found<'_, T>,
    bits: &mut [u64],
) {
    bits.fill(0);
    if !record.is_used() {
        return;
    }
    let mut least = T::INFINITY;
    for panel in 0..found.panels {
        let of_panel = found.least_of(panel);
        least = if of_panel < least { of_panel } else { least };
    }
    if product_f64(least) == f64::INFINITY {
        record.set_aside = Some("no pose has a prior probability".to_owned());
        return;
    }
    match context.task.comparison {
        Comparison::CrossCorrelation => {
            record.coarse_kept = 1;
            // The first of equals.
            let panel = (0..found.panels).find(|panel| found.least_of(*panel) == least);
            if let Some(panel) = panel
                && let Some(place) = found.energies_of(panel).iter().position(|e| *e == least)
            {
                set(bits, found.sample(panel, place));
            }
        }
        Comparison::Likelihood => record.coarse_kept = select(context, worker, found, least, bits),
    }
}

fn set(bits: &mut [u64], sample: usize) {
    bits[sample / 64] |= 1 << (sample % 64);
}

/// Selects by the weights of the panels that have any; returns how many samples were selected.
fn select<T: Scalar>(
    context: &Context<'_, T>,
    worker: &mut Worker<'_, T>,
    found: Found<'_, T>,
    least: T,
    bits: &mut [u64],
) -> usize {
    let options = context.task.options;
    let (selector, width) = (&mut worker.lane.selector, found.width());
    let floor = scalar::<T>(-LARGEST_EXPONENT);
    let mut count = 0;
    selector.start(options.adaptive_fraction, options.max_significant, T::DIGITS);
    for panel in (0..found.panels).filter(|panel| least - found.least_of(*panel) > floor) {
        worker.lane.active[count] = panel as u32;
        let weights = &mut worker.lane.coarse_weights[count * width..][..width];
        weights.copy_from_slice(found.energies_of(panel));
        product::weigh(context.isa, least, scalar(LARGEST_EXPONENT), weights);
        selector.show(weights);
        count += 1;
    }
    let weights = &worker.lane.coarse_weights[..count * width];
    let selection = loop {
        if let Some(selection) = selector.finish_pass() {
            break selection;
        }
        weights.chunks_exact(PANEL).for_each(|row| selector.show(row));
    };
    let kept = |w: &T| *w > T::default() && product_f64(*w) >= selection.threshold;
    for (panel, weights) in worker.lane.active[..count].iter().zip(weights.chunks_exact(width)) {
        for (t, row) in weights.chunks_exact(PANEL).enumerate() {
            if !row.iter().fold(false, |any, w| any | kept(w)) {
                continue;
            }
            for (i, _) in row.iter().enumerate().filter(|(_, w)| kept(w)) {
                set(bits, found.sample(*panel as usize, t * PANEL + i));
            }
        }
    }
    selection.count as usize
}
