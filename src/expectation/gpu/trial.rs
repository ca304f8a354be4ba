//! The coarse comparison of given rows on a device, by itself. Only tests and measurements call this.

use crate::arena::Arena;
use crate::arena::Frame;
use crate::arena::Place;
use crate::device;
use crate::device::Driver;
use crate::device::Mark;
use crate::device::Plain;
use crate::device::Stream;
use crate::error::Result;
use crate::expectation::scalar::Scalar;

use super::coarse::CoarseArguments;
use super::coarse::PowerArguments;
use super::coarse::SpreadArguments;
use super::coarse::launch_coarse;
use super::coarse::launch_power;
use super::coarse::launch_spread;
use super::coarse::stride;
use super::form::Form;
use super::narrow::launch_largest;
use super::narrow::launch_narrow;
use super::narrow::scale_to_fit;

/// How many of everything there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Complex values of a row.
    pub pixels: usize,
    pub poses: usize,
    pub particles: usize,
    pub translations: usize,
}

impl Sizes {
    /// Reals from a row to the next.
    pub fn stride(&self) -> usize {
        stride(2 * self.pixels)
    }

    pub fn power_stride(&self) -> usize {
        stride(self.pixels)
    }

    pub fn columns(&self) -> usize {
        self.particles * self.translations
    }

    /// Additions and multiplications of the products.
    pub fn operations(&self) -> f64 {
        2.0 * (2 * self.pixels) as f64 * self.poses as f64 * self.columns() as f64
    }

    /// Place of an energy.
    pub fn at(&self, particle: usize, pose: usize, translation: usize) -> usize {
        (particle * self.poses + pose) * self.translations + translation
    }
}

/// What is compared: rows with zeros up to their stride.
#[derive(Clone, Debug)]
pub struct Operands<T> {
    pub sizes: Sizes,
    pub rows: Vec<T>,
    pub columns: Vec<T>,
    /// v c^2 by particle.
    pub power: Vec<T>,
    /// Empty: by cross-correlation.
    pub log_poses: Vec<T>,
    /// By particle and translation.
    pub log_offsets: Vec<T>,
    /// By particle, for cross-correlation.
    pub image_powers: Vec<f64>,
    /// By particle; empty: all.
    pub allowed: Vec<u8>,
}

/// One squared difference in double precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact {
    pub half_power: f64,
    pub product: f64,
    /// Root of the sum of the product's squared terms: what rounded factors err by is a share of it.
    pub spread: f64,
    pub energy: f64,
}

impl<T: Scalar> Operands<T> {
    pub fn exact(&self, particle: usize, pose: usize, translation: usize) -> Exact {
        let Sizes { pixels, translations, .. } = self.sizes;
        let column = particle * translations + translation;
        let row = &self.rows[pose * self.sizes.stride()..][..2 * pixels];
        let column = &self.columns[column * self.sizes.stride()..][..2 * pixels];
        let power = &self.power[particle * self.sizes.power_stride()..][..pixels];
        let terms = row.iter().zip(column).map(|(a, b)| a.to_f64() * b.to_f64());
        let (product, squares) = terms.fold((0.0, 0.0), |(sum, squares), term| (sum + term, squares + term * term));
        let weighted = row.chunks_exact(2).zip(power);
        let weighted = weighted.map(|(z, v)| v.to_f64() * (z[0].to_f64().powi(2) + z[1].to_f64().powi(2)));
        let half_power = 0.5 * weighted.sum::<f64>();
        let energy = if self.allowed.get(particle) == Some(&0) {
            f64::INFINITY
        } else if let Some(log_pose) = self.log_poses.get(pose) {
            let log_offset = self.log_offsets[particle * translations + translation];
            half_power - product - log_pose.to_f64() - log_offset.to_f64()
        } else {
            let norm = (2.0 * half_power * self.image_powers[particle]).sqrt();
            if norm > 0.0 { -product / norm } else { 0.0 }
        };
        Exact { half_power, product, spread: squares.sqrt(), energy }
    }
}

/// Operands on a device.
pub struct Trial<'d> {
    driver: &'d dyn Driver,
    sizes: Sizes,
    arguments: CoarseArguments,
    power: PowerArguments,
    largest: u64,
    /// Start of the region and bytes of it.
    bytes: usize,
}

