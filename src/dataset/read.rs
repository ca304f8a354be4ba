//! From a particle STAR file to a data set.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use crate::dataset::convert;
use crate::dataset::groups;
use crate::dataset::images;
use crate::dataset::images::ImageShape;
use crate::dataset::optics;
use crate::dataset::particle::Assignment;
use crate::dataset::particle::CtfParameters;
use crate::dataset::particle::Dataset;
use crate::dataset::particle::OpticsGroup;
use crate::dataset::particle::Particle;
use crate::dataset::reals::Reals;
use crate::dataset::reals::whole_numbers;
use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc;
use crate::formats::star::Block;
use crate::formats::star::StarFile;
use crate::rotation::Euler;

/// What reading does with the images that the file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// Every stack must exist, hold its images, and have the box of its optics group.
    Check,
    /// No stack is opened. `box_pixels` serves files that do not state the box (RELION 3.0 and older).
    Ignore { box_pixels: Option<usize> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// The images will be corrected for the CTF: defocus values are needed.
    pub ctf: bool,
    pub images: Images,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { ctf: true, images: Images::Check }
    }
}

impl Dataset {
    /// Reads the particles of any RELION version.
    ///
    /// # Errors
    /// `NoInput` when the file or a stack does not exist; `BadData` with file, line, column and value for everything
    /// that a refinement could not use: non-finite numbers, impossible optics, odd or unequal boxes, an image that
    /// appears twice, a tomography file.
    pub fn read(path: &Path, options: &ReadOptions) -> Result<Self> {
        Self::read_with(path, options, &|file| {
            let (columns, rows, sections, _) = mrc::image_size(file)?;
            Ok(ImageShape { columns, rows, sections })
        })
    }

    /// As [`Self::read`], with another way to learn the shape of an image file.
    pub fn read_with(
        path: &Path,
        options: &ReadOptions,
        shape_of: &dyn Fn(&Path) -> Result<ImageShape>,
    ) -> Result<Self> {
        let mut tables = convert::to_optics_groups(&StarFile::read(path)?)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let particle_table = tables.require("particles")?;
        let group_of_row: Vec<usize> =
            particle_table.require("rlnOpticsGroup")?.i64s()?.iter().map(|&number| number as usize - 1).collect();

        let names = images::names(particle_table)?;
        let stack_files = names.locate(particle_table, folder, options.images != Images::Check)?;
        let shapes = match options.images {
            Images::Check => stack_files.iter().map(|file| shape_of(file)).collect::<Result<Vec<_>>>()?,
            Images::Ignore { .. } => Vec::new(),
        };
        let box_of_images = |group: usize| match options.images {
            Images::Check => {
                let row = group_of_row.iter().position(|&of_row| of_row == group)?;
                Some(shapes[names.images[row].stack as usize].columns)
            }
            Images::Ignore { box_pixels } => box_pixels,
        };
        let optics = optics::read(tables.require("optics")?, folder, &box_of_images)?;
        if options.images == Images::Check {
            names.check_indices(particle_table, &shapes)?;
            names.check_boxes(particle_table, &shapes, |row| optics[group_of_row[row]].box_pixels)?;
        }

        let (groups, group_ids) = groups::read(particle_table);
        let halves = whole_numbers(particle_table, "rlnRandomSubset", 0, 1, 2)?;
        let priors = Priors::new(particle_table);
        let ctf = ctf_parameters(particle_table, &optics, &group_of_row, options.ctf)?;
        let starts = assignments(particle_table)?;

        let mut order: Vec<u32> = (0..names.images.len() as u32).collect();
        order.sort_by_key(|&row| names.images[row as usize]);
        refuse_duplicates(particle_table, &order, |row| names.images[row as usize])?;
        if options.images == Images::Check {
            refuse_second_names(particle_table, &names, &stack_files, &order)?;
        }
        let mut particles = Vec::with_capacity(order.len());
        for &row in &order {
            let at = row as usize;
            particles.push(Particle {
                image: names.images[at],
                reconstruct_image: names.reconstruct.as_ref().map(|images| images[at]),
                optics: group_of_row[at] as u32,
                group: group_ids[at],
                half: halves[at] as u8,
                ctf: ctf[at],
                angle_priors_degrees: [priors.at(0, at)?, priors.at(1, at)?, priors.at(2, at)?],
                offset_priors_angstrom: [priors.at(3, at)?, priors.at(4, at)?],
                row,
            });
        }
        let assignments = order.iter().map(|&row| starts[row as usize]).collect();
        state_boxes(&mut tables, &optics)?;
        Ok(Self { optics, particles, assignments, stacks: names.stacks, stack_files, groups, tables })
    }
}

