//! The contrast transfer function (Rohou & Grigorieff 2015; Zivanov et al. 2018).

use std::f64::consts::FRAC_PI_2;
use std::f64::consts::PI;

use crate::dataset::CtfParameters;
use crate::dataset::OpticsGroup;
use crate::error::Error;
use crate::error::Result;

/// Smallest magnitude of the CTF in RELION, which divides by it on GPUs.
const PARITY_FLOOR: f64 = 1e-8;

/// What happens to the first peak (|argument| < pi/2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstPeak {
    /// The CTF as it is.
    #[default]
    Oscillating,
    /// 1 up to the first peak.
    IntactUntil,
    /// 1 after the first peak.
    IntactAfter,
}

/// Choices that hold for a whole job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtfOptions {
    pub first_peak: FirstPeak,
    /// Images were phase flipped already: |CTF|.
    pub phase_flipped: bool,
    /// Correct phases only: the sign of the CTF.
    pub only_flip_phases: bool,
    /// Keep |CTF| at or above 1e-8, as RELION does; for comparisons with it.
    pub parity_floor: bool,
}

/// The CTF of one particle, ready to be evaluated at integer frequencies of its box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ctf {
    /// Argument: aa kx^2 + 2 ab kx ky + bb ky^2, defocus and wavelength included.
    pub quadratic: [f64; 3],
    /// Coefficient of (squared frequency)^2.
    pub quartic: f64,
    /// Phase shift and amplitude contrast.
    pub constant: f64,
    /// -B/4.
    pub damping: f64,
    pub scale: f64,
    /// Integer frequencies -> 1/Angstrom, magnification included.
    pub frequency: [[f64; 2]; 2],
    pub options: CtfOptions,
}

/// Relativistic wavelength of an electron in Angstrom.
pub fn wavelength_angstrom(voltage_kilovolt: f64) -> f64 {
    let volt = 1000.0 * voltage_kilovolt;
    12.264_324_7 / (volt * (1.0 + volt * 0.978_466e-6)).sqrt()
}

/// Integer frequencies of an optics group's box -> 1/Angstrom in the undistorted specimen.
pub fn frequency_matrix(optics: &OpticsGroup) -> [[f64; 2]; 2] {
    let step = 1.0 / (optics.box_pixels as f64 * optics.pixel_size_angstrom);
    optics.magnification.map(|row| row.map(|m| m * step))
}

impl Ctf {
    /// The CTF -sin(gamma), gamma = pi lambda (-defocus) u^2 + pi/2 Cs lambda^3 u^4 - phase shift - atan(Q/sqrt(1-Q^2)).
    ///
    /// # Errors
    /// Impossible or missing parameters, with the optics group's name.
    pub fn new(optics: &OpticsGroup, particle: &CtfParameters, options: CtfOptions) -> Result<Self> {
        let bad = |problem: String| {
            Err(Error::bad_data(
                format!("optics group {}", optics.name),
                problem,
                "Correct the STAR file, or switch CTF correction off.",
            ))
        };
        let q = optics.amplitude_contrast;
        if !(0.0..=1.0).contains(&q) {
            return bad(format!("amplitude contrast (rlnAmplitudeContrast) {q} is not in [0, 1]"));
        }
        if optics.voltage_kilovolt.is_nan() || optics.voltage_kilovolt <= 0.0 {
            return bad(format!("voltage (rlnVoltage) {} kV is not positive", optics.voltage_kilovolt));
        }
        let p = particle;
        let numbers = [p.defocus_u_angstrom, p.defocus_v_angstrom, p.defocus_angle_degrees, p.phase_shift_degrees];
        if !numbers
            .iter()
            .chain(&[p.b_factor_angstrom2, p.scale, optics.spherical_aberration_mm])
            .all(|v| v.is_finite())
        {
            return bad("a CTF parameter is not a number".into());
        }
        if p.defocus_u_angstrom == 0.0
            && p.defocus_v_angstrom == 0.0
            && q == 0.0
            && optics.spherical_aberration_mm == 0.0
            && p.phase_shift_degrees == 0.0
        {
            return bad("all CTF parameters are zero".into());
        }

        let lambda = wavelength_angstrom(optics.voltage_kilovolt);
        let (sin, cos) = p.defocus_angle_degrees.to_radians().sin_cos();
        let (u, v) = (PI * lambda * p.defocus_u_angstrom, PI * lambda * p.defocus_v_angstrom);
        // R^T diag(-u, -v) R with R the rotation to the astigmatism's axes.
        let (xx, xy, yy) = (-(u * cos * cos + v * sin * sin), -(u - v) * cos * sin, -(u * sin * sin + v * cos * cos));
        let f = frequency_matrix(optics);
        let form = |a: usize, b: usize| {
            xx * f[0][a] * f[0][b] + xy * (f[0][a] * f[1][b] + f[1][a] * f[0][b]) + yy * f[1][a] * f[1][b]
        };
        Ok(Self {
            quadratic: [form(0, 0), 2.0 * form(0, 1), form(1, 1)],
            quartic: FRAC_PI_2 * optics.spherical_aberration_mm * 1e7 * lambda.powi(3),
            constant: p.phase_shift_degrees.to_radians() + q.atan2((1.0 - q * q).sqrt()),
            damping: -0.25 * p.b_factor_angstrom2,
            scale: p.scale,
            frequency: f,
            options,
        })
    }