struct Places<'f, T> {
    rows: Place<'f, T>,
    columns: Place<'f, T>,
    narrow_rows: Place<'f, u16>,
    narrow_columns: Place<'f, u16>,
    power: Place<'f, T>,
    half_powers: Place<'f, T>,
    log_poses: Place<'f, T>,
    log_offsets: Place<'f, T>,
    image_powers: Place<'f, f64>,
    allowed: Place<'f, u8>,
    energies: Place<'f, T>,
    largest: Place<'f, u32>,
}

fn places<'f, T: Scalar>(frame: &mut Frame<'f>, sizes: &Sizes) -> Result<Places<'f, T>> {
    let (rows, columns) = (sizes.poses * sizes.stride(), sizes.columns() * sizes.stride());
    Ok(Places {
        rows: frame.place("rows", rows)?,
        columns: frame.place("columns", columns)?,
        narrow_rows: frame.place("narrow rows", rows)?,
        narrow_columns: frame.place("narrow columns", columns)?,
        power: frame.place("power", sizes.particles * sizes.power_stride())?,
        half_powers: frame.place("half powers", sizes.particles * sizes.poses)?,
        log_poses: frame.place("log poses", sizes.poses)?,
        log_offsets: frame.place("log offsets", sizes.columns())?,
        image_powers: frame.place("image powers", sizes.particles)?,
        allowed: frame.place("allowed", sizes.particles)?,
        energies: frame.place("energies", sizes.poses * sizes.columns())?,
        largest: frame.place("largest", 2)?,
    })
}

/// Bytes that a trial takes of a device.
///
/// # Errors
/// More than there can be.
pub fn bytes<T: Scalar>(sizes: &Sizes) -> Result<usize> {
    let mut arena = Arena::of_device(Arena::UNLIMITED);
    arena.run(|frame| places::<T>(frame, sizes).map(|_| ()))?;
    Ok(arena.layout().peak)
}

impl<'d> Trial<'d> {
    /// Brings the operands to a device; `base` is the start of a region of at least [`bytes`].
    ///
    /// # Errors
    /// The driver's.
    pub fn upload<T: Scalar + Plain>(driver: &'d dyn Driver, base: u64, operands: &Operands<T>) -> Result<Self> {
        let sizes = operands.sizes;
        let bytes = bytes::<T>(&sizes)?;
        let mut arena = Arena::of_device(bytes);
        let (arguments, power, largest) = arena.run(|frame| -> Result<_> {
            let at = places::<T>(frame, &sizes)?;
            put(driver, base, at.rows, &operands.rows)?;
            put(driver, base, at.columns, &operands.columns)?;
            put(driver, base, at.power, &operands.power)?;
            put(driver, base, at.log_offsets, &operands.log_offsets)?;
            put(driver, base, at.image_powers, &operands.image_powers)?;
            let arguments = CoarseArguments {
                rows: base + at.rows.offset() as u64,
                columns: base + at.columns.offset() as u64,
                narrow_rows: base + at.narrow_rows.offset() as u64,
                narrow_columns: base + at.narrow_columns.offset() as u64,
                half_powers: base + at.half_powers.offset() as u64,
                log_poses: put_or_none(driver, base, at.log_poses, &operands.log_poses)?,
                log_offsets: base + at.log_offsets.offset() as u64,
                image_powers: base + at.image_powers.offset() as u64,
                allowed: put_or_none(driver, base, at.allowed, &operands.allowed)?,
                energies: base + at.energies.offset() as u64,
                energy_stride: (sizes.poses * sizes.translations) as u64,
                unscale: 1.0,
                length: 2 * sizes.pixels as u32,
                row_stride: sizes.stride() as u32,
                column_stride: sizes.stride() as u32,
                poses: sizes.poses as u32,
                particles: sizes.particles as u32,
                translations: sizes.translations as u32,
                power_stride: sizes.poses as u32,
                offset_stride: sizes.translations as u32,
                first_pose: 0,
                padding: 0,
            };
            let power = PowerArguments {
                rows: arguments.rows,
                power: base + at.power.offset() as u64,
                half_powers: arguments.half_powers,
                row_stride: arguments.row_stride,
                power_stride: sizes.power_stride() as u32,
                half_power_stride: arguments.power_stride,
                pixels: sizes.pixels as u32,
                poses: arguments.poses,
                particles: arguments.particles,
            };
            Ok((arguments, power, base + at.largest.offset() as u64))
        })?;
        driver.finish(Stream::Compute)?;
        Ok(Self { driver, sizes, arguments, power, largest, bytes })
    }