/// One stack under two names (`a.mrcs` and `./a.mrcs`, a link) must not bring an image in twice either.
fn refuse_second_names(
    particles: &Block,
    names: &images::ImageNames,
    stack_files: &[PathBuf],
    order: &[u32],
) -> Result<()> {
    let mut first_of: HashMap<PathBuf, u32> = HashMap::new();
    let same: Vec<u32> = stack_files
        .iter()
        .zip(0_u32..)
        .map(|(file, stack)| {
            let real = std::fs::canonicalize(file).map_err(|cause| Error::reading(file, &cause))?;
            Ok(*first_of.entry(real).or_insert(stack))
        })
        .collect::<Result<_>>()?;
    if first_of.len() == stack_files.len() {
        return Ok(());
    }
    let image_of = |row: u32| {
        let image = names.images[row as usize];
        (same[image.stack as usize], image.index)
    };
    let mut order = order.to_vec();
    order.sort_by_key(|&row| image_of(row));
    refuse_duplicates(particles, &order, image_of)
}

/// `order` holds rows sorted by image.
fn refuse_duplicates<T: PartialEq>(particles: &Block, order: &[u32], image_of: impl Fn(u32) -> T) -> Result<()> {
    let Some(pair) = order.windows(2).find(|pair| image_of(pair[0]) == image_of(pair[1])) else { return Ok(()) };
    let column = particles.require("rlnImageName")?;
    let [first, second] = [pair[0] as usize, pair[1] as usize];
    let earlier = column.line(first).map_or_else(|| format!("row {}", first + 1), |line| format!("line {line}"));
    Err(column.error(
        second,
        format!("image `{}` is already in {earlier}", column.str(second)),
        "Remove one of the two rows: the same image in both half sets would inflate the resolution.",
    ))
}

/// A hundred micrometres: beyond it a column holds something else.
const LARGEST_DEFOCUS_ANGSTROM: f64 = 1e6;
/// Beyond it the envelope leaves the range of the numbers it is calculated with.
const LARGEST_B_FACTOR_ANGSTROM2: f64 = 5000.0;

/// The CTF of each row; zeros when none will be applied.
fn ctf_parameters(
    particles: &Block,
    optics: &[OpticsGroup],
    group_of_row: &[usize],
    needed: bool,
) -> Result<Vec<CtfParameters>> {
    let needed = needed && group_of_row.iter().any(|&group| !optics[group].ctf_corrected);
    let defocus_u = if needed {
        Reals::required(particles, "rlnDefocusU")?
    } else {
        Reals::optional(particles, "rlnDefocusU", 0.0)
    };
    let defocus_v = Reals::optional(particles, "rlnDefocusV", 0.0);
    let angle = Reals::optional(particles, "rlnDefocusAngle", 0.0);
    let phase_shift = Reals::optional(particles, "rlnPhaseShift", 0.0);
    let b_factor = Reals::optional(particles, "rlnCtfBfactor", 0.0);
    let scale = Reals::optional(particles, "rlnCtfScalefactor", 1.0);
    let mut all = Vec::with_capacity(group_of_row.len());
    for (row, &group) in group_of_row.iter().enumerate() {
        let defocus = |column: &Reals<'_>| {
            column.checked(row, "a defocus in Angstrom", |angstrom| angstrom.abs() <= LARGEST_DEFOCUS_ANGSTROM)
        };
        let defocus_u_angstrom = defocus(&defocus_u)?;
        let parameters = CtfParameters {
            defocus_u_angstrom,
            defocus_v_angstrom: if defocus_v.is_present() { defocus(&defocus_v)? } else { defocus_u_angstrom },
            defocus_angle_degrees: angle.at(row)?,
            phase_shift_degrees: phase_shift.at(row)?,
            b_factor_angstrom2: b_factor
                .checked(row, "a B-factor of a CTF in square Angstrom", |b| b.abs() <= LARGEST_B_FACTOR_ANGSTROM2)?,
            scale: scale.checked(row, "a scale of a CTF: the image would count nothing", |scale| scale != 0.0)?,
        };
        let group = &optics[group];
        let terms = [defocus_u_angstrom, parameters.defocus_v_angstrom, parameters.phase_shift_degrees];
        if needed && !group.ctf_corrected && terms.iter().all(|&term| term == 0.0) {
            return Err(particles.require("rlnDefocusU")?.error(
                row,
                "defocus and phase shift are zero: the CTF was not estimated",
                "Estimate the CTF first, or refine without CTF correction (--ctf false).",
            ));
        }
        all.push(parameters);
    }
    Ok(all)
}

