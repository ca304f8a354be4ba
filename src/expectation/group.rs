//! What all particles of one optics group share in one iteration.

use num_complex::Complex;

use crate::dataset::OpticsGroup;
use crate::fourier;
use crate::fourier::RealFft2;
use crate::imaging::Geometry;
use crate::imaging::PixelList;
use crate::imaging::ReferenceScale;
use crate::imaging::aberrations;
use crate::imaging::mask::CircularMask;
use crate::imaging::mtf;
use crate::imaging::mtf::Mtf;
use crate::rotation::Matrix3;

use super::task::Comparison;
use super::task::Task;

/// Pixels, noise weights and corrections of one optics group. Pixels are the half-plane pixels where a
/// reference can be non-zero, zero frequency excluded, by shell; the coarse pass uses a prefix of them.
pub struct Group {
    pub optics: usize,
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    pub scale: ReferenceScale,
    /// Window of the images in the fine pass.
    pub size: usize,
    /// Window of the coarse pass.
    pub coarse_size: usize,
    pub kx: Vec<i16>,
    pub ky: Vec<i16>,
    /// Shell of each pixel, in the image.
    pub shell: Vec<u16>,
    /// 1/sigma2 of each pixel.
    pub noise_weight: Vec<f64>,
    /// Leading pixels used in the coarse pass.
    pub coarse_count: usize,
    /// 1/sigma2 per image shell 0..=box/2; 0 where the noise is unknown.
    pub inverse_sigma2: Vec<f64>,
    /// Largest of them.
    pub strongest_weight: f64,
    /// Shell of the model for each image shell 0..=box/2 (may exceed the model's last shell).
    pub model_shell: Vec<usize>,
    /// The whole window with the pixels outside the circle, for sums over the image alone.
    pub window: PixelList,
    /// Corrects an observed transform: aberration phases; one per pixel of `window`.
    pub correction: Option<Vec<Complex<f64>>>,
    /// Where detectors differ: what brings transforms of this one to the mean of all, for a whole half transform.
    pub mtf_gain: Option<Vec<f64>>,
    /// Added to the CTF's argument; per pixel of `window`.
    pub gamma_offsets: Option<Vec<f64>>,
    /// Position of each pixel in `window`.
    pub in_window: Vec<u32>,
    pub mask: CircularMask<f64>,
    pub fft: RealFft2<f64>,
    /// sum over the window's half-plane pixels of log(2 pi sigma2).
    pub log_normaliser: f64,
}

impl Group {
    pub fn new(task: &Task<'_>, geometry: &Geometry, optics: usize) -> Self {
        let group: &OpticsGroup = &task.dataset.optics[optics];
        let scale = ReferenceScale::new(group, task.box_pixels(), task.pixel_size_angstrom());
        let size = scale.image_size(task.current_size);
        let coarse_size = scale.image_size(task.coarse_size).min(size);
        let window = PixelList::new(size);
        let half = group.box_pixels / 2;
        let model_shell: Vec<usize> = (0..=half).map(|s| scale.reference_shell(s)).collect();
        let sigma2 = &task.model.noise[optics];
        let inverse_sigma2: Vec<f64> =
            model_shell.iter().map(|s| sigma2.get(*s).copied().filter(|v| *v > 0.0).map_or(0.0, |v| 1.0 / v)).collect();
        let inverse = scale.inverse(&Matrix3::IDENTITY);
        let in_window: Vec<u32> = (0..window.inside)
            .filter(|&i| geometry.holds(&inverse, window.kx[i], window.ky[i]))
            .map(|i| i as u32)
            .collect();
        let pick = |list: &[i16]| in_window.iter().map(|i| list[*i as usize]).collect::<Vec<i16>>();
        let (kx, ky) = (pick(&window.kx), pick(&window.ky));
        let shell: Vec<u16> = in_window.iter().map(|i| window.shell[*i as usize]).collect();
        let reach = (coarse_size / 2) as i32;
        let inside = |i: usize| i32::from(kx[i]).pow(2) + i32::from(ky[i]).pow(2) <= reach * reach;
        let coarse_count = (0..kx.len()).take_while(|&i| i32::from(shell[i]) < reach || inside(i)).count();
        let correction = aberrations::phase_errors(group, &window.kx, &window.ky)
            .map(|errors| aberrations::phase_factors::<f64>(&errors).iter().map(|f| f.conj()).collect());
        let gamma_offsets = aberrations::gamma_offsets(group, &window.kx, &window.ky);
        let log_normaliser = match task.comparison {
            Comparison::CrossCorrelation => 0.0,
            Comparison::Likelihood => (0..window.dc())
                .map(|i| inverse_sigma2[usize::from(window.shell[i])])
                .filter(|v| *v > 0.0)
                .map(|v| (std::f64::consts::TAU / v).ln())
                .sum(),
        };
        let radius = task.options.diameter_angstrom / (2.0 * group.pixel_size_angstrom);
        Self {
            optics,
            box_pixels: group.box_pixels,
            pixel_size_angstrom: group.pixel_size_angstrom,
            scale,
            size,
            coarse_size,
            noise_weight: shell.iter().map(|s| inverse_sigma2[usize::from(*s)]).collect(),
            kx,
            ky,
            shell,
            coarse_count,
            strongest_weight: inverse_sigma2.iter().copied().fold(0.0, f64::max),
            inverse_sigma2,
            model_shell,
            correction,
            mtf_gain: mtf_gain(&task.options.mtfs, group, optics),
            gamma_offsets,
            in_window,
            mask: CircularMask::new(group.box_pixels, radius, task.options.mask_edge_pixels),
            fft: RealFft2::new(group.box_pixels),
            window,
            log_normaliser,
        }
    }

    /// Number of pixels of the products.
    pub fn count(&self) -> usize {
        self.kx.len()
    }

    /// A translation in Angstrom, in pixels of this group.
    pub fn pixels(&self, angstrom: [f64; 2]) -> [f64; 2] {
        angstrom.map(|t| t / self.pixel_size_angstrom)
    }
}

fn mtf_gain(mtfs: &[Mtf], group: &OpticsGroup, optics: usize) -> Option<Vec<f64>> {
    let n = group.box_pixels;
    let edge_angstrom = n as f64 * group.pixel_size_angstrom;
    let radius = |i: usize| {
        let ky = fourier::frequency(i / (n / 2 + 1), n);
        ((i % (n / 2 + 1)) as f64).hypot(f64::from(ky)) / edge_angstrom
    };
    let frequencies: Vec<f64> = (0..n * (n / 2 + 1)).map(radius).collect();
    mtf::relative_corrections(&mtfs.iter().collect::<Vec<_>>(), &frequencies).map(|mut all| all.swap_remove(optics))
}
