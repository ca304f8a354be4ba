//! The images of a data set, read from its stacks.

use std::collections::VecDeque;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::dataset::Dataset;
use crate::dataset::ImageName;
use crate::dataset::staged;
use crate::error::Error;
use crate::error::Result;
use crate::expectation::ImageSource;
use crate::formats::mrc;
use crate::formats::mrc::Header;
use crate::formats::mrc::PixelFormat;
use crate::formats::mrc::Stack;

use super::inputs::Inputs;

/// Stacks that are open at a time. Images are asked for in canonical order, stack after stack: with more stacks than
/// this each is opened once in a pass over them, and a data set of many thousands stays far below any `ulimit -n`.
const MOST_OPEN: usize = 64;

/// The stacks of a data set. Nothing of them stays in memory; they may be larger than that.
pub struct Images<'a> {
    dataset: &'a Dataset,
    /// Where the bytes of each stack are read: at home, or in a copy.
    files: Vec<PathBuf>,
    headers: &'a [Header],
    reader: Mutex<Reader>,
}

/// Open files and lists that are used again.
#[derive(Default)]
struct Reader {
    /// By the time of opening.
    open: VecDeque<(u32, Stack)>,
    /// Wanted images and their places, sorted; and those of one stack.
    order: Vec<(ImageName, u32)>,
    of_stack: Vec<(u32, u32)>,
}

impl<'a> Images<'a> {
    /// `headers` are those of the stacks when the run began.
    pub fn new(dataset: &'a Dataset, headers: &'a [Header]) -> Self {
        Self { dataset, files: dataset.stack_files.clone(), headers, reader: Mutex::default() }
    }

    /// The same images, read from copies of the stacks in a folder, as far as there are any; and how many stacks have
    /// none. Names and headers stay those of the stacks.
    ///
    /// # Errors
    /// A stack cannot be read.
    pub fn with_copies(mut self, folder: &Path) -> Result<(Self, usize)> {
        let (files, missing) = staged::sources(folder, &self.dataset.stack_files)?;
        self.files = files;
        Ok((self, missing))
    }

    /// The images of a run, from copies where a job has made some; and what there is to say about that.
    ///
    /// # Errors
    /// A stack cannot be read.
    pub fn of_run(inputs: &'a Inputs) -> Result<(Self, Option<String>)> {
        let images = Self::new(&inputs.dataset, &inputs.headers);
        let Some(folder) = std::env::var_os(staged::STAGE_VARIABLE).filter(|folder| !folder.is_empty()) else {
            return Ok((images, None));
        };
        let (images, missing) = images.with_copies(Path::new(&folder))?;
        let (all, folder) = (inputs.dataset.stack_files.len(), folder.to_string_lossy());
        let warning = (missing > 0)
            .then(|| format!("{missing} of {all} stacks have no copy in {folder}: they are read where they lie"));
        Ok((images, warning))
    }

    /// What a message calls the image of a particle.
    pub fn name(&self, particle: u32) -> String {
        self.dataset.image_name(self.dataset.particles[particle as usize].image)
    }

    /// Calls `visit(position, pixels)` for every wanted image, read in large requests.
    ///
    /// # Errors
    /// Those of reading and of `visit`.
    pub fn for_each(&self, wanted: &[ImageName], mut visit: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let stride = self.headers.iter().map(Header::section_bytes).max().unwrap_or(1);
        let at_once = (mrc::REQUEST_BYTES / stride).max(1).min(wanted.len());
        let (mut request, mut places) = (vec![0; at_once * stride], vec![0; at_once * stride]);
        let mut pixels = Vec::new();
        for (part, images) in wanted.chunks(at_once.max(1)).enumerate() {
            self.read(images, stride, &mut request, &mut places)?;
            for (i, (image, place)) in images.iter().zip(places.chunks_exact(stride)).enumerate() {
                pixels.resize(self.headers[image.stack as usize].section_pixels(), 0.0);
                self.decode(*image, place, &mut pixels);
                visit(part * at_once + i, &pixels)?;
            }
        }
        Ok(())
    }
}

impl ImageSource for Images<'_> {
    fn read(&self, wanted: &[ImageName], stride: usize, request: &mut [u8], out: &mut [u8]) -> Result<()> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let Reader { open, order, of_stack } = &mut *reader;
        order.clear();
        order.extend(wanted.iter().copied().zip(0..));
        order.sort_unstable();
        of_stack.clear();
        of_stack.reserve(wanted.len());
        for same in order.chunk_by(|a, b| a.0.stack == b.0.stack) {
            of_stack.clear();
            of_stack.extend(same.iter().map(|(image, place)| (image.index, *place)));
            self.stack(open, same[0].0.stack)?.visit(of_stack, request, |place, bytes| {
                out[place as usize * stride..][..bytes.len()].copy_from_slice(bytes);
            })?;
        }
        Ok(())
    }

    fn format(&self, image: ImageName) -> PixelFormat {
        self.headers[image.stack as usize].format()
    }

    fn decode(&self, image: ImageName, place: &[u8], out: &mut [f32]) {
        let header = &self.headers[image.stack as usize];
        header.decode(&place[..header.section_bytes()], out);
    }
}

