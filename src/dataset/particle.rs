//! The records of the experiment. Units are in the names; angles are Euler angles in degrees (ZYZ).

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::formats::star::StarFile;
use crate::rotation::Euler;

/// One optics group: microscope settings shared by many particles.
#[derive(Clone, Debug, PartialEq)]
pub struct OpticsGroup {
    pub name: String,
    pub voltage_kilovolt: f64,
    pub spherical_aberration_mm: f64,
    /// Share of amplitude contrast, in [0, 1].
    pub amplitude_contrast: f64,
    pub pixel_size_angstrom: f64,
    /// Edge of the square images; even.
    pub box_pixels: usize,
    pub beam_tilt_mrad: [f64; 2],
    /// Antisymmetric aberration coefficients (phases), empty when absent.
    pub odd_zernike: Vec<f64>,
    /// Symmetric aberration coefficients (added to the CTF's argument), empty when absent.
    pub even_zernike: Vec<f64>,
    /// Anisotropic magnification, identity when absent.
    pub magnification: [[f64; 2]; 2],
    pub mtf_file: Option<PathBuf>,
    /// Pixel size of the movie the MTF refers to.
    pub original_pixel_size_angstrom: Option<f64>,
    /// Images were multiplied by their CTF.
    pub ctf_premultiplied: bool,
    /// Images were CTF corrected: no CTF is applied.
    pub ctf_corrected: bool,
}

impl OpticsGroup {
    /// A group without aberrations, whose images were not corrected: 300 kV, Cs 2.7 mm, 10 % amplitude contrast.
    pub fn ordinary(pixel_size_angstrom: f64, box_pixels: usize) -> Self {
        Self {
            name: "opticsGroup1".to_owned(),
            voltage_kilovolt: 300.0,
            spherical_aberration_mm: 2.7,
            amplitude_contrast: 0.1,
            pixel_size_angstrom,
            box_pixels,
            beam_tilt_mrad: [0.0; 2],
            odd_zernike: Vec::new(),
            even_zernike: Vec::new(),
            magnification: [[1.0, 0.0], [0.0, 1.0]],
            mtf_file: None,
            original_pixel_size_angstrom: None,
            ctf_premultiplied: false,
            ctf_corrected: false,
        }
    }
}

/// Per-particle CTF parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CtfParameters {
    /// Underfocus positive.
    pub defocus_u_angstrom: f64,
    pub defocus_v_angstrom: f64,
    pub defocus_angle_degrees: f64,
    pub phase_shift_degrees: f64,
    pub b_factor_angstrom2: f64,
    pub scale: f64,
}

/// Name of one image: a stack (index into [`Dataset::stacks`]) and a 0-based position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName {
    pub stack: u32,
    pub index: u32,
}

/// What is fixed about a particle during a refinement.
#[derive(Clone, Debug, PartialEq)]
pub struct Particle {
    pub image: ImageName,
    /// Replaces `image` in the reconstruction of the final iteration (rlnReconstructImageName).
    pub reconstruct_image: Option<ImageName>,
    /// Index into [`Dataset::optics`].
    pub optics: u32,
    /// Index into [`Dataset::groups`] (scale correction).
    pub group: u32,
    /// 1 or 2; 0 while not assigned.
    pub half: u8,
    pub ctf: CtfParameters,
    /// rlnAngle{Rot,Tilt,Psi}Prior; `None` for an absent one.
    pub angle_priors_degrees: [Option<f64>; 3],
    /// rlnOrigin{X,Y}PriorAngst.
    pub offset_priors_angstrom: [Option<f64>; 2],
    /// Row of the particle table of the input file, 0-based.
    pub row: u32,
}

/// What a refinement finds out about a particle, and starts from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub euler: Euler,
    /// Translation to apply to the image to centre the particle.
    pub offset_angstrom: [f64; 2],
    /// 1-based; 0 while not assigned.
    pub class: u32,
    pub norm_correction: f64,
    pub log_likelihood: f64,
    /// Largest posterior probability of one pose.
    pub max_probability: f64,
    pub significant_samples: u32,
}

/// All particles, in canonical order, with what is needed to write the table back.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub optics: Vec<OpticsGroup>,
    /// In canonical order: by stack path (bytes), then index.
    pub particles: Vec<Particle>,
    /// Starting values, parallel to `particles`.
    pub assignments: Vec<Assignment>,
    /// Stack paths as written in the STAR file, sorted bytewise; `ImageName::stack` points here.
    pub stacks: Vec<String>,
    /// The same stacks as files on this machine.
    pub stack_files: Vec<PathBuf>,
    /// Names of the micrograph groups, in order of their first particle in RELION's order.
    pub groups: Vec<String>,
    /// The input as read (converted to optics groups), with every unknown column: written back by `outputs`.
    pub tables: StarFile,
}
