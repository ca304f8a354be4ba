//! What the coarse pass multiplies, as it makes it: for measurements of other ways to multiply.

use crate::arena::Frame;
use crate::error::Result;
use crate::expectation::images::ImageSource;
use crate::expectation::scalar::Scalar;
use crate::expectation::task::Task;
use crate::product::Isa;

use super::coarse;
use super::shape::PANEL;
use super::terms::each_loaded;

/// Rows of complex values (real, imaginary) and of reals, without padding, pixels in the order of shells.
#[derive(Clone, Debug)]
pub struct CoarseRows<T> {
    pub pixels: usize,
    pub translations: usize,
    /// Slices of the first class, by pose.
    pub rows: Vec<T>,
    /// v c F under every translation, by particle and translation.
    pub columns: Vec<T>,
    /// v c^2 by particle.
    pub power: Vec<T>,
    /// By particle and translation.
    pub log_offsets: Vec<T>,
    /// Sum of |F|^2 by particle.
    pub image_powers: Vec<f64>,
}

/// The rows of some poses of the first class, and of some of the task's particles (positions in it, all of one optics
/// group).
///
/// # Errors
/// Those of reading, and an image that would be set aside.
pub fn coarse_rows<T: Scalar>(
    task: &Task<'_>,
    source: &dyn ImageSource,
    isa: Isa,
    positions: &[usize],
    poses: &[u32],
    frame: &mut Frame<'_>,
) -> Result<CoarseRows<T>> {
    let mut all = CoarseRows {
        pixels: 0,
        translations: task.translations.count(),
        rows: Vec::new(),
        columns: Vec::new(),
        power: Vec::new(),
        log_offsets: Vec::new(),
        image_powers: Vec::new(),
    };
    each_loaded::<T>(task, source, isa, positions, frame, |context, worker, loaded| {
        let shape = &context.shape;
        let (row, pixels) = (shape.coarse_row::<T>(), shape.coarse_pixels);
        if loaded.number == 0 {
            all.pixels = pixels;
            for panel in poses.chunks(PANEL) {
                coarse::project(context, worker, panel);
                let slices = worker.lane.rows.chunks_exact(row).take(panel.len());
                slices.for_each(|slice| all.rows.extend_from_slice(&slice[..2 * pixels]));
            }
        }
        for column in loaded.columns.chunks_exact(row) {
            all.columns.extend_from_slice(&column[..2 * pixels]);
        }
        all.power.extend_from_slice(&loaded.coarse_power[..pixels]);
        all.log_offsets.extend_from_slice(&loaded.log_offsets[..shape.translations]);
        all.image_powers.push(loaded.record.correlation_power);
    })?;
    Ok(all)
}
