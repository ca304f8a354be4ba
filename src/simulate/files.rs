//! The files of a simulated data set.

use std::path::Path;

use crate::dataset::OpticsGroup;
use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc;
use crate::formats::mrc::StackWriter;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::model::Volume;

use super::Truth;

/// Images rendered and written together.
const CHUNK: usize = 64;

/// Writes a stack of `count` images of the map's box; `render(first, images)` fills a run of them.
pub(super) fn write_stack(
    path: &Path,
    map: &Volume,
    count: usize,
    mut render: impl FnMut(usize, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let n = map.box_pixels;
    let mut stack = StackWriter::create(path, n, n, map.pixel_size_angstrom)?;
    let mut images = vec![0.0_f32; n * n * CHUNK.min(count)];
    for first in (0..count).step_by(CHUNK) {
        let images = &mut images[..n * n * CHUNK.min(count - first)];
        render(first, images)?;
        images.chunks_exact(n * n).try_for_each(|image| stack.push(image))?;
    }
    stack.finish()
}

/// Writes the map times `gain`.
pub(super) fn write_map(path: &Path, map: &Volume, gain: f64) -> Result<()> {
    let n = map.box_pixels;
    let data = map.data.iter().map(|v| (f64::from(*v) * gain) as f32).collect();
    mrc::write_map(path, &mrc::Map { nx: n, ny: n, nz: n, pixel_size_angstrom: map.pixel_size_angstrom, data })
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
