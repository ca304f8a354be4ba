//! The memory of the engine on a device, and the one place where each part of it is allocated.
//!
//! These functions run over the arena of a device and over a counting one; the latter is the plan.

use crate::arena::Frame;
use crate::arena::Place;
use crate::error::Result;
use crate::expectation::products::Shape;
use crate::expectation::scalar::Scalar;
use crate::imaging::Geometry;
use crate::weights::BINS;
use crate::weights::BLOCK;

use super::arguments::Listed;
use super::arguments::Pair;
use super::arguments::Part;
use super::arguments::Plane;
use super::arguments::StateWords;
use super::arguments::Value;
use super::arguments::Voxel;
use super::prepare;

/// Rows are whole steps of the products: so many real values.
const ROW_VALUES: usize = 32;
/// Batches that are on their way at once: while the host makes the lists of one, the device searches the next.
pub const SLOTS: usize = 2;

/// Sizes for one optics group in one iteration. They follow from the plan only, never from the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub shape: Shape,
    /// Poses that are projected and compared at once.
    pub chunk: usize,
    /// Longest padding of pixels by shell to whole warps.
    pub places: usize,
    /// Of the images' preparation.
    pub prepare: prepare::Sizes,
    /// Orientations of the grid, and whether their planes are a table (searches everywhere).
    pub orientations: usize,
}

impl Sizes {
    /// Length of a row of the fine pass, in complex values; as many real values are a row of them.
    pub fn row(&self) -> usize {
        self.shape.pixels.next_multiple_of(ROW_VALUES)
    }

    pub fn coarse_row(&self) -> usize {
        self.shape.coarse_pixels.next_multiple_of(ROW_VALUES)
    }

    /// Places for the coarse energies of a particle.
    pub fn samples(&self) -> usize {
        self.shape.poses * self.shape.translations
    }

    /// Words of 32 bits of a particle's map of significant samples.
    pub fn words(&self) -> usize {
        2 * self.shape.words()
    }

    /// Log priors of a particle's offsets: of the translations, then of their children.
    pub fn offsets(&self) -> usize {
        self.shape.translations * (1 + self.shape.steps)
    }
}

/// What a half set's step holds from its beginning to its end.
#[derive(Clone, Copy)]
pub struct Volumes<'f, T> {
    /// Integer sums of all classes.
    pub sums: Place<'f, Voxel>,
    /// Oversampled transforms of all classes.
    pub references: Place<'f, Value<T>>,
    /// First voxel of every row of a volume.
    pub starts: Place<'f, u32>,
}

pub fn volumes<'f, T: Scalar>(frame: &mut Frame<'f>, classes: usize, geometry: &Geometry) -> Result<Volumes<'f, T>> {
    let voxels = geometry.rows.len();
    Ok(Volumes {
        sums: frame.place("sums", classes * voxels)?,
        references: frame.place("references", classes * voxels)?,
        starts: frame.place("starts of rows", geometry.rows.starts().len())?,
    })
}

/// Tables of one optics group.
#[derive(Clone, Copy)]
pub struct Tables<'f, T> {
    pub pixels: Place<'f, [i16; 2]>,
    pub phases: Place<'f, Value<T>>,
    pub step_phases: Place<'f, Value<T>>,
    /// Pixels by shell in whole warps, and the shell of each warp.
    pub places: Place<'f, u32>,
    pub shells: Place<'f, u16>,
    /// Searches everywhere: planes of all orientations, and of their children.
    pub poses: Place<'f, Plane<T>>,
    pub children: Place<'f, Plane<T>>,
    /// Log prior by class and orientation.
    pub log_poses: Place<'f, T>,
    /// Posterior mass by class and direction.
    pub direction_mass: Place<'f, i64>,
}

pub fn tables<'f, T: Scalar>(frame: &mut Frame<'f>, sizes: &Sizes) -> Result<Tables<'f, T>> {
    let shape = &sizes.shape;
    let tabled = if shape.local { 0 } else { sizes.orientations };
    Ok(Tables {
        pixels: frame.place("pixels", shape.pixels)?,
        phases: frame.place("phases", shape.translations * sizes.row())?,
        step_phases: frame.place("step phases", shape.steps * sizes.row())?,
        places: frame.place("pixels by shell", sizes.places)?,
        shells: frame.place("shells", sizes.places.div_ceil(32))?,
        poses: frame.place("planes", tabled)?,
        children: frame.place("planes of children", tabled * shape.turns)?,
        log_poses: frame.place("pose priors", shape.classes * tabled)?,
        direction_mass: frame.place("direction mass", shape.classes * shape.directions)?,
    })
}

