//! The maximisation step of a scene, and a model beside RELION's.

use relion_rs::arena::Arena;
use relion_rs::error::Result;
use relion_rs::formats::star::StarFile;
use relion_rs::fourier;
use relion_rs::fourier::RealFft3;
use relion_rs::imaging::Geometry;
use relion_rs::maximisation::flatten;
use relion_rs::maximisation::flatten::Solvent;
use relion_rs::maximisation::initial;
use relion_rs::maximisation::parameters;
use relion_rs::maximisation::reconstruct;
use relion_rs::maximisation::reconstruct::Division;
use relion_rs::maximisation::reconstruct::Prior;
use relion_rs::maximisation::ssnr;
use relion_rs::maximisation::symmetrise;
use relion_rs::model::HalfModel;
use relion_rs::model::Volume;
use relion_rs::rotation::Matrix3;

use crate::expectation::found::Found;
use crate::expectation::golden::Scene;
use crate::expectation::golden::floats;
use crate::support::golden;

/// All golden iterations were run with this weight of the data.
const TAU2_FUDGE: f64 = 4.0;

/// What follows the reconstruction.
#[derive(Clone, Copy, Debug, Default)]
pub struct After {
    pub flatten: bool,
    /// After a first iteration by cross-correlation the maps are filtered again, at this resolution.
    pub correlation_low_pass_angstrom: Option<f64>,
}

/// Replaces the model of the scene by the next one, as RELION does.
pub fn maximise(scene: &mut Scene, mut found: Found, after: After) {
    let box_pixels = scene.model.classes[0].map.box_pixels;
    let geometry = Geometry::new(box_pixels, scene.options.padding, found.sums.current_size);
    let operators: Vec<Matrix3> = scene.group.operators().iter().map(|o| o.right).collect();
    let mut arena = Arena::reserve(256 << 20).expect("memory");
    for (k, class) in scene.model.classes.iter_mut().enumerate() {
        let volume = &mut found.volumes[k];
        let power = &found.outcome.reference_power[k];
        let map = arena.run(|frame| -> Result<()> {
            symmetrise::symmetrise(&geometry, volume, &operators, frame)?;
            let spectra = ssnr::from_reference(&geometry, volume, power, None, TAU2_FUDGE, true);
            let prior = Prior { tau2: &spectra.tau2, tau2_fudge: TAU2_FUDGE, parity: true };
            let map = &mut class.map;
            reconstruct::reconstruct(&geometry, volume, Some(&prior), Division::Direct, map, 1, frame)?;
            (class.sigma2, class.tau2, class.ssnr, class.coverage) =
                (spectra.sigma2, spectra.tau2, spectra.ssnr, spectra.coverage);
            if after.flatten {
                let (diameter_angstrom, edge_pixels) =
                    (scene.options.diameter_angstrom, scene.options.mask_edge_pixels);
                flatten::flatten(&mut class.map, Solvent::Sphere { diameter_angstrom, edge_pixels });
            }
            match after.correlation_low_pass_angstrom {
                Some(resolution) => initial::low_pass_class(class, resolution, frame),
                None => Ok(()),
            }
        });
        map.expect("a map");
    }
    let options = parameters::Options {
        box_pixels,
        cross_correlation: after.correlation_low_pass_angstrom.is_some(),
        norm: scene.options.norm_correction,
        scale: scene.options.scale_correction,
        premultiplied: &vec![false; scene.dataset.optics.len()],
        parity: true,
    };
    parameters::update(&mut scene.model, &found.sums, &options).expect("a model");
}

/// Largest differences between two models, beyond what printing explains.
#[derive(Clone, Copy, Debug, Default)]
pub struct Differences {
    /// Spectra are compared relatively; the two outermost shells hold the edge pixels that RELION decides by the last bit of a rotation.
    pub tau2: f64,
    pub sigma2: f64,
    pub ssnr: f64,
    pub coverage: f64,
    pub noise: f64,
    /// In the two outermost shells and beyond the window.
    pub noise_beyond: f64,
    /// Absolute, of shares that sum to one over all classes.
    pub directions: f64,
    pub share: f64,
    /// Relative.
    pub sigma_offset: f64,
    pub average_norm: f64,
    pub scales: f64,
    /// Absolute.
    pub average_max_probability: f64,
    /// Absolute, of the sum over all particles.
    pub log_likelihood: f64,
}

/// |ours - theirs| beyond half of the last printed digit: six decimals, or seven digits below 0.001.
fn beyond_print(ours: f64, theirs: f64) -> f64 {
    assert!(ours.is_finite() && theirs.is_finite(), "{ours} {theirs}");
    let half_digit = if theirs.abs() < 0.001 { 5.01e-7 * theirs.abs() } else { 5.01e-7 };
    ((ours - theirs).abs() - half_digit).max(0.0)
}

fn relative(ours: f64, theirs: f64) -> f64 {
    let off = beyond_print(ours, theirs);
    if off == 0.0 { 0.0 } else { off / theirs.abs() }
}

fn largest(ours: &[f64], theirs: &[f64], difference: impl Fn(f64, f64) -> f64) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| difference(*a, *b)).fold(0.0, f64::max)
}

