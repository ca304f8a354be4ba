//! A value under a name in an HDF5 group.
//!
//! Numbers, words and flags are attributes; arrays are datasets with a Fletcher32 checksum a chunk; maps, which are
//! large and rewritten whole, are contiguous. What is not a number is refused both ways: a refinement that holds a
//! NaN cannot be continued, and the place is named.

use std::str::FromStr;

use hdf5::Dataset;
use hdf5::Group;
use hdf5::H5Type;
use hdf5::types::VarLenUnicode;

use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::model::Volume;
use crate::product::Voxel;

/// Elements a chunk: half a megabyte of f64, which fits the library's chunk cache.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// Attribute that holds the length of a list.
const COUNT: &str = "count";

/// A value that can be kept under a name.
pub(super) trait Stored: Sized {
    fn write(&self, group: &Group, name: &str) -> Result<()>;
    fn read(group: &Group, name: &str) -> Result<Self>;
}

pub(super) fn place(group: &Group, name: &str) -> String {
    format!("{}/{name}", group.name().trim_end_matches('/'))
}

/// An error of the library on the way in. The caller adds the file.
fn unreadable(group: &Group, name: &str, cause: impl std::fmt::Display) -> Error {
    Error::bad_data(place(group, name), format!("cannot be read from the checkpoint: {cause}"), "")
}

/// An error of the library on the way out. The caller adds the file and the cause.
fn unwritable(group: &Group, name: &str, cause: impl std::fmt::Display) -> Error {
    Error::new(ExitCode::Io, place(group, name), format!("cannot be written: {cause}"), "")
}

/// A new group. Without times: equal states give equal bytes.
pub(super) fn create_group(parent: &Group, name: &str) -> Result<Group> {
    parent.create_group_builder().obj_track_times(false).create(name).map_err(|e| unwritable(parent, name, e))
}

pub(super) fn open_group(parent: &Group, name: &str) -> Result<Group> {
    parent.group(name).map_err(|e| unreadable(parent, name, e))
}

fn write_attribute<T: H5Type>(group: &Group, name: &str, value: &T) -> Result<()> {
    let create = || group.new_attr::<T>().create(name)?.write_scalar(value);
    create().map_err(|e| unwritable(group, name, e))
}

fn read_attribute<T: H5Type>(group: &Group, name: &str) -> Result<T> {
    group.attr(name).and_then(|a| a.read_scalar()).map_err(|e| unreadable(group, name, e))
}

/// Numbers that may be kept.
trait Number: H5Type + Copy {
    fn is_number(self) -> bool;
}

macro_rules! integers {
    ($($type:ty),+) => { $(impl Number for $type { fn is_number(self) -> bool { true } })+ };
}
integers!(u8, u32, u64, i64, bool);

impl Number for f32 {
    fn is_number(self) -> bool {
        !self.is_nan()
    }
}

impl Number for f64 {
    fn is_number(self) -> bool {
        !self.is_nan()
    }
}

fn first_not_a_number<T: Number>(values: &[T]) -> Option<String> {
    let index = values.iter().position(|v| !v.is_number())?;
    Some(format!("element {index} is not a number (NaN)"))
}

/// Before writing: the refinement itself went wrong.
fn refuse_not_a_number<T: Number>(group: &Group, name: &str, values: &[T]) -> Result<()> {
    const FIX: &str =
        "The refinement cannot continue from it: look for particles or references with impossible values.";
    match first_not_a_number(values) {
        Some(problem) => Err(Error::new(ExitCode::Internal, place(group, name), problem, FIX)),
        None => Ok(()),
    }
}

/// After reading: no program of ours wrote this.
fn check<T: Number>(group: &Group, name: &str, values: &[T]) -> Result<()> {
    first_not_a_number(values).map_or(Ok(()), |problem| Err(unreadable(group, name, problem)))
}