/// Particles of a batch on the device.
#[derive(Clone, Copy)]
pub struct Slot<'f, T> {
    /// See the buffers of `products`: what is compared, what is summed, what multiplies |P|^2, and the weight.
    pub masked: Place<'f, Value<T>>,
    pub unmasked: Place<'f, Value<T>>,
    pub power: Place<'f, T>,
    pub weight: Place<'f, T>,
    pub log_offsets: Place<'f, T>,
    /// Squared distance of each child's offset from the prior's centre, Angstrom^2.
    pub squared: Place<'f, T>,
    /// sum |F|^2, for correlations.
    pub image_powers: Place<'f, f64>,
    /// By class and particle: 1 where they are compared.
    pub allowed: Place<'f, u8>,
    pub states: Place<'f, StateWords>,
    pub map: Place<'f, u64>,
}

pub fn slot<'f, T: Scalar>(frame: &mut Frame<'f>, sizes: &Sizes) -> Result<Slot<'f, T>> {
    let (p, shape) = (sizes.shape.particles, &sizes.shape);
    Ok(Slot {
        masked: frame.place("masked images", p * sizes.row())?,
        unmasked: frame.place("unmasked images", p * sizes.row())?,
        power: frame.place("CTF power", p * sizes.row())?,
        weight: frame.place("CTF weight", p * sizes.row())?,
        log_offsets: frame.place("offset priors", p * sizes.offsets())?,
        squared: frame.place("squared offsets", p * shape.translations * shape.steps)?,
        image_powers: frame.place("image powers", p)?,
        allowed: frame.place("compared classes", shape.classes * p)?,
        states: frame.place("search states", p)?,
        map: frame.place("significant samples", p * shape.words())?,
    })
}

/// What one batch after the other uses.
#[derive(Clone, Copy)]
pub struct Work<'f, T> {
    /// Coarse search: shifted images, slices of a chunk of poses, 1/2 sum v c^2 |P|^2.
    pub columns: Place<'f, Value<T>>,
    pub rows: Place<'f, Value<T>>,
    pub half_powers: Place<'f, T>,
    /// Reduced precision: the same rows and columns in 16 bits.
    pub narrow_columns: Place<'f, u16>,
    pub narrow_rows: Place<'f, u16>,
    pub energies: Place<'f, T>,
    pub ranges: Place<'f, [u64; 2]>,
    pub bins: Place<'f, [u64; 2]>,
    /// Local searches: the lists of the searched particles, and their planes.
    pub listed: Place<'f, Listed>,
    pub log_listed: Place<'f, T>,
    pub listed_planes: Place<'f, Plane<T>>,
    /// The fine pass: pairs, their blocks of values, and what is found out about them.
    pub pairs: Place<'f, Pair>,
    pub log_pairs: Place<'f, T>,
    pub tiles: Place<'f, Part>,
    pub parts: Place<'f, Part>,
    pub child_planes: Place<'f, Plane<T>>,
    pub list: Place<'f, u32>,
    pub counts: Place<'f, u32>,
    pub is_active: Place<'f, u8>,
    pub values: Place<'f, T>,
    pub subscripts: Place<'f, u32>,
    pub fine_ranges: Place<'f, [u64; 2]>,
    /// By particle (and class, and shell): what the host wants to know.
    pub class_mass: Place<'f, i64>,
    pub offset2: Place<'f, i64>,
    pub cross: Place<'f, i64>,
    pub own: Place<'f, i64>,
    pub is_too_large: Place<'f, u32>,
}

pub fn work<'f, T: Scalar>(frame: &mut Frame<'f>, sizes: &Sizes, narrow: bool) -> Result<Work<'f, T>> {
    let (p, shape) = (sizes.shape.particles, &sizes.shape);
    let q = shape.searched;
    let everywhere = |count: usize| if shape.local { 0 } else { count };
    let locally = |count: usize| if shape.local { count } else { 0 };
    let narrowed = |count: usize| if narrow { everywhere(2 * count) } else { 0 };
    let (rows, columns) = (sizes.chunk * sizes.coarse_row(), q * shape.translations * sizes.coarse_row());
    Ok(Work {
        columns: frame.place("coarse columns", everywhere(columns))?,
        rows: frame.place("coarse slices", everywhere(rows))?,
        half_powers: frame.place("powers of slices", everywhere(q * sizes.chunk))?,
        narrow_columns: frame.place("narrow columns", narrowed(columns))?,
        narrow_rows: frame.place("narrow slices", narrowed(rows))?,
        energies: frame.place("coarse energies", q * sizes.samples())?,
        ranges: frame.place("ranges of energies", p)?,
        bins: frame.place("selections", p * BINS)?,
        listed: frame.place("listed poses", locally(q * shape.poses))?,
        log_listed: frame.place("listed priors", locally(q * shape.poses))?,
        listed_planes: frame.place("planes", locally(q * shape.poses))?,
        pairs: frame.place("pairs", shape.blocks)?,
        log_pairs: frame.place("pair priors", shape.blocks)?,
        tiles: frame.place("tiles", shape.blocks)?,
        parts: frame.place("parts", shape.blocks)?,
        child_planes: frame.place("planes of children", locally(shape.blocks * shape.turns))?,
        list: frame.place("active pairs", shape.blocks)?,
        counts: frame.place("active pairs of a part", shape.blocks)?,
        is_active: frame.place("activity", shape.blocks)?,
        values: frame.place("weights", shape.blocks * BLOCK)?,
        subscripts: frame.place("weight subscripts", shape.blocks)?,
        fine_ranges: frame.place("ranges of weights", p)?,
        class_mass: frame.place("class mass", p * shape.classes)?,
        offset2: frame.place("expected offsets", p)?,
        cross: frame.place("cross terms", p * shape.classes * shape.shells)?,
        own: frame.place("own terms", p * shape.classes * shape.shells)?,
        is_too_large: frame.place("alarm", 1)?,
    })
}

