//! Conversions between shells, pixels and Angstrom, and the one rounding rule of the method.
//!
//! Names carry units everywhere: `_angstrom`, `_pixels`, `_degrees`, `_radians`, `_kilovolt`, `_mm`.
//! A resolution is in 1/Angstrom when its name ends in `_per_angstrom`.

/// Rounds half away from zero, the rule for shells, sizes and pixel shifts.
pub fn round_half_away(x: f64) -> i64 {
    x.round() as i64
}

/// Shell index nearest to a resolution `d` in Angstrom: ROUND(N a / d).
pub fn shell_of_angstrom(d_angstrom: f64, box_pixels: usize, pixel_size_angstrom: f64) -> i64 {
    round_half_away(box_pixels as f64 * pixel_size_angstrom / d_angstrom)
}

/// Resolution in Angstrom of a shell; 999 for shell 0, as RELION reports it.
pub fn angstrom_of_shell(shell: usize, box_pixels: usize, pixel_size_angstrom: f64) -> f64 {
    if shell == 0 { 999.0 } else { box_pixels as f64 * pixel_size_angstrom / shell as f64 }
}