/// Compares with a model file below the golden folder; `current_size` is the window of the sums.
pub fn compare(model: &HalfModel, path: &str, current_size: usize) -> Differences {
    let star = StarFile::read(&golden(path)).expect("a golden file");
    let column = |block: &str, label: &str| star.require(block).unwrap().require(label).unwrap().f64s().unwrap();
    let general = |label: &str| column("model_general", label)[0];
    let shells = current_size / 2 - 1;
    let mut found = Differences::default();
    let theirs = column("model_classes", "rlnClassDistribution");
    let ours: Vec<f64> = model.classes.iter().map(|c| c.share).collect();
    found.share = largest(&ours, &theirs, beyond_print);
    for (k, class) in model.classes.iter().enumerate() {
        let column = |label: &str| column(&format!("model_class_{}", k + 1), label);
        let spectrum = |ours: &[f64], label: &str| largest(&ours[..shells], &column(label)[..shells], relative);
        found.tau2 = found.tau2.max(spectrum(&class.tau2, "rlnReferenceTau2"));
        found.sigma2 = found.sigma2.max(spectrum(&class.sigma2, "rlnReferenceSigma2"));
        found.ssnr = found.ssnr.max(spectrum(&class.ssnr, "rlnSsnrMap"));
        let coverage = largest(&class.coverage, &column("rlnFourierCompleteness"), beyond_print);
        found.coverage = found.coverage.max(coverage);
        let block = format!("model_pdf_orient_class_{}", k + 1);
        let theirs = star.require(&block).unwrap().require("rlnOrientationDistribution").unwrap().f64s().unwrap();
        found.directions = found.directions.max(largest(&class.directions, &theirs, beyond_print));
    }
    for (g, noise) in model.noise.iter().enumerate() {
        let theirs = column(&format!("model_optics_group_{}", g + 1), "rlnSigma2Noise");
        found.noise = found.noise.max(largest(&noise[..shells], &theirs[..shells], relative));
        let beyond = largest(&noise[shells..], &theirs[shells..], relative);
        found.noise_beyond = found.noise_beyond.max(beyond);
    }
    // RELION lists groups by name.
    let mut groups: Vec<_> = model.groups.iter().collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    let scales: Vec<f64> = groups.iter().map(|g| g.scale).collect();
    found.scales = largest(&scales, &column("model_groups", "rlnGroupScaleCorrection"), relative);
    found.sigma_offset = relative(model.sigma_offset_angstrom, general("rlnSigmaOffsetsAngst"));
    found.average_norm = relative(model.average_norm, general("rlnNormCorrectionAverage"));
    found.average_max_probability = beyond_print(model.average_max_probability, general("rlnAveragePmax"));
    found.log_likelihood = (model.log_likelihood - general("rlnLogLikelihood")).abs();
    found
}

impl Differences {
    /// Every difference is within its limit.
    pub fn assert_within(&self, limits: &Differences, name: &str) {
        println!("{name}: {self:?}");
        for (what, found, limit) in [
            ("tau2", self.tau2, limits.tau2),
            ("sigma2", self.sigma2, limits.sigma2),
            ("signal-to-noise ratios", self.ssnr, limits.ssnr),
            ("Fourier coverage", self.coverage, limits.coverage),
            ("noise", self.noise, limits.noise),
            ("noise beyond the window", self.noise_beyond, limits.noise_beyond),
            ("directions", self.directions, limits.directions),
            ("class shares", self.share, limits.share),
            ("sigma of the offsets", self.sigma_offset, limits.sigma_offset),
            ("average norm", self.average_norm, limits.average_norm),
            ("group scales", self.scales, limits.scales),
            ("average Pmax", self.average_max_probability, limits.average_max_probability),
            ("log-likelihood", self.log_likelihood, limits.log_likelihood),
        ] {
            assert!(found <= limit, "{name}: {what} differ by {found:.2e}, {limit:.1e} allowed");
        }
    }
}

/// |ours - theirs| / |theirs| of a map below the golden folder: all of it, and without the shells from `edge` on.
pub fn map_difference(ours: &Volume, path: &str, edge: usize) -> [f64; 2] {
    let n = ours.box_pixels;
    let plan = RealFft3::<f64>::new(n);
    let transform = |map: &[f32]| {
        assert_eq!(map.len(), n.pow(3), "{path}");
        plan.forward(map.iter().map(|v| f64::from(*v)))
    };
    let (ours, theirs) = (transform(&ours.data), transform(&floats(&golden(path))));
    let width = n / 2 + 1;
    let (mut all, mut inside, mut norm) = (0.0, 0.0, 0.0);
    for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
        let k = [i / width % n, i / width / n].map(|i| f64::from(fourier::frequency(i, n)));
        let radius = ((i % width).pow(2) as f64 + k[0] * k[0] + k[1] * k[1]).sqrt();
        // The other half of the transform.
        let times = if i % width == 0 || i % width == n / 2 { 1.0 } else { 2.0 };
        all += times * (a - b).norm_sqr();
        norm += times * b.norm_sqr();
        if radius.round() < edge as f64 {
            inside += times * (a - b).norm_sqr();
        }
    }
    [all, inside].map(|sum| (sum / norm).sqrt())
}
