//! Sizes of the product engine's buffers, and the one place where each of them is allocated.
//!
//! The functions here run over a real arena and over a counting one; `relion-rs plan` is the latter.

use num_complex::Complex;

use crate::arena::Frame;
use crate::error::Result;
use crate::expectation::SumVoxel;
use crate::expectation::scalar::Scalar;
use crate::formats::mrc;
use crate::imaging::Geometry;
use crate::imaging::padded;
use crate::product::{self, Voxel};
use crate::weights::BINS;
use crate::weights::BLOCK;
use crate::weights::Selector;

/// Columns that one product takes at a time.
pub const TILE: usize = 24;
/// Orientations of one panel of the coarse pass.
pub const PANEL: usize = product::WIDE;

/// Sizes for one optics group in one iteration. They follow from the plan only, never from the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Particles of a batch.
    pub particles: usize,
    pub classes: usize,
    /// Pixels of the fine and of the coarse pass.
    pub pixels: usize,
    pub coarse_pixels: usize,
    /// Shells of the image, 0..=box/2.
    pub shells: usize,
    pub translations: usize,
    /// Children of an orientation and of a translation.
    pub turns: usize,
    pub steps: usize,
    /// Orientations a particle is compared with (over all classes), at most.
    pub poses: usize,
    pub directions: usize,
    /// Particles of one coarse search; none where each is searched alone.
    pub searched: usize,
    /// Blocks of fine weights.
    pub blocks: usize,
    /// Shifted images kept.
    pub columns: usize,
    /// Local searches: every particle has its own list of poses.
    pub local: bool,
    /// Images read for a particle: one, or two with another for the reconstruction.
    pub images: usize,
    /// Bytes of an image as it is read.
    pub image_bytes: usize,
}

impl Shape {
    /// Length of a row of complex values of the fine pass.
    pub fn row<T: Scalar>(&self) -> usize {
        product::padded::<T>(2 * self.pixels)
    }

    /// Length of a row of real values of the fine pass.
    pub fn real_row<T: Scalar>(&self) -> usize {
        product::padded::<T>(self.pixels)
    }

    pub fn coarse_row<T: Scalar>(&self) -> usize {
        product::padded::<T>(2 * self.coarse_pixels)
    }

    pub fn coarse_real_row<T: Scalar>(&self) -> usize {
        product::padded::<T>(self.coarse_pixels)
    }

    /// Children of one coarse sample: the used part of a block.
    pub fn children(&self) -> usize {
        self.turns * self.steps
    }

    /// Panels of one particle; the poses of a class start a new panel.
    pub fn panels(&self) -> usize {
        self.classes * (self.poses / self.classes).div_ceil(PANEL)
    }

    /// Places for the coarse samples of one particle.
    pub fn samples(&self) -> usize {
        self.panels() * PANEL * self.translations
    }

    /// Bytes of the images of a batch, as they are read.
    pub fn batch_bytes(&self) -> usize {
        self.particles * self.images * self.image_bytes
    }

    /// Words of a particle's map of significant samples.
    pub fn words(&self) -> usize {
        (self.poses * self.translations).div_ceil(64)
    }
}

/// Allocates the sums of one half, one volume a class, for whom the step's results outlive it.
pub fn sums<'f>(frame: &mut Frame<'f>, classes: usize, voxels: usize) -> Result<Vec<&'f mut [SumVoxel]>> {
    (0..classes).map(|_| frame.zeroed("sums", voxels)).collect()
}

/// Allocates the oversampled transforms, one a class.
pub fn references<'f, T: Scalar>(
    frame: &mut Frame<'f>,
    classes: usize,
    voxels: usize,
) -> Result<Vec<&'f mut [Complex<T>]>> {
    (0..classes).map(|_| frame.alloc("reference", voxels)).collect()
}

/// Further copies of the integer sums, so that threads need not wait for each other: by class.
pub type SumCopies<'f> = Vec<Vec<&'f mut [Voxel]>>;

