//! Coarse energies on a device: the arguments of their kernels, and how these are launched.

use crate::device;
use crate::device::Driver;
use crate::device::Grid;
use crate::device::Stream;
use crate::error::Error;
use crate::error::Result;

use super::form::Form;

/// Strides of rows and columns are multiples of it, in reals.
pub const STRIDE: usize = 32;
/// Bytes on which rows start.
const ALIGNMENT: u64 = 16;

/// Stride of rows of `length` reals.
pub fn stride(length: usize) -> usize {
    length.next_multiple_of(STRIDE)
}

/// Of all forms (`kernels/energy.cuh` says what each is). Addresses are the device's; 0 where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CoarseArguments {
    pub rows: u64,
    pub columns: u64,
    pub narrow_rows: u64,
    pub narrow_columns: u64,
    pub half_powers: u64,
    pub log_poses: u64,
    pub log_offsets: u64,
    pub image_powers: u64,
    pub allowed: u64,
    pub energies: u64,
    pub energy_stride: u64,
    pub unscale: f64,
    pub length: u32,
    pub row_stride: u32,
    pub column_stride: u32,
    pub poses: u32,
    pub particles: u32,
    pub translations: u32,
    pub power_stride: u32,
    pub offset_stride: u32,
    pub first_pose: u32,
    pub padding: u32,
}

/// Of `coarse_power`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerArguments {
    pub rows: u64,
    /// v c^2 by particle, reals; zeros from `pixels` to the next multiple of 16.
    pub power: u64,
    pub half_powers: u64,
    pub row_stride: u32,
    pub power_stride: u32,
    pub half_power_stride: u32,
    pub pixels: u32,
    pub poses: u32,
    pub particles: u32,
}

/// Of `coarse_spread`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SpreadArguments {
    pub rows: u64,
    /// One of a particle's columns; they differ in phases only.
    pub columns: u64,
    pub spreads: u64,
    pub row_stride: u32,
    /// From a particle to the next.
    pub column_stride: u32,
    pub spread_stride: u32,
    pub pixels: u32,
    pub poses: u32,
    pub particles: u32,
}

impl Form {
    fn kernel(self) -> &'static str {
        match self {
            Self::Direct => "coarse_direct",
            Self::Tile => "coarse_tile",
            Self::Product => "coarse_product",
            Self::Tf32 => "coarse_tf32",
            Self::Fp16 => "coarse_fp16",
            Self::ThreeTf32 => "coarse_three_tf32",
        }
    }

    /// As the head of each kernel says.
    fn grid(self, poses: u32, particles: u32, translations: u32) -> Grid {
        let columns = particles * translations;
        let (blocks, threads, shared_bytes) = match self {
            Self::Direct => ([poses, particles, 1], [128, 1, 1], 0),
            Self::Tile => ([columns.div_ceil(32), poses.div_ceil(32), 1], [32, 8, 1], 0),
            Self::Product => ([columns.div_ceil(128), poses.div_ceil(64), 1], [128, 1, 1], 0),
            Self::Tf32 | Self::Fp16 | Self::ThreeTf32 => {
                ([columns.div_ceil(128), poses.div_ceil(128), 1], [256, 1, 1], 96 << 10)
            }
        };
        Grid { blocks, threads, shared_bytes }
    }
}

/// Energies of all poses, particles and translations of `arguments`.
///
/// # Errors
/// The driver's; rows that do not lie as the kernels need them.
pub fn launch_coarse(driver: &dyn Driver, form: Form, arguments: &CoarseArguments) -> Result<()> {
    let a = arguments;
    if a.poses == 0 || a.particles == 0 || a.translations == 0 {
        return Ok(());
    }
    check("coarse rows", a.rows, a.row_stride, a.length)?;
    check("coarse columns", a.columns, a.column_stride, a.length)?;
    if form.is_narrow() {
        check("narrow rows", a.narrow_rows, a.row_stride, a.length)?;
        check("narrow columns", a.narrow_columns, a.column_stride, a.length)?;
    }
    let grid = form.grid(a.poses, a.particles, a.translations);
    device::launch(driver, Stream::Compute, form.kernel(), grid, arguments)
}

/// Half powers of all poses and particles of `arguments`.
///
/// # Errors
/// As [`launch_coarse`].
pub fn launch_power(driver: &dyn Driver, arguments: &PowerArguments) -> Result<()> {
    let a = arguments;
    if a.poses == 0 || a.particles == 0 {
        return Ok(());
    }
    check("coarse rows", a.rows, a.row_stride, 2 * a.pixels)?;
    if !a.power.is_multiple_of(ALIGNMENT) || !a.power_stride.is_multiple_of(16) || a.power_stride < a.pixels {
        return Err(misplaced("coarse power", a.power, a.power_stride, a.pixels));
    }
    device::launch(driver, Stream::Compute, "coarse_power", powers_grid(a.poses, a.particles), arguments)
}

/// What [`Form::widening`] takes, of all poses and particles of `arguments`.
///
/// # Errors
/// As [`launch_coarse`].
pub fn launch_spread(driver: &dyn Driver, arguments: &SpreadArguments) -> Result<()> {
    let a = arguments;
    if a.poses == 0 || a.particles == 0 {
        return Ok(());
    }
    check("coarse rows", a.rows, a.row_stride, 2 * a.pixels)?;
    check("coarse columns", a.columns, a.column_stride, 2 * a.pixels)?;
    device::launch(driver, Stream::Compute, "coarse_spread", powers_grid(a.poses, a.particles), arguments)
}

/// Particles are the rows of these products.
fn powers_grid(poses: u32, particles: u32) -> Grid {
    Grid { blocks: [poses.div_ceil(128), particles.div_ceil(64), 1], threads: [128, 1, 1], shared_bytes: 0 }
}

/// The kernels look at whole vectors and never where a row ends.
fn check(what: &str, address: u64, stride: u32, length: u32) -> Result<()> {
    let lies_right =
        address != 0 && address.is_multiple_of(ALIGNMENT) && stride.is_multiple_of(STRIDE as u32) && stride >= length;
    if lies_right { Ok(()) } else { Err(misplaced(what, address, stride, length)) }
}

fn misplaced(what: &str, address: u64, stride: u32, length: u32) -> Error {
    Error::internal(format!("{what} at {address:#x} with a stride of {stride} for {length} reals"))
}
