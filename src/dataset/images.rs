//! Names of images, and the stacks they are in.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use crate::dataset::particle::ImageName;
use crate::error::Error;
use crate::error::ExitCode;
use crate::error::Result;
use crate::formats::star::Block;
use crate::formats::star::Column;

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Pixels in x.
    pub columns: usize,
    /// Pixels in y.
    pub rows: usize,
    /// Sections of the file.
    pub sections: usize,
}

/// The stacks of a file, sorted by bytes, and the image names that point to them.
pub(super) struct ImageNames {
    pub stacks: Vec<String>,
    /// rlnImageName, by row.
    pub images: Vec<ImageName>,
    /// rlnReconstructImageName, by row, where the column exists.
    pub reconstruct: Option<Vec<ImageName>>,
}

/// Splits `000017@stack.mrcs` into the stack and the 0-based index; a name without `@` is the only image of its file.
fn split<'a>(column: &Column<'a>, row: usize) -> Result<(&'a str, u32)> {
    let text = column.str(row);
    let refuse = |problem: &str| {
        let fix = "Write NNNNNN@stack.mrcs, where images count from 000001.";
        Err(column.error(row, format!("image name `{text}` {problem}"), fix))
    };
    let (index, stack) = match text.split_once('@') {
        // Digits only: a `+1` would be another name for image 1.
        Some((digits, stack)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match digits.parse::<u32>() {
                Ok(0) => return refuse("has index 0"),
                Ok(number) => (number - 1, stack),
                Err(_) => return refuse("has an index that is too large"),
            }
        }
        Some(_) => return refuse("has no whole number before the @"),
        None => (0, text),
    };
    if stack.is_empty() { refuse("names no file") } else { Ok((stack, index)) }
}

pub(super) fn names<'a>(particles: &'a Block) -> Result<ImageNames> {
    let mut ids: HashMap<&str, u32> = HashMap::new();
    let mut take = |column: Column<'a>| -> Result<Vec<ImageName>> {
        (0..column.len())
            .map(|row| {
                let (stack, index) = split(&column, row)?;
                let next = ids.len() as u32;
                Ok(ImageName { stack: *ids.entry(stack).or_insert(next), index })
            })
            .collect()
    };
    let mut images = take(particles.require("rlnImageName")?)?;
    let mut reconstruct = particles.column("rlnReconstructImageName").map(&mut take).transpose()?;

    let mut sorted: Vec<(&str, u32)> = ids.into_iter().collect();
    sorted.sort_unstable();
    let mut rank = vec![0; sorted.len()];
    for (new, &(_, old)) in sorted.iter().enumerate() {
        rank[old as usize] = new as u32;
    }
    for image in images.iter_mut().chain(reconstruct.iter_mut().flatten()) {
        image.stack = rank[image.stack as usize];
    }
    Ok(ImageNames { stacks: sorted.into_iter().map(|(stack, _)| stack.to_owned()).collect(), images, reconstruct })
}

impl ImageNames {
    /// Each stack as a file: beside the STAR file, otherwise relative to the working directory.
    ///
    /// # Errors
    /// `NoInput` with the first row that needs the missing stack, unless `may_miss`.
    pub fn locate(&self, particles: &Block, folder: &Path, may_miss: bool) -> Result<Vec<PathBuf>> {
        let mut files = Vec::with_capacity(self.stacks.len());
        for (id, stack) in self.stacks.iter().enumerate() {
            let beside = folder.join(stack);
            let found = [beside.clone(), PathBuf::from(stack)].into_iter().find(|path| path.exists());
            match found {
                Some(path) => files.push(path),
                None if may_miss => files.push(beside),
                None => {
                    return Err(Error::new(
                        ExitCode::NoInput,
                        self.place(particles, id)?,
                        format!(
                            "stack `{stack}` does not exist, neither as {} nor in the working directory",
                            beside.display()
                        ),
                        "Start in the folder that the paths are relative to, or correct the paths.",
                    ));
                }
            }
        }
        Ok(files)
    }

    /// The first row that needs stack `id`.
    fn place(&self, particles: &Block, id: usize) -> Result<String> {
        let needs = |image: &ImageName| image.stack as usize == id;
        match self.images.iter().position(needs) {
            Some(row) => Ok(particles.require("rlnImageName")?.place(row)),
            None => {
                let row = self.reconstruct.iter().flatten().position(needs).unwrap_or(0);
                Ok(particles.require("rlnReconstructImageName")?.place(row))
            }
        }
    }

    /// Checks that each image is in its stack.
    pub fn check_indices(&self, particles: &Block, shapes: &[ImageShape]) -> Result<()> {
        let labels = [("rlnImageName", Some(&self.images)), ("rlnReconstructImageName", self.reconstruct.as_ref())];
        for (label, images) in labels {
            let Some(images) = images else { continue };
            let column = particles.require(label)?;
            for (row, image) in images.iter().enumerate() {
                let sections = shapes[image.stack as usize].sections;
                let text = column.str(row);
                if image.index as usize >= sections {
                    return Err(column.error(
                        row,
                        format!("image name `{text}`, but the stack holds {sections} images"),
                        "Check that the stack is complete and belongs to this file.",
                    ));
                }
                if sections > 1 && !text.contains('@') {
                    return Err(column.error(
                        row,
                        format!(
                            "`{text}` has {sections} sections and no index: a three-dimensional image (subtomogram)"
                        ),
                        "relion-rs refines single-particle images; name one image of a stack as NNNNNN@stack.mrcs.",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks that the images of each row are squares of the given edge.
    pub fn check_boxes(
        &self,
        particles: &Block,
        shapes: &[ImageShape],
        box_of_row: impl Fn(usize) -> usize,
    ) -> Result<()> {
        let labels = [("rlnImageName", Some(&self.images)), ("rlnReconstructImageName", self.reconstruct.as_ref())];
        for (label, images) in labels {
            let Some(images) = images else { continue };
            for (row, image) in images.iter().enumerate() {
                let ImageShape { columns, rows, .. } = shapes[image.stack as usize];
                let edge = box_of_row(row);
                if columns != edge || rows != edge {
                    return Err(particles.require(label)?.error(
                        row,
                        format!(
                            "images of {columns} x {rows} pixels, but those of its optics group have {edge} x {edge}"
                        ),
                        "Give images of another box an optics group of their own; boxes are square and even.",
                    ));
                }
            }
        }
        Ok(())
    }
}
