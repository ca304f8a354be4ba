//! What is inside a checkpoint file: who wrote it, what state it holds, and every field with its type and size.

use std::path::Path;
use std::path::PathBuf;

use hdf5::Container;
use hdf5::Group;
use hdf5::LocationType;
use hdf5::types::FloatSize;
use hdf5::types::IntSize;
use hdf5::types::TypeDescriptor;
use hdf5::types::VarLenUnicode;
use serde::Serialize;

use crate::error::Error;
use crate::error::Result;

use super::file::Checkpoint;
use super::file::digest_path;
use super::file::load;
use super::file::open;
use super::origin::Identity;
use super::origin::InputFile;

/// Where a file says which version it is.
const FORMAT_PATH: &str = "/format";

/// A file's contents, read after its digest was checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    pub file: PathBuf,
    pub bytes: u64,
    /// BLAKE3 of the file, hexadecimal.
    pub digest: String,
    /// The name of its version.
    pub format: String,
    pub identity: Identity,
    pub plan_digest: String,
    pub iteration: u32,
    pub has_converged: bool,
    pub resolution_angstrom: f64,
    pub particles: usize,
    pub classes: usize,
    /// 1, or 2 half sets.
    pub halves: usize,
    pub box_pixels: usize,
    pub pixel_size_angstrom: f64,
    pub inputs: Vec<InputFile>,
    pub fields: Vec<Field>,
}

/// What a field is in HDF5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Group,
    Dataset,
    /// One value.
    Attribute,
}

/// A field of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// From the root of the file: `/state/sizes/current_size`.
    pub path: String,
    pub kind: Kind,
    /// `f64`, `u8`, `text` ...; empty for a group.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Edges of a dataset; none for one value and for a group.
    pub shape: Vec<usize>,
    /// As stored; 0 for a group.
    pub bytes: u64,
    /// Of an attribute.
    pub value: Option<serde_json::Value>,
}

impl Contents {
    /// Reads a file whose digest, format and fields are right.
    ///
    /// # Errors
    /// As [`load`].
    pub(super) fn read(path: &Path) -> Result<Self> {
        let Checkpoint { state, origin } = load(path)?;
        let digest = std::fs::read_to_string(digest_path(path)).map_err(|e| Error::reading(path, &e))?;
        let failed = |e: hdf5::Error| Error::bad_data(path.display().to_string(), e.to_string(), "");
        let root = open(path)?.as_group().map_err(failed)?;
        let mut fields = Vec::new();
        walk(&root, &mut fields).map_err(failed)?;
        let format =
            fields.iter().find(|field| field.path == FORMAT_PATH).and_then(|field| field.value.as_ref()?.as_str());
        let map = state.halves.first().and_then(|half| half.classes.first()).map(|class| &class.map);
        Ok(Self {
            file: path.to_path_buf(),
            bytes: std::fs::metadata(path).map_err(|e| Error::reading(path, &e))?.len(),
            digest: digest.trim_end().to_owned(),
            format: format.unwrap_or_default().to_owned(),
            identity: origin.identity,
            plan_digest: origin.plan_digest,
            iteration: state.iteration,
            has_converged: state.convergence.has_converged,
            resolution_angstrom: 1.0 / state.sizes.current_resolution_per_angstrom,
            particles: state.assignments.len(),
            classes: state.halves.first().map_or(0, |half| half.classes.len()),
            halves: state.halves.len(),
            box_pixels: map.map_or(0, |map| map.box_pixels),
            pixel_size_angstrom: map.map_or(0.0, |map| map.pixel_size_angstrom),
            inputs: origin.inputs,
            fields,
        })
    }
}

/// Everything in a group, by name: its attributes, then its members.
fn walk(group: &Group, fields: &mut Vec<Field>) -> hdf5::Result<()> {
    attributes(group, fields)?;
    let mut names = group.member_names()?;
    names.sort();
    for name in names {
        if group.loc_type_by_name(&name)? == LocationType::Group {
            let inner = group.group(&name)?;
            fields.push(Field {
                path: inner.name(),
                kind: Kind::Group,
                type_name: String::new(),
                shape: Vec::new(),
                bytes: 0,
                value: None,
            });
            walk(&inner, fields)?;
        } else {
            let dataset = group.dataset(&name)?;
            fields.push(field(dataset.name(), Kind::Dataset, &dataset)?);
            attributes(&dataset, fields)?;
        }
    }
    Ok(())
}

/// The attributes of a group or dataset.
fn attributes(place: &hdf5::Location, fields: &mut Vec<Field>) -> hdf5::Result<()> {
    let mut names = place.attr_names()?;
    names.sort();
    for name in names {
        let attribute = place.attr(&name)?;
        let path = format!("{}/{name}", place.name().trim_end_matches('/'));
        let mut field = field(path, Kind::Attribute, &attribute)?;
        field.value = value(&attribute, &field.type_name)?;
        fields.push(field);
    }
    Ok(())
}

fn field(path: String, kind: Kind, container: &Container) -> hdf5::Result<Field> {
    let descriptor = container.dtype()?.to_descriptor()?;
    let bytes = match kind {
        // What is not chunked is as large as its numbers.
        Kind::Attribute => (container.size() * descriptor.size()) as u64,
        _ => container.storage_size(),
    };
    Ok(Field { path, kind, type_name: type_name(&descriptor), shape: container.shape(), bytes, value: None })
}

fn type_name(descriptor: &TypeDescriptor) -> String {
    let bits = |size: &IntSize| 8 * *size as usize;
    match descriptor {
        TypeDescriptor::Unsigned(size) => format!("u{}", bits(size)),
        TypeDescriptor::Integer(size) => format!("i{}", bits(size)),
        TypeDescriptor::Float(FloatSize::U4) => "f32".to_owned(),
        TypeDescriptor::Float(FloatSize::U8) => "f64".to_owned(),
        TypeDescriptor::Boolean => "bool".to_owned(),
        TypeDescriptor::VarLenUnicode => "text".to_owned(),
        other => other.to_string(),
    }
}

fn value(attribute: &Container, type_name: &str) -> hdf5::Result<Option<serde_json::Value>> {
    Ok(Some(match type_name {
        "text" => attribute.read_scalar::<VarLenUnicode>()?.as_str().into(),
        "bool" => attribute.read_scalar::<bool>()?.into(),
        "f64" => attribute.read_scalar::<f64>()?.into(),
        "u32" | "u64" => attribute.read_scalar::<u64>()?.into(),
        _ => return Ok(None),
    }))
}
