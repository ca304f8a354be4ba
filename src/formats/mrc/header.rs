//! The 1024-byte header.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::compressed::compression;
use crate::formats::mrc::Statistics;
use crate::formats::mrc::is_stack_name;

pub const HEADER_BYTES: usize = 1024;

/// An edge of this many pixels is not an image but another kind of file, or the other byte order.
const LARGEST_EDGE: i32 = 65_535;
/// Relative difference of the edges of a voxel that counts as none: cells are written as 32-bit reals.
const SAME_EDGE: f64 = 1e-3;
/// Labels and format version of what we write (MRC2014, first revision).
const FORMAT_VERSION: i32 = 20_140;

/// Offsets of the words that are used, in bytes.
mod word {
    pub const SIZE: usize = 0;
    pub const MODE: usize = 12;
    pub const SAMPLING: usize = 28;
    pub const CELL: usize = 40;
    pub const ANGLES: usize = 52;
    pub const AXES: usize = 64;
    pub const MINIMUM: usize = 76;
    pub const MAXIMUM: usize = 80;
    pub const MEAN: usize = 84;
    pub const SPACE_GROUP: usize = 88;
    pub const EXTENDED: usize = 92;
    pub const VERSION: usize = 108;
    pub const MAP: usize = 208;
    pub const STAMP: usize = 212;
    pub const RMS: usize = 216;
}

/// Type of a pixel in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mode 0: signed byte.
    Int8,
    /// Mode 1.
    Int16,
    /// Mode 2.
    Float32,
    /// Mode 6.
    Uint16,
    /// Mode 12.
    Float16,
}

impl Mode {
    pub fn number(self) -> i32 {
        match self {
            Mode::Int8 => 0,
            Mode::Int16 => 1,
            Mode::Float32 => 2,
            Mode::Uint16 => 6,
            Mode::Float16 => 12,
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Mode::Int8 => 1,
            Mode::Int16 | Mode::Uint16 | Mode::Float16 => 2,
            Mode::Float32 => 4,
        }
    }

