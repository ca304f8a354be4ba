//! What an expectation step is asked to do.

use crate::dataset::Assignment;
use crate::dataset::Dataset;
use crate::imaging::CtfOptions;
use crate::imaging::Geometry;
use crate::imaging::mtf::Mtf;
use crate::model::ClassModel;
use crate::model::HalfModel;

use crate::sampling::Orientations;
use crate::sampling::Search;
use crate::sampling::Translations;

/// How two images are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Squared differences weighted by the noise: a posterior over poses.
    Likelihood,
    /// Normalised cross-correlation, best pose only: for references that are not on the absolute grey scale.
    CrossCorrelation,
}

/// Choices that hold for all iterations of a job.
#[derive(Clone, Debug)]
pub struct Options {
    /// Diameter of the circular mask.
    pub diameter_angstrom: f64,
    pub mask_edge_pixels: f64,
    /// Fill the outside of the mask with its mean instead of noise.
    pub zero_mask: bool,
    /// `None`: images are compared without a CTF.
    pub ctf: Option<CtfOptions>,
    /// MTF of each optics group's detector; empty without any. Images are brought to the mean of all.
    pub mtfs: Vec<Mtf>,
    pub norm_correction: bool,
    pub scale_correction: bool,
    /// Share of the posterior that is kept in either pass (0.999).
    pub adaptive_fraction: f64,
    /// Most significant coarse samples of a particle.
    pub max_significant: Option<u64>,
    pub padding: f64,
    pub seed: u64,
    /// Reproduce RELION's accidents; for comparisons with its numbers.
    pub parity: bool,
}

/// One expectation step over the particles of one half set.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    pub dataset: &'a Dataset,
    /// The half's particles, as indices into the data set, in canonical order.
    pub particles: &'a [u32],
    /// What the previous iteration found, for all particles of the data set.
    pub assignments: &'a [Assignment],
    pub model: &'a HalfModel,
    pub orientations: &'a Orientations,
    pub translations: &'a Translations,
    /// Where to look for each particle.
    pub search: Search<'a>,
    /// Searches by lists: most poses that any particle's list may hold.
    pub longest_list: usize,
    pub options: &'a Options,
    pub comparison: Comparison,
    /// Window of the fine pass, in shells of the model box, even.
    pub current_size: usize,
    /// Window of the coarse pass; at most `current_size`.
    pub coarse_size: usize,
    /// The last iteration: images of rlnReconstructImageName replace those of the particles in the sums of the map.
    pub reconstruct_images: bool,
    /// Usual spread of the pixels per optics group, for particles and for what replaces them; an image that spreads
    /// far more widely ends the run. Empty: not checked.
    pub usual_spread: [&'a [f64]; 2],
    /// Iteration 1 of a classification from one reference: the only class a particle may see (0-based).
    pub only_class: Option<&'a [u32]>,
    pub iteration: u32,
}

impl Task<'_> {
    pub fn box_pixels(&self) -> usize {
        self.model.classes[0].map.box_pixels
    }

    pub fn geometry(&self) -> Geometry {
        Geometry::new(self.box_pixels(), self.options.padding, self.current_size)
    }

    pub fn pixel_size_angstrom(&self) -> f64 {
        self.model.classes[0].map.pixel_size_angstrom
    }

    /// Prior of a class beside those of a list of poses. RELION forgets it in local searches.
    pub fn class_prior(&self, class: &ClassModel) -> f64 {
        let forgotten = self.options.parity && matches!(self.search, Search::Near(_));
        if forgotten && class.share > 0.0 { 1.0 } else { class.share }
    }
}

/// What an expectation step found out, beside the volumes.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub sums: super::Sums,
    /// Parallel to [`Task::particles`].
    pub assignments: Vec<Assignment>,
    /// Largest number of coarse samples kept for any particle, and the number of coarse samples there were.
    pub most_significant: usize,
    pub coarse_samples: usize,
    /// Power spectrum of each class's reference (mean |F|^2 / 2 per shell), as projected.
    pub reference_power: Vec<Vec<f64>>,
    /// Particles that were left out, and why.
    pub set_aside: Vec<(u32, String)>,
    pub work: super::products::Work,
}
