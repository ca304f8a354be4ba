//! The optics table: what the microscope was set to, checked.

use std::path::Path;
use std::path::PathBuf;

use crate::dataset::particle::OpticsGroup;
use crate::dataset::reals::Reals;
use crate::dataset::reals::whole_numbers;
use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;

/// A magnification matrix with a smaller determinant would shrink images to nothing.
const LEAST_DETERMINANT: f64 = 1e-3;

/// Pixel size of the images of each row: the first of these labels that the table has.
pub(super) fn pixel_sizes(optics: &Block) -> Result<Vec<f64>> {
    let labels = ["rlnImagePixelSize", "rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize"];
    let label = labels.into_iter().find(|label| optics.has(label)).unwrap_or(labels[0]);
    let sizes = Reals::required(optics, label)?;
    (0..optics.rows()).map(|row| sizes.checked(row, "a positive pixel size in Angstrom", |size| size > 0.0)).collect()
}

/// The groups by number, so that group `g` of the particle table is element `g - 1`.
///
/// `box_of_images` gives the edge of the images of a group (0-based) when the table does not state it.
pub(super) fn read(
    optics: &Block,
    folder: &Path,
    box_of_images: &dyn Fn(usize) -> Option<usize>,
) -> Result<Vec<OpticsGroup>> {
    let pixel_size = pixel_sizes(optics)?;
    let voltage = Reals::required(optics, "rlnVoltage")?;
    let aberration = Reals::required(optics, "rlnSphericalAberration")?;
    let contrast = Reals::required(optics, "rlnAmplitudeContrast")?;
    let tilt = ["rlnBeamTiltX", "rlnBeamTiltY"].map(|label| Reals::optional(optics, label, 0.0));
    let magnification = [["rlnMagMat00", "rlnMagMat01"], ["rlnMagMat10", "rlnMagMat11"]];
    let magnification = [0, 1].map(|i| [0, 1].map(|j| Reals::optional(optics, magnification[i][j], f64::from(i == j))));
    let original = Reals::optional(optics, "rlnMicrographOriginalPixelSize", 0.0);
    let premultiplied = whole_numbers(optics, "rlnCtfDataAreCtfPremultiplied", 0, 0, 1)?;
    let corrected = whole_numbers(optics, "rlnCtfDataAreCtfCorrected", 0, 0, 1)?;
    let numbers = optics.require("rlnOpticsGroup")?;

    let mut groups = Vec::with_capacity(optics.rows());
    for row in 0..optics.rows() {
        let number = numbers.i64(row)?;
        let matrix = [
            [magnification[0][0].at(row)?, magnification[0][1].at(row)?],
            [magnification[1][0].at(row)?, magnification[1][1].at(row)?],
        ];
        let determinant = matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0];
        if determinant.abs() < LEAST_DETERMINANT {
            return Err(numbers.error(
                row,
                format!("the magnification matrix {matrix:?} of the group is singular"),
                "Correct rlnMagMat00 to rlnMagMat11.",
            ));
        }
        let group = OpticsGroup {
            name: optics
                .column("rlnOpticsGroupName")
                .map_or_else(|| format!("opticsGroup{number}"), |names| names.str(row).to_owned()),
            voltage_kilovolt: voltage
                .checked(row, "a voltage from 1 to 10000 kV", |kilovolt| (1.0..=10_000.0).contains(&kilovolt))?,
            spherical_aberration_mm: aberration.at(row)?,
            amplitude_contrast: contrast
                .checked(row, "an amplitude contrast between 0 and 1", |share| (0.0..=1.0).contains(&share))?,
            pixel_size_angstrom: pixel_size[row],
            box_pixels: box_pixels(optics, row, number, box_of_images)?,
            beam_tilt_mrad: [tilt[0].at(row)?, tilt[1].at(row)?],
            odd_zernike: vector(optics, "rlnOddZernike", row)?,
            even_zernike: vector(optics, "rlnEvenZernike", row)?,
            magnification: matrix,
            mtf_file: mtf_file(optics, row, folder),
            original_pixel_size_angstrom: if original.is_present() {
                Some(original.checked(row, "a positive pixel size in Angstrom", |size| size > 0.0)?)
            } else {
                None
            },
            ctf_premultiplied: premultiplied[row] == 1,
            ctf_corrected: corrected[row] == 1,
        };
        groups.push((number, group));
    }
    groups.sort_by_key(|&(number, _)| number);
    Ok(groups.into_iter().map(|(_, group)| group).collect())
}

fn box_pixels(
    optics: &Block,
    row: usize,
    number: i64,
    box_of_images: &dyn Fn(usize) -> Option<usize>,
) -> Result<usize> {
    const FIX: &str = "Extract the particles again with an even box.";
    if let Some(column) = optics.column("rlnImageSize") {
        let size = column.i64(row)?;
        return match usize::try_from(size) {
            Ok(size) if size > 0 && size.is_multiple_of(2) => Ok(size),
            _ => Err(column.error(row, format!("box {size} is not an even number of pixels"), FIX)),
        };
    }
    match box_of_images((number - 1) as usize) {
        Some(size) if size > 0 && size.is_multiple_of(2) => Ok(size),
        Some(size) => Err(Error::bad_data(
            optics.place(),
            format!("box {size} of the images of optics group {number} is not an even number of pixels"),
            FIX,
        )),
        None => Err(Error::bad_data(
            optics.place(),
            format!("column rlnImageSize is missing, and optics group {number} has no images to measure"),
            "Add the column.",
        )),
    }
}

/// `[1.5,2,-3]`; empty when the column is absent.
fn vector(optics: &Block, label: &str, row: usize) -> Result<Vec<f64>> {
    let Some(column) = optics.column(label) else { return Ok(Vec::new()) };
    let text = column.str(row).trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let numbers = inner
        .split([',', ' '])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse::<f64>().ok().filter(|value| value.is_finite()));
    numbers
        .collect::<Option<Vec<f64>>>()
        .ok_or_else(|| column.error(row, format!("`{text}` is not a list of numbers"), "Write [a,b,c] without spaces."))
}

fn mtf_file(optics: &Block, row: usize, folder: &Path) -> Option<PathBuf> {
    let name = optics.column("rlnMtfFileName")?.str(row);
    if name.is_empty() || name == "None" {
        return None;
    }
    let beside = folder.join(name);
    Some(if beside.exists() { beside } else { PathBuf::from(name) })
}
