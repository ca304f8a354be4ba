//! The files of a simulated data set.

use std::io;
use std::io::Write;
use std::path::Path;

use crate::dataset::OpticsGroup;
use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::model::Volume;
use crate::outputs::atomic;

use super::Truth;

/// Images rendered and written together.
const CHUNK: usize = 64;
const HEADER_BYTES: usize = 1024;

/// Writes a stack of `count` images of the map's box; `render(first, images)` fills a run of them.
pub(super) fn write_stack(
    path: &Path,
    map: &Volume,
    count: usize,
    mut render: impl FnMut(usize, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let n = map.box_pixels;
    let mut failure = None;
    let written = atomic(path, |file| {
        file.write_all(&header([n, n, count], map.pixel_size_angstrom))?;
        let mut images = vec![0.0_f32; n * n * CHUNK.min(count)];
        for first in (0..count).step_by(CHUNK) {
            let images = &mut images[..n * n * CHUNK.min(count - first)];
            if let Err(error) = render(first, images) {
                failure = Some(error);
                return Err(io::Error::other("rendering failed"));
            }
            write_values(file, images)?;
        }
        Ok(())
    });
    failure.map_or(written, Err)
}

/// Writes the map times `gain`.
pub(super) fn write_map(path: &Path, map: &Volume, gain: f64) -> Result<()> {
    let n = map.box_pixels;
    let voxels: Vec<f32> = map.data.iter().map(|v| (f64::from(*v) * gain) as f32).collect();
    atomic(path, |file| {
        file.write_all(&header([n, n, n], map.pixel_size_angstrom))?;
        write_values(file, &voxels)
    })
}

fn write_values(file: &mut impl Write, values: &[f32]) -> io::Result<()> {
    values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes()))
}

/// Header of a little-endian MRC2014 file of 32-bit floats. Statistics are marked as not computed.
fn header(size: [usize; 3], pixel_size_angstrom: f64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut word = |number: usize, value: [u8; 4]| bytes[4 * (number - 1)..4 * number].copy_from_slice(&value);
    for (axis, edge) in size.into_iter().enumerate() {
        word(1 + axis, (edge as i32).to_le_bytes());
        word(8 + axis, (edge as i32).to_le_bytes());
        word(11 + axis, ((edge as f64 * pixel_size_angstrom) as f32).to_le_bytes());
        word(14 + axis, 90.0_f32.to_le_bytes());
        word(17 + axis, (axis as i32 + 1).to_le_bytes());
    }
    word(4, 2_i32.to_le_bytes());
    for (number, value) in [(20, 0.0_f32), (21, -1.0), (22, -2.0), (55, -1.0)] {
        word(number, value.to_le_bytes());
    }
    word(28, 20_140_i32.to_le_bytes());
    word(53, *b"MAP ");
    word(54, [0x44, 0x44, 0, 0]);
    bytes
}

/// Name of the stack in the STAR files.
pub(super) fn stack_name(image_prefix: &str) -> Result<String> {
    if image_prefix.contains(char::is_whitespace) {
        return Err(Error::usage(
            format!("image prefix '{image_prefix}' contains white space"),
            "RELION splits image names there: choose another folder name.",
        ));
    }
    let prefix = image_prefix.trim_end_matches('/');
    Ok(if prefix.is_empty() { "particles.mrcs".into() } else { format!("{prefix}/particles.mrcs") })
}

/// Writes `particles.star` (without poses) and `truth.star` (with them).
pub(super) fn write_tables(folder: &Path, truth: &Truth, stack: &str) -> Result<()> {
    let optics = optics_table(truth);
    let mut particles = particle_table(truth, stack);
    StarFile::new(vec![optics.clone(), particles.clone()]).write(&folder.join("particles.star"))?;
    add_poses(truth, &mut particles);
    StarFile::new(vec![optics, particles]).write(&folder.join("truth.star"))
}

