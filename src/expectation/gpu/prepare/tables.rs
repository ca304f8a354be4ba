//! The tables of an optics group, which all of its particles share in an iteration.

use crate::arena::Place;
use crate::device;
use crate::device::Driver;
use crate::device::Plain;
use crate::device::Stream;
use crate::error::Result;
use crate::expectation::group::Group;
use crate::expectation::prepare;
use crate::fourier;

use super::memory::Memory;
use super::memory::Sizes;

/// Coefficients of a half transform by the image shell that their power is counted in, and where each shell begins. The
/// shells of the window hold its pixels; those beyond it every pixel of the half plane.
fn coefficients_by_shell(group: &Group) -> (Vec<u32>, Vec<u32>) {
    let n = group.box_pixels;
    let (half, last) = (n / 2, group.size / 2);
    let mut of_shell: Vec<Vec<u32>> = vec![Vec::new(); half + 1];
    for i in 0..group.window.len() {
        of_shell[usize::from(group.window.shell[i])].push(group.window.index_in_half(i, n) as u32);
    }
    for row in 0..n {
        let ky = fourier::frequency(row, n);
        for kx in usize::from(row > half)..=half {
            let shell = fourier::shell(kx as i32, ky, 0);
            if shell > last && shell <= half {
                of_shell[shell].push((row * (half + 1) + kx) as u32);
            }
        }
    }
    let mut starts = vec![0];
    starts.extend(of_shell.iter().scan(0, |end, shell| {
        *end += shell.len() as u32;
        Some(*end)
    }));
    (of_shell.concat(), starts)
}

/// Where the pixels of each shell begin.
fn pixel_starts(group: &Group) -> Vec<u32> {
    (0..=group.box_pixels / 2 + 1).map(|s| group.shell.partition_point(|v| usize::from(*v) < s) as u32).collect()
}

/// Uploads them.
pub fn upload(driver: &dyn Driver, base: u64, group: &Group, sizes: &Sizes, memory: &Memory<'_>) -> Result<()> {
    fn put<T: Plain>(driver: &dyn Driver, base: u64, place: Place<'_, T>, values: &[T]) -> Result<()> {
        assert!(values.len() <= place.len(), "{} values for a place of {}", values.len(), place.len());
        if values.is_empty() {
            return Ok(());
        }
        device::upload(driver, Stream::Compute, base + place.offset() as u64, values)
    }
    let of_window = |i: &u32| *i as usize;
    put(driver, base, memory.outside, group.mask.outside())?;
    if !memory.sigmas.is_empty() {
        let sigmas: Vec<f64> = (0..sizes.shells()).map(|s| prepare::noise_variance(group, s).sqrt()).collect();
        put(driver, base, memory.sigmas, &sigmas)?;
    }
    put(driver, base, memory.detector, group.mtf_gain.as_deref().unwrap_or(&[]))?;
    put(driver, base, memory.kx, &group.kx)?;
    put(driver, base, memory.ky, &group.ky)?;
    if let Some(all) = &group.correction {
        let picked: Vec<_> = group.in_window.iter().map(|i| all[of_window(i)]).collect();
        put(driver, base, memory.correction, &picked)?;
    }
    if let Some(all) = &group.gamma_offsets {
        let picked: Vec<f64> = group.in_window.iter().map(|i| all[of_window(i)]).collect();
        put(driver, base, memory.gamma_offsets, &picked)?;
    }
    put(driver, base, memory.noise_weights, &group.noise_weight)?;
    let (order, starts) = coefficients_by_shell(group);
    put(driver, base, memory.shell_order, &order)?;
    put(driver, base, memory.shell_starts, &starts)?;
    put(driver, base, memory.pixel_starts, &pixel_starts(group))?;
    // The tables above are gone when this returns.
    driver.finish(Stream::Compute)
}