    /// Half powers, and FP16 copies where the form takes them.
    ///
    /// # Errors
    /// The driver's.
    pub fn prepare(&mut self, form: Form) -> Result<()> {
        launch_power(self.driver, &self.power)?;
        if form.is_narrow() {
            let a = &self.arguments;
            let stride = self.sizes.stride() as u64;
            let rows = (a.rows, self.sizes.poses as u64 * stride, a.narrow_rows);
            let columns = (a.columns, self.sizes.columns() as u64 * stride, a.narrow_columns);
            let mut unscale = 1.0;
            for (i, (values, count, narrow)) in [rows, columns].into_iter().enumerate() {
                let at = self.largest + 4 * i as u64;
                let mut bits = [0_u32];
                launch_largest(self.driver, values, count, at)?;
                device::download(self.driver, Stream::Compute, at, &mut bits)?;
                self.driver.finish(Stream::Compute)?;
                let scale = scale_to_fit(bits[0])?;
                launch_narrow(self.driver, values, count, scale, narrow)?;
                unscale /= scale;
            }
            self.arguments.unscale = unscale;
        }
        self.driver.finish(Stream::Compute)
    }

    /// Energies at [`Sizes::at`], of a form that was prepared.
    ///
    /// # Errors
    /// The driver's.
    pub fn energies<T: Scalar + Plain>(&self, form: Form) -> Result<Vec<T>> {
        let count = self.sizes.poses * self.sizes.columns();
        self.driver.zero(Stream::Compute, self.arguments.energies, count * size_of::<T>())?;
        launch_coarse(self.driver, form, &self.arguments)?;
        let mut energies = vec![T::INFINITY; count];
        device::download(self.driver, Stream::Compute, self.arguments.energies, &mut energies)?;
        self.driver.finish(Stream::Compute)?;
        Ok(energies)
    }

    /// Half powers by particle and pose.
    ///
    /// # Errors
    /// The driver's.
    pub fn half_powers<T: Scalar + Plain>(&self) -> Result<Vec<T>> {
        let mut powers = vec![T::INFINITY; self.sizes.particles * self.sizes.poses];
        device::download(self.driver, Stream::Compute, self.arguments.half_powers, &mut powers)?;
        self.driver.finish(Stream::Compute)?;
        Ok(powers)
    }

    /// Spreads by particle and pose, in the place of the half powers: those are to be prepared again.
    ///
    /// # Errors
    /// The driver's.
    pub fn spreads<T: Scalar + Plain>(&self) -> Result<Vec<T>> {
        let (a, sizes) = (&self.arguments, self.sizes);
        let arguments = SpreadArguments {
            rows: a.rows,
            columns: a.columns,
            spreads: a.half_powers,
            row_stride: a.row_stride,
            column_stride: a.column_stride * a.translations,
            spread_stride: a.power_stride,
            pixels: sizes.pixels as u32,
            poses: a.poses,
            particles: a.particles,
        };
        launch_spread(self.driver, &arguments)?;
        self.half_powers()
    }

    /// Seconds of one launch.
    ///
    /// # Errors
    /// The driver's.
    pub fn seconds(&self, form: Form) -> Result<f64> {
        let (start, end) = (Mark(0), Mark(1));
        self.driver.mark(Stream::Compute, start)?;
        launch_coarse(self.driver, form, &self.arguments)?;
        self.driver.mark(Stream::Compute, end)?;
        self.driver.finish(Stream::Compute)?;
        self.driver.seconds(start, end)
    }

    /// Bytes of the device that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn put<T: Plain>(driver: &dyn Driver, base: u64, place: Place<'_, T>, values: &[T]) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    device::upload(driver, Stream::Compute, base + place.offset() as u64, values)
}

/// The address, or none where there are no values.
fn put_or_none<T: Plain>(driver: &dyn Driver, base: u64, place: Place<'_, T>, values: &[T]) -> Result<u64> {
    put(driver, base, place, values)?;
    Ok(if values.is_empty() { 0 } else { base + place.offset() as u64 })
}