fn write_chunked<T: H5Type>(group: &Group, name: &str, values: &[T]) -> Result<()> {
    let builder = group.new_dataset::<T>();
    let builder = if values.is_empty() {
        builder.no_chunk()
    } else {
        builder.chunk(values.len().min(CHUNK_ELEMENTS)).fletcher32()
    };
    builder
        .shape(values.len())
        .create(name)
        .and_then(|dataset| dataset.write_raw(values))
        .map_err(|e| unwritable(group, name, e))
}

fn open_dataset(group: &Group, name: &str) -> Result<Dataset> {
    group.dataset(name).map_err(|e| unreadable(group, name, e))
}

/// Reads an uncompressed dataset, after comparing the declared size with what is stored, so that a wrong header
/// cannot ask for absurd memory.
fn read_elements<T: H5Type>(group: &Group, name: &str, dataset: &Dataset) -> Result<Vec<T>> {
    let declared = (dataset.size() as u64).saturating_mul(size_of::<T>() as u64);
    if declared > dataset.storage_size() {
        let cause = format!("{declared} bytes are declared, {} are stored", dataset.storage_size());
        return Err(unreadable(group, name, cause));
    }
    dataset.read_raw().map_err(|e| unreadable(group, name, e))
}

macro_rules! scalars_and_columns {
    ($($type:ty),+) => { $(
        impl Stored for $type {
            fn write(&self, group: &Group, name: &str) -> Result<()> {
                refuse_not_a_number(group, name, std::slice::from_ref(self))?;
                write_attribute(group, name, self)
            }

            fn read(group: &Group, name: &str) -> Result<Self> {
                let value = read_attribute(group, name)?;
                check(group, name, std::slice::from_ref(&value))?;
                Ok(value)
            }
        }

        impl Stored for Vec<$type> {
            fn write(&self, group: &Group, name: &str) -> Result<()> {
                refuse_not_a_number(group, name, self)?;
                write_chunked(group, name, self)
            }

            fn read(group: &Group, name: &str) -> Result<Self> {
                let values = read_elements(group, name, &open_dataset(group, name)?)?;
                check(group, name, &values)?;
                Ok(values)
            }
        }
    )+ };
}
scalars_and_columns!(u8, u32, u64, i64, f64, bool);

/// The library has no such integers: pairs of the low and the high 64 bits.
impl Stored for Vec<i128> {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        self.iter().flat_map(|v| [*v as u64, (*v >> 64) as u64]).collect::<Vec<u64>>().write(group, name)
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        let halves = Vec::<u64>::read(group, name)?;
        match halves.as_chunks::<2>() {
            (pairs, []) => {
                Ok(pairs.iter().map(|[low, high]| i128::from(*low) | (i128::from(*high as i64) << 64)).collect())
            }
            _ => Err(unreadable(group, name, "half a number at the end")),
        }
    }
}

impl Stored for usize {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        (*self as u64).write(group, name)
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        Self::try_from(u64::read(group, name)?).map_err(|e| unreadable(group, name, e))
    }
}

impl Stored for Vec<usize> {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        self.iter().map(|&v| v as u64).collect::<Vec<u64>>().write(group, name)
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        let wide = Vec::<u64>::read(group, name)?;
        wide.into_iter().map(|v| usize::try_from(v).map_err(|e| unreadable(group, name, e))).collect()
    }
}

impl Stored for String {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        let text = VarLenUnicode::from_str(self).map_err(|e| unwritable(group, name, e))?;
        write_attribute(group, name, &text)
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        Ok(read_attribute::<VarLenUnicode>(group, name)?.as_str().to_owned())
    }
}

/// One dataset of UTF-8 bytes, each text ended by a zero byte: the library has no checksums for its own texts of
/// varying length.
impl Stored for Vec<String> {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        if let Some(text) = self.iter().find(|text| text.contains('\0')) {
            return Err(unwritable(group, name, format!("{text:?} has a zero byte inside")));
        }
        self.iter().flat_map(|text| text.bytes().chain([0])).collect::<Vec<u8>>().write(group, name)
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        let bytes = Vec::<u8>::read(group, name)?;
        let Some((last, texts)) = bytes.split_last() else { return Ok(Vec::new()) };
        if *last != 0 {
            return Err(unreadable(group, name, "the last text has no end"));
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|e| unreadable(group, name, e));
        texts.split(|&byte| byte == 0).map(text).collect()
    }
}