    fn from_number(number: i32, place: &str) -> Result<Self> {
        let refuse = |what: &str| {
            Err(Error::bad_data(
                place,
                format!("MRC mode {number} ({what}) is not read here"),
                "Convert it to mode 2 (32-bit reals) or 12 (16-bit reals), for example with relion_image_handler.",
            ))
        };
        match number {
            0 => Ok(Mode::Int8),
            1 => Ok(Mode::Int16),
            2 => Ok(Mode::Float32),
            6 => Ok(Mode::Uint16),
            12 => Ok(Mode::Float16),
            3 => refuse("complex 16-bit integers"),
            4 => refuse("complex 32-bit reals"),
            16 => refuse("colours"),
            101 => refuse("packed 4-bit integers"),
            _ => refuse("unknown"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn i32(self, bytes: &[u8; HEADER_BYTES], at: usize) -> i32 {
        let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        match self {
            ByteOrder::Little => i32::from_le_bytes(word),
            ByteOrder::Big => i32::from_be_bytes(word),
        }
    }

    fn f32(self, bytes: &[u8; HEADER_BYTES], at: usize) -> f32 {
        f32::from_bits(self.i32(bytes, at) as u32)
    }

    fn put_i32(self, bytes: &mut [u8; HEADER_BYTES], at: usize, value: i32) {
        bytes[at..at + 4].copy_from_slice(&match self {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        });
    }

    fn put_f32(self, bytes: &mut [u8; HEADER_BYTES], at: usize, value: f32) {
        self.put_i32(bytes, at, value.to_bits() as i32);
    }
}

/// What a header says that matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Columns (x).
    pub nx: usize,
    /// Rows (y).
    pub ny: usize,
    /// Sections: images of a stack, or z of a map.
    pub nz: usize,
    pub mode: Mode,
    pub byte_order: ByteOrder,
    /// Cell a / mx; 0 when the header does not say.
    pub pixel_size_angstrom: f64,
    /// Length of the extended header.
    pub extended_bytes: usize,
}

impl Header {
    /// Reads the words; `place` stands for the file in messages.
    ///
    /// # Errors
    /// `BadData` when it is not an MRC header, or one of a mode that is not read here.
    pub fn parse(bytes: &[u8; HEADER_BYTES], place: &str) -> Result<Self> {
        let plausible = |order: &ByteOrder| {
            (1..=LARGEST_EDGE).contains(&order.i32(bytes, word::SIZE))
                && (0..=LARGEST_EDGE).contains(&order.i32(bytes, word::MODE))
        };
        let size_in = |order: ByteOrder| [0, 4, 8].map(|at| order.i32(bytes, word::SIZE + at));
        let Some(order) = [ByteOrder::Little, ByteOrder::Big].into_iter().find(plausible) else {
            let [nx, ny, nz] = size_in(ByteOrder::Little);
            return Err(Error::bad_data(
                place,
                format!("not an MRC file: it would have {nx} columns, {ny} rows and {nz} sections"),
                "Name an MRC file (.mrc or .mrcs).",
            ));
        };
        let [nx, ny, nz] = size_in(order);
        if !(1..=LARGEST_EDGE).contains(&ny) || nz < 1 {
            return Err(Error::bad_data(
                place,
                format!("the MRC header gives a size of {nx} x {ny} x {nz}"),
                "The file is damaged or was never finished; write it again.",
            ));
        }
        let mode = Mode::from_number(order.i32(bytes, word::MODE), place)?;
        let extended = order.i32(bytes, word::EXTENDED);
        let extended_bytes = usize::try_from(extended).map_err(|_| {
            Error::bad_data(
                place,
                format!("the MRC header gives an extended header of {extended} bytes"),
                "The file is damaged; write it again.",
            )
        })?;
        let (sampling, cell) = (order.i32(bytes, word::SAMPLING), order.f32(bytes, word::CELL));
        let is_known = sampling > 0 && cell > 0.0 && cell.is_finite();
        Ok(Self {
            nx: nx as usize,
            ny: ny as usize,
            nz: nz as usize,
            mode,
            byte_order: order,
            pixel_size_angstrom: if is_known { f64::from(cell) / f64::from(sampling) } else { 0.0 },
            extended_bytes,
        })
    }

    /// The header's bytes. A map (`is_map`) has space group 1 and mz = nz; images have group 0 and mz = 1.
    pub fn to_bytes(&self, is_map: bool, statistics: &Statistics) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let order = self.byte_order;
        // Sizes come from a header that was read, or from a writer that checked them.
        let size = [self.nx as i32, self.ny as i32, self.nz as i32];
        let sampling = [size[0], size[1], if is_map { size[2] } else { 1 }];
        for axis in 0..3 {
            let at = 4 * axis;
            order.put_i32(&mut bytes, word::SIZE + at, size[axis]);
            order.put_i32(&mut bytes, word::SAMPLING + at, sampling[axis]);
            let cell = f64::from(sampling[axis]) * self.pixel_size_angstrom;
            order.put_f32(&mut bytes, word::CELL + at, cell as f32);
            order.put_f32(&mut bytes, word::ANGLES + at, 90.0);
            order.put_i32(&mut bytes, word::AXES + at, axis as i32 + 1);
        }
        order.put_i32(&mut bytes, word::MODE, self.mode.number());
        order.put_f32(&mut bytes, word::MINIMUM, statistics.minimum());
        order.put_f32(&mut bytes, word::MAXIMUM, statistics.maximum());
        order.put_f32(&mut bytes, word::MEAN, statistics.mean());
        order.put_f32(&mut bytes, word::RMS, statistics.rms());
        order.put_i32(&mut bytes, word::SPACE_GROUP, i32::from(is_map));
        order.put_i32(&mut bytes, word::EXTENDED, self.extended_bytes as i32);
        order.put_i32(&mut bytes, word::VERSION, FORMAT_VERSION);
        bytes[word::MAP..word::MAP + 4].copy_from_slice(b"MAP ");
        bytes[word::STAMP..word::STAMP + 2].copy_from_slice(match order {
            ByteOrder::Little => &[0x44, 0x41],
            ByteOrder::Big => &[0x11, 0x11],
        });
        bytes
    }

    /// Pixels of a section.
    pub fn section_pixels(&self) -> usize {
        self.nx * self.ny
    }

    /// Bytes of a section.
    pub fn section_bytes(&self) -> usize {
        self.section_pixels() * self.mode.bytes()
    }

    /// Where the first section starts in the file.
    pub fn data_offset(&self) -> u64 {
        (HEADER_BYTES + self.extended_bytes) as u64
    }

    /// Compares with the length of the file. Edges are at most 16 bits and nz 31, so that nothing overflows.
    fn check_length(&self, length: u64, path: &Path) -> Result<()> {
        let section = self.section_bytes() as u64;
        let wanted = u128::from(self.data_offset()) + u128::from(section) * self.nz as u128;
        if u128::from(length) >= wanted {
            return Ok(());
        }
        let held = length.saturating_sub(self.data_offset()) / section;
        Err(Error::bad_data(
            path.display().to_string(),
            format!(
                "truncated: the header promises {} x {} x {} pixels ({wanted} bytes), the file has {length} bytes \
                 and holds {held} of {} {}",
                self.nx,
                self.ny,
                self.nz,
                self.nz,
                if super::is_stack_name(path) { "images" } else { "sections" }
            ),
            "Copy or write the file again.",
        ))
    }
}

/// A map has one pixel size: voxels that are no cubes are refused. A cell or sampling of 0 says nothing.
fn check_voxels(bytes: &[u8; HEADER_BYTES], header: &Header, place: &str) -> Result<()> {
    let order = header.byte_order;
    for axis in 1..3 {
        let sampling = f64::from(order.i32(bytes, word::SAMPLING + 4 * axis));
        let edge = f64::from(order.f32(bytes, word::CELL + 4 * axis)) / sampling;
        let known = header.pixel_size_angstrom > 0.0 && sampling > 0.0 && edge > 0.0;
        if known && (edge / header.pixel_size_angstrom - 1.0).abs() > SAME_EDGE {
            return Err(Error::bad_data(
                place,
                format!(
                    "the voxels are {:.4} A along x and {edge:.4} A along {}",
                    header.pixel_size_angstrom,
                    ["x", "y", "z"][axis]
                ),
                "Resample the map to cubic voxels, or correct the cell in the header.",
            ));
        }
    }
    Ok(())
}

/// Opens a file, and reads and checks its header.
pub(super) fn open(path: &Path) -> Result<(File, Header)> {
    let place = || path.display().to_string();
    // Before opening: the opening of a pipe would wait for its writer.
    let about = std::fs::metadata(path).map_err(|cause| Error::reading(path, &cause))?;
    if about.is_dir() {
        return Err(Error::reading(path, &std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    if !about.is_file() {
        return Err(Error::new(ExitCode::NoInput, place(), "not a regular file", "Name an MRC file."));
    }
    let file = File::open(path).map_err(|cause| Error::reading(path, &cause))?;
    if about.len() < HEADER_BYTES as u64 {
        return Err(Error::bad_data(
            place(),
            format!("not an MRC file: {} bytes are less than its header of {HEADER_BYTES}", about.len()),
            "Copy or write the file again.",
        ));
    }
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).map_err(|cause| Error::reading(path, &cause))?;
    if let Some((kind, command)) = compression(&bytes) {
        let fix = format!("Unpack it first: {command} {}", path.display());
        return Err(Error::bad_data(place(), format!("compressed with {kind}"), fix));
    }
    let header = Header::parse(&bytes, &place())?;
    if header.nz > 1 && !is_stack_name(path) {
        check_voxels(&bytes, &header, &place())?;
    }
    header.check_length(about.len(), path)?;
    Ok((file, header))
}