fn optics_table(truth: &Truth) -> Block {
    let all = &truth.optics;
    let mut table = Block::table("optics");
    table.set_i64("rlnOpticsGroup", &(1..=all.len() as i64).collect::<Vec<_>>());
    table.set_str("rlnOpticsGroupName", &all.iter().map(|o| &o.name).collect::<Vec<_>>());
    let mut number = |label: &str, value: &dyn Fn(usize) -> f64| {
        table.set_f64(label, &(0..all.len()).map(value).collect::<Vec<_>>());
    };
    number("rlnVoltage", &|i| all[i].voltage_kilovolt);
    number("rlnSphericalAberration", &|i| all[i].spherical_aberration_mm);
    number("rlnAmplitudeContrast", &|i| all[i].amplitude_contrast);
    number("rlnImagePixelSize", &|i| all[i].pixel_size_angstrom);
    if all.iter().any(|o| o.beam_tilt_mrad != [0.0; 2]) {
        number("rlnBeamTiltX", &|i| all[i].beam_tilt_mrad[0]);
        number("rlnBeamTiltY", &|i| all[i].beam_tilt_mrad[1]);
    }
    if all.iter().any(|o| o.magnification != [[1.0, 0.0], [0.0, 1.0]]) {
        for (label, r, c) in
            [("rlnMagMat00", 0, 0), ("rlnMagMat01", 0, 1), ("rlnMagMat10", 1, 0), ("rlnMagMat11", 1, 1)]
        {
            number(label, &|i| all[i].magnification[r][c]);
        }
    }
    for (label, of) in [
        ("rlnOddZernike", (|o| &o.odd_zernike) as fn(&OpticsGroup) -> &Vec<f64>),
        ("rlnEvenZernike", |o| &o.even_zernike),
    ] {
        let longest = all.iter().map(|o| of(o).len()).max().unwrap_or(0);
        if longest > 0 {
            let text = |o| {
                let numbers: Vec<String> =
                    (0..longest).map(|i| of(o).get(i).copied().unwrap_or(0.0).to_string()).collect();
                format!("[{}]", numbers.join(","))
            };
            table.set_str(label, &all.iter().map(text).collect::<Vec<_>>());
        }
    }
    table.set_i64("rlnImageSize", &all.iter().map(|o| o.box_pixels as i64).collect::<Vec<_>>());
    table.set_i64("rlnImageDimensionality", &vec![2; all.len()]);
    if all.iter().any(|o| o.ctf_premultiplied) {
        let flags: Vec<i64> = all.iter().map(|o| i64::from(o.ctf_premultiplied)).collect();
        table.set_i64("rlnCtfDataAreCtfPremultiplied", &flags);
    }
    if all.iter().any(|o| o.ctf_corrected) {
        let flags: Vec<i64> = all.iter().map(|o| i64::from(o.ctf_corrected)).collect();
        table.set_i64("rlnCtfDataAreCtfCorrected", &flags);
    }
    table
}

fn particle_table(truth: &Truth, stack: &str) -> Block {
    let all = &truth.particles;
    let mut table = Block::table("particles");
    let names: Vec<String> = (1..=all.len()).map(|i| format!("{i:06}@{stack}")).collect();
    table.set_str("rlnImageName", &names);
    let micrographs: Vec<&String> = all.iter().map(|p| &truth.micrographs[p.micrograph as usize]).collect();
    table.set_str("rlnMicrographName", &micrographs);
    table.set_i64("rlnOpticsGroup", &all.iter().map(|p| i64::from(p.optics) + 1).collect::<Vec<_>>());
    let mut number = |label: &str, value: &dyn Fn(&super::TrueParticle) -> f64| {
        table.set_f64(label, &all.iter().map(value).collect::<Vec<_>>());
    };
    number("rlnDefocusU", &|p| p.ctf.defocus_u_angstrom);
    number("rlnDefocusV", &|p| p.ctf.defocus_v_angstrom);
    number("rlnDefocusAngle", &|p| p.ctf.defocus_angle_degrees);
    number("rlnPhaseShift", &|p| p.ctf.phase_shift_degrees);
    number("rlnCtfBfactor", &|p| p.ctf.b_factor_angstrom2);
    number("rlnCtfScalefactor", &|p| p.ctf.scale);
    table.set_i64("rlnRandomSubset", &all.iter().map(|p| i64::from(p.half)).collect::<Vec<_>>());
    table
}

fn add_poses(truth: &Truth, table: &mut Block) {
    let mut number = |label: &str, value: &dyn Fn(&super::TrueParticle) -> f64| {
        table.set_f64(label, &truth.particles.iter().map(value).collect::<Vec<_>>());
    };
    number("rlnAngleRot", &|p| p.euler.rot);
    number("rlnAngleTilt", &|p| p.euler.tilt);
    number("rlnAnglePsi", &|p| p.euler.psi);
    number("rlnOriginXAngst", &|p| p.offset_angstrom[0]);
    number("rlnOriginYAngst", &|p| p.offset_angstrom[1]);
    table.set_i64("rlnClassNumber", &vec![1; truth.particles.len()]);
}