/// The map is a contiguous dataset of shape [z][y][x]; its scale is an attribute of it.
impl Stored for Volume {
    fn write(&self, group: &Group, name: &str) -> Result<()> {
        let n = self.box_pixels;
        refuse_not_a_number(group, name, &self.data)?;
        let create = || {
            let dataset = group.new_dataset::<f32>().no_chunk().shape([n, n, n]).create(name)?;
            dataset.write_raw(&self.data)?;
            dataset.new_attr::<f64>().create("pixel_size_angstrom")?.write_scalar(&self.pixel_size_angstrom)
        };
        create().map_err(|e| unwritable(group, name, e))
    }

    fn read(group: &Group, name: &str) -> Result<Self> {
        let dataset = open_dataset(group, name)?;
        let shape = dataset.shape();
        let [box_pixels, y, x] = shape[..] else {
            return Err(unreadable(group, name, format!("a map of {} dimensions", shape.len())));
        };
        if y != box_pixels || x != box_pixels {
            return Err(unreadable(group, name, format!("a map of {box_pixels} x {y} x {x} voxels is not a cube")));
        }
        let data = read_elements(group, name, &dataset)?;
        check(group, name, &data)?;
        let scale = dataset.attr("pixel_size_angstrom").and_then(|a| a.read_scalar());
        Ok(Self { box_pixels, pixel_size_angstrom: scale.map_err(|e| unreadable(group, name, e))?, data })
    }
}

/// A list is a group of members `000`, `001` ... and their number.
pub(super) fn write_list<T: Stored>(list: &[T], parent: &Group, name: &str) -> Result<()> {
    let group = create_group(parent, name)?;
    list.len().write(&group, COUNT)?;
    list.iter().enumerate().try_for_each(|(i, member)| member.write(&group, &format!("{i:03}")))
}

pub(super) fn read_list<T: Stored>(parent: &Group, name: &str) -> Result<Vec<T>> {
    let group = open_group(parent, name)?;
    let count = usize::read(&group, COUNT)?;
    (0..count).map(|i| T::read(&group, &format!("{i:03}"))).collect()
}

/// Columns of one table must have one length.
pub(super) fn same_length(group: &Group, lengths: &[(&str, usize)]) -> Result<usize> {
    let Some(&(first, rows)) = lengths.first() else { return Ok(0) };
    match lengths.iter().find(|(_, length)| *length != rows) {
        Some((name, length)) => Err(unreadable(group, name, format!("{length} rows, but column {first} has {rows}"))),
        None => Ok(rows),
    }
}

/// Integer sums: a contiguous dataset of shape [voxels][re, im, weight].
pub(super) fn write_sums(group: &Group, name: &str, sums: &[Voxel]) -> Result<()> {
    let builder = group.new_dataset::<i64>().no_chunk().shape([sums.len(), 3]);
    let create = || builder.create(name)?.write_raw(sums.as_flattened());
    create().map_err(|e| unwritable(group, name, e))
}

/// Voxels read at a time.
const PIECE: usize = 1 << 18;

/// Adds them to as many voxels.
pub(super) fn add_sums(group: &Group, name: &str, sums: &mut [Voxel]) -> Result<()> {
    let dataset = open_dataset(group, name)?;
    let (found, wanted) = (dataset.shape(), [sums.len(), 3]);
    if found != wanted {
        return Err(unreadable(group, name, format!("sums of shape {found:?}, expected {wanted:?}")));
    }
    for (number, sums) in sums.chunks_mut(PIECE).enumerate() {
        let from = number * PIECE;
        let rows = (from..from + sums.len(), ..);
        let piece = dataset.read_slice_2d::<i64, _>(rows).map_err(|e| unreadable(group, name, e))?;
        for (sum, part) in sums.as_flattened_mut().iter_mut().zip(&piece) {
            *sum = sum.checked_add(*part).ok_or_else(|| unreadable(group, name, "sums beyond 64 bits".to_owned()))?;
        }
    }
    Ok(())
}