/// Allocates them: with `copies` in all, one less a class. After the references are built, so that the memory of
/// that serves again.
pub fn sum_copies<'f>(frame: &mut Frame<'f>, classes: usize, copies: usize, voxels: usize) -> Result<SumCopies<'f>> {
    let mut of_class = || (1..copies).map(|_| frame.zeroed("copy of sums", voxels)).collect::<Result<_>>();
    (0..classes).map(|_| of_class()).collect()
}

/// Allocates what the building of one reference needs.
pub fn projector_work<'f, T: Scalar>(
    frame: &mut Frame<'f>,
    geometry: &Geometry,
    threads: usize,
) -> Result<&'f mut [Complex<T>]> {
    frame.alloc("projector work", padded::work_len(geometry, threads))
}

/// Tables of one optics group.
pub struct Tables<'f, T> {
    pub kx: &'f mut [f64],
    pub ky: &'f mut [f64],
    /// Phases of the coarse translations: rows of complex values.
    pub phases: &'f mut [T],
    /// Phases of the children of a translation, relative to it: rows of complex values.
    pub step_phases: &'f mut [T],
    /// Log prior per class and direction.
    pub log_directions: &'f mut [T],
    /// Posterior mass per class and direction, in units of 2^-40.
    pub mass: &'f [std::sync::atomic::AtomicI64],
}

pub fn tables<'f, T: Scalar>(frame: &mut Frame<'f>, shape: &Shape) -> Result<Tables<'f, T>> {
    Ok(Tables {
        kx: frame.alloc("kx", shape.pixels)?,
        ky: frame.alloc("ky", shape.pixels)?,
        phases: frame.zeroed("phases", shape.translations * shape.row::<T>())?,
        step_phases: frame.zeroed("step phases", shape.steps * shape.row::<T>())?,
        log_directions: frame.alloc("direction priors", shape.classes * shape.directions)?,
        mass: frame.zeroed("direction mass", shape.classes * shape.directions)?,
    })
}

/// Buffers of the reader of images: two batches, and what one request brings.
pub struct ImageBuffers<'f> {
    pub images: [&'f mut [u8]; 2],
    pub request: &'f mut [u8],
}

pub fn image_buffers<'f>(frame: &mut Frame<'f>, shape: &Shape) -> Result<ImageBuffers<'f>> {
    let batch = shape.batch_bytes();
    Ok(ImageBuffers {
        images: [frame.alloc("images of a batch", batch)?, frame.alloc("images of the next batch", batch)?],
        request: request_buffer(frame, shape)?,
    })
}

/// Allocates what one request of the reader brings.
pub fn request_buffer<'f>(frame: &mut Frame<'f>, shape: &Shape) -> Result<&'f mut [u8]> {
    frame.alloc("images of a request", mrc::REQUEST_BYTES.min(shape.batch_bytes()).max(shape.image_bytes))
}

/// One (coarse sample, particle) pair of the fine pass: pose (class times orientations plus orientation),
/// position of the particle in the batch, translation, position of the pose in the particle's list.
pub type Pair = [u32; 4];

/// Particle data and search results of one batch.
pub struct Buffers<'f, T: Scalar> {
    /// Per particle: (1/sigma2) CTF times the masked transform; CTF times it for cross-correlation.
    pub masked: &'f mut [T],
    /// Per particle: (1/sigma2) CTF times the unmasked transform.
    pub unmasked: &'f mut [T],
    /// Per particle: what multiplies |P|^2 in the squared difference.
    pub power: &'f mut [T],
    /// Per particle: what is summed as weight.
    pub weight: &'f mut [T],
    /// Per particle: log prior of every translation, then of every child.
    pub log_offsets: &'f mut [T],
    /// Local searches: poses and log priors of each particle, and how many.
    pub poses: &'f mut [u32],
    pub log_poses: &'f mut [T],
    pub search: SearchBuffers<'f, T>,
    /// Map of significant coarse samples, one bit each, by (pose, translation).
    pub significant: &'f mut [u64],
    /// Pairs of the fine pass.
    pub pairs: &'f mut [Pair],
    /// First pair of every run of equal poses, and the end of the last.
    pub runs: &'f mut [u32],
    /// Slot of (particle, translation) among the kept columns; `u32::MAX` without.
    pub slots: &'f mut [u32],
    /// Particle and translation of each kept column.
    pub owners: &'f mut [[u32; 2]],
    pub masked_columns: &'f mut [T],
    pub unmasked_columns: &'f mut [T],
    /// The blocks of 32: starts, subscripts, values.
    pub starts: &'f mut [u32],
    pub subscripts: &'f mut [u32],
    pub values: &'f [T::Cell],
    /// Block of each pair.
    pub block_of: &'f mut [u32],
    /// Per particle: finds the threshold of its fine weights.
    pub selectors: Vec<Selector<'f>>,
}

