//! Fourier transforms, windows, shells and filters in the conventions of the field.
//!
//! Real images and volumes are stored with x fastest, then y, then z; all edges are even. A *half
//! transform* holds kx = 0..=n/2 (fastest), then rows ky (and planes kz): index i means frequency i
//! for i <= n/2 and i - n above, so that index n/2 is the positive Nyquist frequency. The forward
//! transform divides by the number of real elements, the inverse does not scale.

mod filter;
mod lines;
mod real;
mod shells;
mod transform2;
mod transform3;
mod window;

pub use filter::{low_pass_3d, low_pass_weight, resize_volume};
pub use lines::Scratch;
pub use real::Real;
pub use shells::{fsc, half_plane_counts, half_plane_sums, power_spectrum, shell, shell_means, shell_of_square};
pub use transform2::RealFft2;
pub use transform3::RealFft3;
pub use transform3::half_volume_len;
pub use window::{checkerboard_2d, checkerboard_3d, window_2d, window_3d};

/// Frequency of index `i` along y or z of a transform of edge `n`: i up to n/2, then i - n.
#[inline]
pub fn frequency(i: usize, n: usize) -> i32 {
    if i <= n / 2 { i as i32 } else { i as i32 - n as i32 }
}

/// Index of frequency `k` (in -n/2..=n/2) along y or z of a transform of edge `n`.
#[inline]
pub fn frequency_index(k: i32, n: usize) -> usize {
    if k >= 0 { k as usize } else { (k + n as i32) as usize }
}