/// Host memory of the engine, beside the images that are read ahead.
pub struct HostBuffers<'f, T: Scalar> {
    pub log_offsets: &'f mut [T],
    pub squared: &'f mut [T],
    /// Map of significant samples.
    pub map: &'f mut [u64],
    /// The particles' own lists, of each slot.
    pub poses: [&'f mut [u32]; SLOTS],
    pub log_poses: [&'f mut [T]; SLOTS],
    /// Pairs of the fine pass: see `products::shape::Buffers`.
    pub pairs: &'f mut [[u32; 4]],
    pub block_of: &'f mut [u32],
    pub starts: &'f mut [u32],
    pub subscripts: &'f mut [u32],
    /// What goes to the device about them.
    pub device_pairs: &'f mut [Pair],
    pub log_pairs: &'f mut [T],
    pub tiles: &'f mut [Part],
    pub parts: &'f mut [Part],
    pub planes: &'f mut [Plane<T>],
    pub listed: &'f mut [Listed],
    pub log_listed: &'f mut [T],
    /// What comes back.
    pub states: &'f mut [StateWords],
    pub class_mass: &'f mut [i64],
    pub offset2: &'f mut [i64],
    pub cross: &'f mut [i64],
    pub own: &'f mut [i64],
}

pub fn host_buffers<'f, T: Scalar>(frame: &mut Frame<'f>, sizes: &Sizes) -> Result<HostBuffers<'f, T>> {
    let (p, shape) = (sizes.shape.particles, &sizes.shape);
    let locally = |count: usize| if shape.local { count } else { 0 };
    let all_pairs = if shape.local { p * shape.poses * shape.translations } else { shape.blocks };
    let planes = locally((shape.searched * shape.poses).max(shape.blocks * shape.turns));
    Ok(HostBuffers {
        log_offsets: frame.alloc("offset priors", p * sizes.offsets())?,
        squared: frame.alloc("squared offsets", p * shape.translations * shape.steps)?,
        map: frame.zeroed("significant samples", p * shape.words())?,
        poses: [
            frame.alloc("listed poses", locally(p * shape.poses))?,
            frame.alloc("listed poses", locally(p * shape.poses))?,
        ],
        log_poses: [
            frame.alloc("listed priors", locally(p * shape.poses))?,
            frame.alloc("listed priors", locally(p * shape.poses))?,
        ],
        pairs: frame.alloc("pairs", all_pairs)?,
        block_of: frame.alloc("weight places", shape.blocks)?,
        starts: frame.alloc("weight starts", p + 1)?,
        subscripts: frame.alloc("weight subscripts", shape.blocks)?,
        device_pairs: frame.alloc("pairs of the device", shape.blocks)?,
        log_pairs: frame.alloc("pair priors", shape.blocks)?,
        tiles: frame.alloc("tiles", shape.blocks)?,
        parts: frame.alloc("parts", shape.blocks)?,
        planes: frame.alloc("planes", planes)?,
        listed: frame.alloc("listed poses of a search", locally(shape.searched * shape.poses))?,
        log_listed: frame.alloc("listed priors of a search", locally(shape.searched * shape.poses))?,
        states: frame.alloc("search states", p)?,
        class_mass: frame.alloc("class mass", p * shape.classes)?,
        offset2: frame.alloc("expected offsets", p)?,
        cross: frame.alloc("cross terms", p * shape.classes * shape.shells)?,
        own: frame.alloc("own terms", p * shape.classes * shape.shells)?,
    })
}
