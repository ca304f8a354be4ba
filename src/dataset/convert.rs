//! Brings every dialect of particle file to one shape: `data_optics` and `data_particles`, lengths in Angstrom.

use std::collections::HashMap;

use crate::dataset::reals::Reals;
use crate::error::Error;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::formats::star::TABLE_VERSION;

/// What distinguished the optics of particles before there were optics groups (RELION 3.0 and older).
const OPTICS_LABELS: [&str; 7] = [
    "rlnAmplitudeContrast",
    "rlnBeamTiltX",
    "rlnBeamTiltY",
    "rlnSphericalAberration",
    "rlnVoltage",
    "rlnDetectorPixelSize",
    "rlnMagnification",
];

/// Lengths that older files give in pixels, and their names in Angstrom.
const LENGTHS: [(&str, &str); 5] = [
    ("rlnOriginX", "rlnOriginXAngst"),
    ("rlnOriginY", "rlnOriginYAngst"),
    ("rlnOriginZ", "rlnOriginZAngst"),
    ("rlnOriginXPrior", "rlnOriginXPriorAngst"),
    ("rlnOriginYPrior", "rlnOriginYPriorAngst"),
];

/// The file with exactly the blocks `optics` and `particles`; group numbers are 1..n in both.
///
/// # Errors
/// No particles, a tomography file, missing or impossible optics.
pub(super) fn to_optics_groups(file: &StarFile) -> Result<StarFile> {
    let (optics, mut particles) = match file.block("optics") {
        Some(optics) => (optics.clone(), file.require("particles")?.clone()),
        None => {
            let is_particles = |block: &&Block| block.has("rlnImageName");
            let found = file.blocks.iter().find(is_particles).or_else(|| file.block("particles"));
            let Some(found) = found else {
                return Err(Error::bad_data(
                    file.name(),
                    "there is no table with a column rlnImageName",
                    "Name a particle STAR file.",
                ));
            };
            (Block::table("optics"), found.clone())
        }
    };
    refuse_tomography(file, &optics, &particles)?;
    particles.require("rlnImageName")?;
    if particles.rows() == 0 {
        return Err(Error::bad_data(
            particles.place(),
            "the table has no particles",
            "Check the selection that made it.",
        ));
    }
    particles.name = "particles".to_owned();
    let mut optics = if optics.labels().next().is_some() { optics } else { gather_optics(&mut particles)? };
    if optics.rows() == 0 {
        return Err(Error::bad_data(optics.place(), "the table has no optics groups", "Add one row for each group."));
    }
    number_groups(&mut optics, &mut particles)?;
    pixels_to_angstrom(&optics, &mut particles)?;
    for block in [&mut optics, &mut particles] {
        block.version = Some(TABLE_VERSION);
        block.comments.clear();
    }
    Ok(StarFile::new(vec![optics, particles]))
}

fn refuse_tomography(file: &StarFile, optics: &Block, particles: &Block) -> Result<()> {
    let tomography = |place: String, what: &str| {
        Err(Error::bad_data(
            place,
            format!("this is a tomography file ({what})"),
            "relion-rs refines single-particle images; use RELION for subtomograms and tilt series.",
        ))
    };
    if file.block("general").is_some_and(|general| general.has("rlnTomoSubTomosAre2DStacks")) {
        return tomography(file.name().to_owned(), "it has rlnTomoSubTomosAre2DStacks");
    }
    for block in [optics, particles] {
        if let Some(label) = block.labels().find(|label| label.starts_with("rlnTomo") || *label == "rlnCtfImage") {
            return tomography(block.place(), &format!("it has a column {label}"));
        }
    }
    if let Some(column) = optics.column("rlnImageDimensionality") {
        for row in 0..column.len() {
            if column.i64(row)? != 2 {
                return tomography(column.place(row), &format!("the images have {} dimensions", column.str(row)));
            }
        }
    }
    Ok(())
}