/// Starting values of each row; those of a previous run where the file has them.
fn assignments(particles: &Block) -> Result<Vec<Assignment>> {
    let [rot, tilt, psi] =
        ["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"].map(|label| Reals::optional(particles, label, 0.0));
    let [x, y] = ["rlnOriginXAngst", "rlnOriginYAngst"].map(|label| Reals::optional(particles, label, 0.0));
    let norm = Reals::optional(particles, "rlnNormCorrection", 1.0);
    let class = whole_numbers(particles, "rlnClassNumber", 0, 0, i64::from(u32::MAX))?;
    let significant = whole_numbers(particles, "rlnNrOfSignificantSamples", 0, 0, i64::from(u32::MAX))?;
    // Results of a previous run that nothing is calculated from: only their form is checked.
    let [log_likelihood, probability] =
        ["rlnLogLikeliContribution", "rlnMaxValueProbDistribution"].map(|label| particles.column(label));
    (0..particles.rows())
        .map(|row| {
            Ok(Assignment {
                euler: Euler { rot: rot.at(row)?, tilt: tilt.at(row)?, psi: psi.at(row)? },
                offset_angstrom: [x.at(row)?, y.at(row)?],
                class: class[row] as u32,
                norm_correction: norm.checked(row, "a positive norm correction", |norm| norm > 0.0)?,
                log_likelihood: log_likelihood.map_or(Ok(0.0), |column| column.f64(row))?,
                max_probability: probability.map_or(Ok(0.0), |column| column.f64(row))?,
                significant_samples: significant[row] as u32,
            })
        })
        .collect()
}

struct Priors<'a>([Reals<'a>; 5]);

impl<'a> Priors<'a> {
    fn new(particles: &'a Block) -> Self {
        let labels = [
            "rlnAngleRotPrior",
            "rlnAngleTiltPrior",
            "rlnAnglePsiPrior",
            "rlnOriginXPriorAngst",
            "rlnOriginYPriorAngst",
        ];
        Self(labels.map(|label| Reals::optional(particles, label, ABSENT)))
    }

    fn at(&self, which: usize, row: usize) -> Result<Option<f64>> {
        let value = self.0[which].at(row)?;
        Ok((value != ABSENT).then_some(value))
    }
}

/// RELION writes this number for a prior that a particle does not have.
const ABSENT: f64 = 999.0;

/// Completes the optics table with what the images told.
fn state_boxes(tables: &mut StarFile, optics: &[OpticsGroup]) -> Result<()> {
    let Some(table) = tables.block_mut("optics") else {
        return Err(Error::internal("the converted file has no optics table"));
    };
    let numbers = table.require("rlnOpticsGroup")?.i64s()?;
    if !table.has("rlnImageSize") {
        let boxes: Vec<i64> = numbers.iter().map(|&number| optics[number as usize - 1].box_pixels as i64).collect();
        table.set_i64("rlnImageSize", &boxes);
    }
    if !table.has("rlnImageDimensionality") {
        table.set_i64("rlnImageDimensionality", &vec![2; numbers.len()]);
    }
    Ok(())
}