pub fn buffers<'f, T: Scalar>(frame: &mut Frame<'f>, shape: &Shape) -> Result<Buffers<'f, T>> {
    let p = shape.particles;
    let listed = if shape.local { p * shape.poses } else { 0 };
    let pairs = if shape.local { p * shape.poses * shape.translations } else { shape.blocks };
    Ok(Buffers {
        masked: frame.zeroed("masked images", p * shape.row::<T>())?,
        unmasked: frame.zeroed("unmasked images", p * shape.row::<T>())?,
        power: frame.zeroed("CTF power", p * shape.real_row::<T>())?,
        weight: frame.zeroed("CTF weight", p * shape.real_row::<T>())?,
        log_offsets: frame.alloc("offset priors", p * shape.translations * (1 + shape.steps))?,
        poses: frame.alloc("listed poses", listed)?,
        log_poses: frame.alloc("listed priors", listed)?,
        search: search_buffers(frame, shape, shape.searched)?,
        significant: frame.zeroed("significant samples", p * shape.words())?,
        pairs: frame.alloc("pairs", pairs)?,
        runs: frame.alloc("runs", shape.blocks + 1)?,
        slots: frame.alloc("column slots", p * shape.translations)?,
        owners: frame.alloc("column owners", shape.columns)?,
        masked_columns: frame.zeroed("masked columns", shape.columns * shape.row::<T>())?,
        unmasked_columns: frame.zeroed("unmasked columns", shape.columns * shape.row::<T>())?,
        starts: frame.alloc("weight starts", p + 1)?,
        subscripts: frame.alloc("weight subscripts", shape.blocks)?,
        values: frame.zeroed("weights", shape.blocks * BLOCK)?,
        block_of: frame.alloc("weight places", shape.blocks)?,
        selectors: frame.alloc("selections", p * BINS)?.chunks_exact_mut(BINS).map(Selector::new).collect(),
    })
}

/// What a panel is compared with.
pub struct SearchView<'v, T> {
    pub columns: &'v [T],
    pub power: &'v [T],
}

/// Buffers of one coarse search.
pub struct SearchBuffers<'f, T> {
    /// Shifted images and CTF powers of the searched particles, coarse rows.
    pub columns: &'f mut [T],
    pub power: &'f mut [T],
    /// Energies by panel, particle, translation and orientation of the panel.
    pub energies: &'f mut [T],
    /// The smallest of them by panel and particle.
    pub least: &'f mut [T],
}

impl<T> Default for SearchBuffers<'_, T> {
    fn default() -> Self {
        Self { columns: &mut [], power: &mut [], energies: &mut [], least: &mut [] }
    }
}

/// For `q` particles.
fn search_buffers<'f, T: Scalar>(frame: &mut Frame<'f>, shape: &Shape, q: usize) -> Result<SearchBuffers<'f, T>> {
    Ok(SearchBuffers {
        columns: frame.zeroed("coarse columns", q * shape.translations * shape.coarse_row::<T>())?,
        power: frame.zeroed("coarse CTF power", q * shape.coarse_real_row::<T>())?,
        energies: frame.alloc("coarse energies", q * shape.samples())?,
        least: frame.alloc("least energies", q * shape.panels())?,
    })
}