/// Makes optics groups of the distinct optics of the particles, in order of their first particle; those columns
/// leave the particle table.
fn gather_optics(particles: &mut Block) -> Result<Block> {
    for label in ["rlnDetectorPixelSize", "rlnMagnification", "rlnVoltage", "rlnSphericalAberration"] {
        if !particles.has(label) {
            return Err(Error::bad_data(
                particles.place(),
                format!("there is no data_optics block, and column {label} is missing"),
                "Add a data_optics block (RELION 3.1 and newer), or the column (RELION 3.0 and older).",
            ));
        }
    }
    let columns: Vec<Reals> = OPTICS_LABELS.iter().map(|label| Reals::optional(particles, label, 0.0)).collect();
    let mut numbers: HashMap<[u64; OPTICS_LABELS.len()], i64> = HashMap::new();
    let mut first_rows = Vec::new();
    let mut group_of = Vec::with_capacity(particles.rows());
    for row in 0..particles.rows() {
        let mut key = [0; OPTICS_LABELS.len()];
        for (value, column) in key.iter_mut().zip(&columns) {
            // 0.0 is added so that -0 and 0 are the same optics.
            *value = (column.at(row)? + 0.0).to_bits();
        }
        let next = first_rows.len() as i64 + 1;
        let number = *numbers.entry(key).or_insert(next);
        if number == next {
            first_rows.push(row as u32);
        }
        group_of.push(number);
    }
    let mut optics = particles.select(&first_rows);
    optics.name = "optics".to_owned();
    let surplus: Vec<String> =
        optics.labels().filter(|label| !OPTICS_LABELS.contains(label)).map(str::to_owned).collect();
    surplus.iter().for_each(|label| optics.remove(label));
    let pixel_sizes = pixel_sizes(&optics)?;
    optics.remove("rlnDetectorPixelSize");
    optics.remove("rlnMagnification");
    optics.set_i64("rlnOpticsGroup", &(1..=first_rows.len() as i64).collect::<Vec<_>>());
    optics.set_str(
        "rlnOpticsGroupName",
        &(1..=first_rows.len()).map(|number| format!("opticsGroup{number}")).collect::<Vec<_>>(),
    );
    optics.set_str("rlnImagePixelSize", &pixel_sizes);
    OPTICS_LABELS.iter().for_each(|label| particles.remove(label));
    particles.set_i64("rlnOpticsGroup", &group_of);
    Ok(optics)
}

/// 10000 times detector pixel (micrometre) over magnification, in Angstrom, with all its digits.
fn pixel_sizes(optics: &Block) -> Result<Vec<String>> {
    let detector = Reals::required(optics, "rlnDetectorPixelSize")?;
    let magnification = Reals::required(optics, "rlnMagnification")?;
    (0..optics.rows())
        .map(|row| {
            let detector = detector.checked(row, "a positive pixel size in micrometre", |size| size > 0.0)?;
            let magnification = magnification.checked(row, "a positive magnification", |factor| factor > 0.0)?;
            Ok((10_000.0 * detector / magnification).to_string())
        })
        .collect()
}

/// Checks the group numbers and makes them contiguous.
fn number_groups(optics: &mut Block, particles: &mut Block) -> Result<()> {
    if !particles.has("rlnOpticsGroup") {
        let first = optics.require("rlnOpticsGroup")?.i64(0)?;
        if optics.rows() > 1 {
            return Err(Error::bad_data(
                particles.place(),
                format!("column rlnOpticsGroup is missing, and there are {} optics groups", optics.rows()),
                "Add the column.",
            ));
        }
        particles.set_i64("rlnOpticsGroup", &vec![first; particles.rows()]);
    }
    let column = optics.require("rlnOpticsGroup")?;
    let mut sorted: Vec<(i64, usize)> = column.i64s()?.into_iter().zip(0..).collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(column.error(
            pair[1].1,
            format!("optics group {} appears twice", pair[1].0),
            "Number the groups 1 to n.",
        ));
    }
    let new_numbers: HashMap<i64, i64> = sorted.iter().zip(1..).map(|(&(old, _), new)| (old, new)).collect();
    let used = particles.require("rlnOpticsGroup")?;
    let mut renumbered = Vec::with_capacity(used.len());
    for row in 0..used.len() {
        let old = used.i64(row)?;
        let Some(&new) = new_numbers.get(&old) else {
            return Err(used.error(
                row,
                format!("optics group {old} is not in data_optics"),
                "Add the group or correct the number.",
            ));
        };
        renumbered.push(new);
    }
    if new_numbers.iter().any(|(old, new)| old != new) {
        let in_optics: Vec<i64> =
            optics.require("rlnOpticsGroup")?.i64s()?.iter().map(|old| new_numbers[old]).collect();
        optics.set_i64("rlnOpticsGroup", &in_optics);
        particles.set_i64("rlnOpticsGroup", &renumbered);
    }
    Ok(())
}

fn pixels_to_angstrom(optics: &Block, particles: &mut Block) -> Result<()> {
    let pending: Vec<_> = LENGTHS.into_iter().filter(|(pixels, _)| particles.has(pixels)).collect();
    if pending.is_empty() {
        return Ok(());
    }
    let numbers = optics.require("rlnOpticsGroup")?.i64s()?;
    let sizes = crate::dataset::optics::pixel_sizes(optics)?;
    let size_of: HashMap<i64, f64> = numbers.into_iter().zip(sizes).collect();
    let group_of = particles.require("rlnOpticsGroup")?.i64s()?;
    for (pixels, angstrom) in pending {
        if particles.has(angstrom) {
            // The newer name wins, as in RELION; two columns of one meaning would drift apart.
            particles.remove(pixels);
            continue;
        }
        let column = Reals::required(particles, pixels)?;
        let lengths = (0..group_of.len()).map(|row| Ok((column.at(row)? * size_of[&group_of[row]]).to_string()));
        let lengths = lengths.collect::<Result<Vec<String>>>()?;
        particles.set_str(pixels, &lengths);
        particles.rename(pixels, angstrom);
    }
    Ok(())
}
