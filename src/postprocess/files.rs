//! Post-processing from files to files.

use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::formats::atomic::write_text;
use crate::formats::mrc::Map;
use crate::formats::mrc::read_map;
use crate::formats::mrc::write_map;
use crate::imaging::mtf::Mtf;

use super::Names;
use super::Options;
use super::Postprocessed;
use super::maps;
use super::postprocess;
use super::tables;

/// Relative difference of pixel sizes that is no rounding of headers.
const PIXEL_SIZE_SLACK: f64 = 1e-3;

/// What is written, after the root.
const OUTPUTS: [&str; 5] = [".mrc", "_masked.mrc", ".star", "_fsc.xml", "_fsc.dat"];

/// What to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    pub half1: PathBuf,
    /// Found by its name (`half1` -> `half2`) when `None`.
    pub half2: Option<PathBuf>,
    pub mask: Option<PathBuf>,
    /// Overrides the headers.
    pub pixel_size_angstrom: Option<f64>,
    /// A STAR table of the detector's MTF, and the pixel size of the movies (`None`: that of the maps). It replaces
    /// the MTF of the options.
    pub mtf: Option<(PathBuf, Option<f64>)>,
    /// Look the MTF up as RELION does, which takes the wrong rows of the table towards its end.
    pub mtf_parity: bool,
}

/// The other half: the last `half1` of the file name becomes `half2`, or the other way round.
///
/// # Errors
/// `Usage` when the file name has neither.
pub fn other_half(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for (this, other) in [("half1", "half2"), ("half2", "half1")] {
        if let Some(at) = name.rfind(this) {
            return Ok(path.with_file_name(format!("{}{other}{}", &name[..at], &name[at + this.len()..])));
        }
    }
    Err(Error::usage(format!("`{}` has neither half1 nor half2 in its name", path.display()), "Name both half maps."))
}

/// Reads the halves and the mask, and writes `ROOT.mrc`, `ROOT_masked.mrc`, `ROOT.star`, `ROOT_fsc.xml` and
/// `ROOT_fsc.dat`, each whole or not at all.
///
/// # Errors
/// As [`postprocess`], with the files' names; those of reading and writing.
pub fn run(inputs: &Inputs, options: &Options, root: &Path) -> Result<Postprocessed> {
    let half2_path = match &inputs.half2 {
        Some(path) => path.clone(),
        None => other_half(&inputs.half1)?,
    };
    let with = |end: &str| {
        let mut name = root.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    check_outputs(&OUTPUTS.map(with), inputs, &half2_path)?;
    let mut half1 = read_cube(&inputs.half1)?;
    let mut half2 = read_cube(&half2_path)?;
    let pixel_size = pixel_size(inputs, &half1, &half2, &half2_path)?;
    half1.pixel_size_angstrom = pixel_size;
    half2.pixel_size_angstrom = pixel_size;
    let mask = match &inputs.mask {
        Some(path) => {
            let mask = read_map(path)?;
            maps::check_mask(&mask, half1.nx, &path.display().to_string())?;
            Some(mask)
        }
        None => None,
    };
    let mut options = options.clone();
    if let Some((path, movie_pixel_size)) = &inputs.mtf {
        options.sharpen.mtf = Some(Mtf::read(path, movie_pixel_size.unwrap_or(pixel_size), inputs.mtf_parity)?);
    }
    let result =
        postprocess(&half1, &half2, mask.as_ref(), &options).map_err(|error| name_maps(error, inputs, &half2_path))?;

    let (map_path, masked_path) = (with(".mrc"), with("_masked.mrc"));
    if let Some(folder) = root.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|cause| Error::writing(folder, &cause))?;
    }
    write_map(&map_path, &result.map)?;
    if let Some(masked) = &result.masked {
        write_map(&masked_path, masked)?;
    }
    let names = Names {
        half1: portable(&inputs.half1),
        half2: portable(&half2_path),
        mask: inputs.mask.as_deref().map(portable),
        map: portable(&map_path),
        masked: result.masked.as_ref().map(|_| portable(&masked_path)),
    };
    write_text(&with("_fsc.xml"), &tables::fsc_xml(&result))?;
    write_text(&with("_fsc.dat"), &tables::fsc_dat(&result))?;
    tables::star_file(&result, &names).write(&with(".star"))?;
    Ok(result)
}

/// A root that is the stem of a half map, or of the detector's table, would destroy it.
fn check_outputs(outputs: &[PathBuf], inputs: &Inputs, half2: &Path) -> Result<()> {
    let mtf = inputs.mtf.as_ref().map(|(path, _)| path.as_path());
    let read = [Some(inputs.half1.as_path()), Some(half2), inputs.mask.as_deref(), mtf];
    for output in outputs {
        let Ok(there) = output.canonicalize() else { continue };
        let is_this = |path: &&Path| path.canonicalize().is_ok_and(|path| path == there);
        if let Some(input) = read.into_iter().flatten().find(is_this) {
            return Err(Error::usage(
                format!("the output {} would overwrite the input {}", output.display(), input.display()),
                "Choose another name for the output.",
            ));
        }
    }
    Ok(())
}

fn read_cube(path: &Path) -> Result<Map> {
    let map = read_map(path)?;
    maps::check_cube(&map, &path.display().to_string())?;
    Ok(map)
}

fn pixel_size(inputs: &Inputs, half1: &Map, half2: &Map, half2_path: &Path) -> Result<f64> {
    let (a, b) = (half1.pixel_size_angstrom, half2.pixel_size_angstrom);
    match inputs.pixel_size_angstrom {
        Some(given) if given > 0.0 && given.is_finite() => Ok(given),
        Some(given) => Err(Error::usage(format!("a pixel size of {given} A"), "Give a number above 0.")),
        None if a == 0.0 => Err(Error::bad_data(
            inputs.half1.display().to_string(),
            "the header has no pixel size",
            "Give the pixel size in Angstrom.",
        )),
        None if (a - b).abs() > PIXEL_SIZE_SLACK * a => Err(Error::bad_data(
            half2_path.display().to_string(),
            format!("a pixel size of {b} A, but the other half has {a} A"),
            "Name the two halves of one refinement, or give the pixel size.",
        )),
        None => Ok(a),
    }
}

/// The computation speaks of half maps; here they have names.
fn name_maps(error: Error, inputs: &Inputs, half2_path: &Path) -> Error {
    let place = match error.place.as_str() {
        "half map 1" => inputs.half1.display().to_string(),
        "half map 2" => half2_path.display().to_string(),
        _ => return error,
    };
    Error { place, ..error }
}

/// A path as it may stand in a file that is the same on every machine: relative, or the file name alone.
fn portable(path: &Path) -> String {
    if path.is_relative() {
        return path.display().to_string();
    }
    let inside = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    match inside {
        Some(relative) => relative.display().to_string(),
        None => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_half_is_found_by_the_file_name_only() {
        let name = |path: &str| other_half(Path::new(path)).map(|p| p.display().to_string());
        assert_eq!(name("half1_runs/run_half1_class001_unfil.mrc").unwrap(), "half1_runs/run_half2_class001_unfil.mrc");
        assert_eq!(name("run_half2.mrc").unwrap(), "run_half1.mrc");
        assert!(name("half1/run.mrc").is_err());
    }
}