/// What one thread works with.
pub struct Lane<'f, T> {
    /// Local searches: a thread does a particle alone.
    pub search: SearchBuffers<'f, T>,
    pub selector: Selector<'f>,
    /// Panels of a particle whose samples have weights, and these weights.
    pub active: &'f mut [u32],
    pub coarse_weights: &'f mut [T],
    /// Slices of a panel, or the children of one orientation times the phases of the translation children.
    pub rows: &'f mut [T],
    /// Searches everywhere: the slices of a panel side by side.
    pub wide: &'f mut [T],
    /// Slices of the children.
    pub slices: &'f mut [T],
    /// |P|^2 of a panel or of the children.
    pub squares: &'f mut [T],
    pub scores: &'f mut [T],
    pub square_scores: &'f mut [T],
    /// Weighted sums of images per child of a coarse sample, and one tile's part of them.
    pub images: &'f mut [T],
    pub part: &'f mut [T],
    pub weights: &'f mut [T],
    pub weights_part: &'f mut [T],
    /// Posterior mean references of a tile of columns.
    pub means: &'f mut [T],
    /// Shifted images of a tile that are not kept.
    pub masked: &'f mut [T],
    pub unmasked: &'f mut [T],
    pub coefficients: &'f mut [T],
    pub masses: &'f mut [T],
    /// Per particle and shell: w P conj(F) and w |P|^2, in units of 2^-24.
    pub cross: &'f mut [i64],
    /// One number a shell.
    pub shell_sums: &'f mut [f64],
    pub own: &'f mut [i64],
    /// The same over well resolved shells, per particle.
    pub resolved: &'f mut [[i64; 2]],
}

pub fn lane<'f, T: Scalar>(frame: &mut Frame<'f>, shape: &Shape) -> Result<Lane<'f, T>> {
    let (row, real) = (shape.row::<T>(), shape.real_row::<T>());
    let (coarse_row, coarse_real) = (shape.coarse_row::<T>(), shape.coarse_real_row::<T>());
    Ok(Lane {
        search: search_buffers(frame, shape, usize::from(shape.local))?,
        selector: Selector::new(frame.alloc("selection", BINS)?),
        active: frame.alloc("active panels", shape.panels())?,
        coarse_weights: frame.alloc("coarse weights", shape.samples())?,
        rows: frame.alloc("rows", (PANEL * coarse_row).max(shape.children() * row))?,
        wide: frame.alloc("slices side by side", if shape.local { 0 } else { PANEL * 2 * shape.coarse_pixels })?,
        slices: frame.alloc("child slices", shape.turns * row)?,
        squares: frame.zeroed("squares", (PANEL * coarse_real).max(shape.turns * real))?,
        scores: frame.alloc("scores", TILE * PANEL.max(BLOCK))?,
        square_scores: frame.alloc("square scores", TILE * PANEL.max(BLOCK))?,
        images: frame.alloc("image sums", shape.children() * row)?,
        part: frame.alloc("image sums of a tile", shape.children() * row)?,
        weights: frame.alloc("weight sums", shape.turns * real)?,
        weights_part: frame.alloc("weight sums of a tile", shape.turns * real)?,
        means: frame.alloc("mean references", TILE * row)?,
        masked: frame.zeroed("masked columns of a tile", TILE * row)?,
        unmasked: frame.zeroed("unmasked columns of a tile", TILE * row)?,
        coefficients: frame.alloc("coefficients", TILE * BLOCK)?,
        masses: frame.alloc("masses", TILE * BLOCK)?,
        shell_sums: frame.zeroed("shell sums", shape.shells)?,
        cross: frame.zeroed("cross terms", shape.particles * shape.shells)?,
        own: frame.zeroed("own terms", shape.particles * shape.shells)?,
        resolved: frame.zeroed("resolved terms", 2 * shape.particles)?,
    })
}

/// Bytes of one lane.
pub fn lane_bytes<T: Scalar>(shape: &Shape) -> Result<usize> {
    let mut arena = crate::arena::Arena::counting();
    arena.run(|frame| lane::<T>(frame, shape).map(|_| ()))?;
    Ok(arena.layout().peak)
}