impl Images<'_> {
    /// The open file of a stack; the one that was opened first makes room.
    fn stack<'o>(&self, open: &'o mut VecDeque<(u32, Stack)>, id: u32) -> Result<&'o Stack> {
        let at = match open.iter().position(|(of, _)| *of == id) {
            Some(at) => at,
            None => {
                if open.len() == MOST_OPEN {
                    open.pop_front();
                }
                let path = &self.files[id as usize];
                let stack = Stack::open(path)?;
                if stack.header() != &self.headers[id as usize] {
                    return Err(Error::bad_data(
                        path.display().to_string(),
                        "the header is another than when the run began",
                        "Leave stacks alone while they are being read; start anew with the changed ones.",
                    ));
                }
                open.push_back((id, stack));
                open.len() - 1
            }
        };
        Ok(&open[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Images of 2 x 2 pixels, ten times the stack plus the image.
    fn scene(folder: &Path, stacks: u32, images: u32) -> (Dataset, Vec<Header>) {
        let mut text = String::from("data_\n\nloop_\n_rlnImageName\n_rlnVoltage\n_rlnSphericalAberration\n");
        text += "_rlnAmplitudeContrast\n_rlnDetectorPixelSize\n_rlnMagnification\n";
        for stack in 0..stacks {
            let pixels: Vec<f32> = (0..images).flat_map(|image| [(10 * stack + image) as f32; 4]).collect();
            mrc::write_stack(&folder.join(format!("{stack:03}.mrcs")), 2, 2, 1.0, &pixels).unwrap();
            for image in 1..=images {
                text += &format!("{image}@{stack:03}.mrcs 300 2.7 0.1 1 10000\n");
            }
        }
        std::fs::write(folder.join("p.star"), text + "\n").unwrap();
        let options = crate::dataset::ReadOptions { ctf: false, ..Default::default() };
        let dataset = Dataset::read(&folder.join("p.star"), &options).unwrap();
        let headers = dataset.stack_files.iter().map(|file| *Stack::open(file).unwrap().header()).collect();
        (dataset, headers)
    }

    #[test]
    fn many_stacks_need_few_files() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, headers) = scene(folder.path(), 100, 3);
        let images = Images::new(&dataset, &headers);
        // Backwards, and every image twice.
        let wanted: Vec<ImageName> = dataset.particles.iter().rev().flat_map(|p| [p.image, p.image]).collect();
        let mut seen = 0;
        images
            .for_each(&wanted, |i, pixels| {
                assert_eq!(pixels, [(10 * wanted[i].stack + wanted[i].index) as f32; 4]);
                seen += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, 600);
        assert_eq!(images.reader.lock().unwrap().open.len(), MOST_OPEN);
    }

    #[test]
    fn a_stack_that_changes_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, headers) = scene(folder.path(), 2, 3);
        mrc::write_stack(&folder.path().join("001.mrcs"), 2, 2, 1.0, &[1.0; 16]).unwrap();
        let images = Images::new(&dataset, &headers);
        let wanted = [ImageName { stack: 1, index: 0 }];
        let error = images.for_each(&wanted, |_, _| Ok(())).unwrap_err();
        assert!(error.place.contains("001.mrcs"), "{error}");
    }

    #[test]
    fn copies_are_read_where_there_are_some_and_the_names_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, headers) = scene(folder.path(), 3, 2);
        let scratch = folder.path().join("scratch");
        for stack in &dataset.stack_files[..2] {
            staged::copy(&scratch, stack).unwrap();
        }
        // What is read tells where it was read.
        let copy = staged::place(&scratch, &dataset.stack_files[1]).unwrap();
        mrc::write_stack(&copy, 2, 2, 1.0, &[7.0; 8]).unwrap();
        let (images, missing) = Images::new(&dataset, &headers).with_copies(&scratch).unwrap();
        assert_eq!(missing, 1);
        let wanted: Vec<ImageName> = dataset.particles.iter().map(|p| p.image).collect();
        let mut seen = Vec::new();
        let mut see = |_, pixels: &[f32]| {
            seen.push(pixels[0]);
            Ok(())
        };
        images.for_each(&wanted, &mut see).unwrap();
        assert_eq!(seen, [0.0, 1.0, 7.0, 7.0, 20.0, 21.0]);
        assert!(images.name(2).starts_with("001.mrcs"), "{}", images.name(2));
        // A stack that changed has no copy any more.
        mrc::write_stack(&dataset.stack_files[0], 2, 2, 1.0, &[3.0; 8]).unwrap();
        assert_eq!(Images::new(&dataset, &headers).with_copies(&scratch).unwrap().1, 2);
    }
}