    /// Value at integer frequency (kx, ky) of the group's box; `gamma_offset` is the even aberration there, in radians.
    #[inline]
    pub fn at(&self, kx: f64, ky: f64, gamma_offset: f64) -> f64 {
        let f = self.frequency;
        let (x, y) = (f[0][0] * kx + f[0][1] * ky, f[1][0] * kx + f[1][1] * ky);
        let u2 = x * x + y * y;
        let [xx, xy, yy] = self.quadratic;
        let gamma = xx * kx * kx + xy * kx * ky + yy * ky * ky + self.quartic * u2 * u2 - self.constant + gamma_offset;
        let replaced = match self.options.first_peak {
            FirstPeak::Oscillating => false,
            FirstPeak::IntactUntil => gamma.abs() < FRAC_PI_2,
            FirstPeak::IntactAfter => gamma.abs() > FRAC_PI_2,
        };
        let mut value = if replaced { 1.0 } else { -gamma.sin() };
        if self.damping != 0.0 {
            value *= (self.damping * u2).exp();
        }
        if self.options.phase_flipped {
            value = value.abs();
        } else if self.options.only_flip_phases {
            value = if value >= 0.0 { 1.0 } else { -1.0 };
        }
        value *= self.scale;
        if self.options.parity_floor && value.abs() < PARITY_FLOOR {
            value = if value >= 0.0 { PARITY_FLOOR } else { -PARITY_FLOOR };
        }
        value
    }

    /// Values at a list of integer frequencies. `gamma_offsets` holds the even aberrations of the same pixels.
    pub fn fill(&self, kx: &[i16], ky: &[i16], gamma_offsets: Option<&[f64]>, out: &mut [f64]) {
        assert!(kx.len() == ky.len() && kx.len() == out.len(), "one value per pixel");
        for (i, value) in out.iter_mut().enumerate() {
            *value = self.at(f64::from(kx[i]), f64::from(ky[i]), gamma_offsets.map_or(0.0, |g| g[i]));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An optics group of 300 kV, Cs 2.7 mm, Q 0.1 and 1 Angstrom without aberrations.
    pub(crate) fn optics(box_pixels: usize) -> OpticsGroup {
        OpticsGroup::ordinary(1.0, box_pixels)
    }

    fn particle(phase_shift_degrees: f64) -> CtfParameters {
        CtfParameters {
            defocus_u_angstrom: 15000.0,
            defocus_v_angstrom: 14000.0,
            defocus_angle_degrees: 30.0,
            phase_shift_degrees,
            b_factor_angstrom2: 0.0,
            scale: 1.0,
        }
    }

    /// The numbers below have eight digits.
    const TOLERANCE: f64 = 1e-8;

    #[test]
    fn textbook_values() {
        assert!((wavelength_angstrom(300.0) - 0.019_687_615_3).abs() < 1e-10);
        let ctf = Ctf::new(&optics(256), &particle(0.0), CtfOptions::default()).expect("valid parameters");
        for (kx, ky, value) in [
            (0.0, 0.0, 0.1),
            (10.0, 0.0, 0.996_854_89),
            (0.0, 10.0, 0.992_007_04),
            (10.0, -10.0, 0.379_502_28),
            (64.0, 32.0, 0.995_265_98),
            (128.0, 0.0, 0.565_562_13),
        ] {
            assert!((ctf.at(kx, ky, 0.0) - value).abs() < TOLERANCE, "({kx}, {ky})");
        }
        let plate = Ctf::new(&optics(256), &particle(90.0), CtfOptions::default()).expect("valid parameters");
        assert!((plate.at(0.0, 0.0, 0.0) - 0.994_987_44).abs() < TOLERANCE);
    }

    #[test]
    fn options_apply_in_their_order() {
        let mut p = particle(0.0);
        p.b_factor_angstrom2 = 50.0;
        p.scale = 0.5;
        let with = |options| Ctf::new(&optics(256), &p, options).expect("valid parameters").at(40.0, 17.0, 0.0);
        let plain = with(CtfOptions::default());
        assert_eq!(with(CtfOptions { phase_flipped: true, ..Default::default() }), plain.abs());
        assert_eq!(with(CtfOptions { only_flip_phases: true, ..Default::default() }), 0.5 * plain.signum());
        // The first peak is damped and scaled like the rest.
        let inside =
            Ctf::new(&optics(256), &p, CtfOptions { first_peak: FirstPeak::IntactUntil, ..Default::default() })
                .expect("valid parameters")
                .at(3.0, 0.0, 0.0);
        assert!((inside - 0.5 * (-12.5 * 9.0 / 65536.0_f64).exp()).abs() < 1e-15);
    }

    #[test]
    fn impossible_parameters_are_refused() {
        let mut o = optics(64);
        o.amplitude_contrast = 1.5;
        assert!(Ctf::new(&o, &particle(0.0), CtfOptions::default()).is_err());
        let mut p = particle(0.0);
        p.defocus_u_angstrom = f64::NAN;
        assert!(Ctf::new(&optics(64), &p, CtfOptions::default()).is_err());
    }
}
