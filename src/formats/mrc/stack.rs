//! Images of a stack, read where they lie.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::formats::mrc::Header;
use crate::formats::mrc::Mode;
use crate::formats::mrc::header;
use crate::formats::mrc::pixels::decode;
use crate::fourier::Real;

/// Neighbouring images are read together up to so many bytes (one image may have more).
const REQUEST_BYTES: usize = 4 << 20;

/// An open stack. Nothing of it stays in memory; it may be larger than that, and threads may share it.
#[derive(Debug)]
pub struct Stack {
    /// Columns.
    pub nx: usize,
    /// Rows.
    pub ny: usize,
    /// Images.
    pub count: usize,
    pub mode: Mode,
    /// 0 when the header does not say.
    pub pixel_size_angstrom: f64,
    header: Header,
    file: File,
    path: PathBuf,
}

/// Working memory of a reader: keep one a thread and nothing is allocated after the first call.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    /// (image in the stack, place in `out`), sorted.
    order: Vec<(u32, u32)>,
}

impl ReadBuffer {
    /// Most bytes a buffer holds that reads up to `images` at once from stacks whose images have `image_bytes`.
    pub fn most_bytes(images: usize, image_bytes: usize) -> usize {
        image_bytes.max(REQUEST_BYTES.min(images * image_bytes)) + images * size_of::<(u32, u32)>()
    }
}

impl Stack {
    /// Opens a file whose sections are images, whatever its extension.
    ///
    /// # Errors
    /// `NoInput` when it cannot be opened; `BadData` when it is not a whole MRC file of a mode we read.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, header) = header::open(path)?;
        let Header { nx, ny, nz: count, mode, pixel_size_angstrom, .. } = header;
        Ok(Self { nx, ny, count, mode, pixel_size_angstrom, header, file, path: path.to_path_buf() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads images (0-based, any order, repeats allowed) into `out`, one after the other in the order asked for.
    ///
    /// # Errors
    /// `BadData` with the 1-based number of an image that is not there, `Io` when reading fails.
    ///
    /// # Panics
    /// When `out` is not as long as the images.
    pub fn read<T: Real>(&self, indices: &[u32], out: &mut [T]) -> Result<()> {
        self.read_with(indices, out, &mut ReadBuffer::default())
    }

    /// As [`Self::read`], with working memory of the caller.
    pub fn read_with<T: Real>(&self, indices: &[u32], out: &mut [T], buffer: &mut ReadBuffer) -> Result<()> {
        let (pixels, bytes) = (self.header.section_pixels(), self.header.section_bytes());
        assert_eq!(out.len(), indices.len() * pixels, "{} images of {pixels} pixels", indices.len());
        if let Some(&absent) = indices.iter().find(|&&index| index as usize >= self.count) {
            return Err(Error::bad_data(
                self.place(absent),
                format!("there is no such image: the stack holds {}", self.count),
                "Check that the stack belongs to this STAR file; images count from 1.",
            ));
        }
        let ReadBuffer { bytes: file_bytes, order } = buffer;
        order.clear();
        order.extend(indices.iter().zip(0_u32..).map(|(&index, place)| (index, place)));
        order.sort_unstable();

        let at_once = (REQUEST_BYTES / bytes).max(1) as u32;
        let mut rest = order.as_slice();
        while let Some(&(first, _)) = rest.first() {
            // The run of neighbours (a repeat is one as well) that starts here.
            let is_run = |pair: &[(u32, u32)]| pair[1].0 - pair[0].0 <= 1 && pair[1].0 - first < at_once;
            let (run, after) = rest.split_at(1 + rest.windows(2).take_while(|pair| is_run(pair)).count());
            rest = after;
            let length = (run[run.len() - 1].0 - first + 1) as usize * bytes;
            if file_bytes.len() < length {
                file_bytes.resize(length, 0);
            }
            let offset = self.header.data_offset() + u64::from(first) * bytes as u64;
            self.file.read_exact_at(&mut file_bytes[..length], offset).map_err(|cause| self.failed(first, &cause))?;
            for &(index, place) in run {
                let from = (index - first) as usize * bytes;
                let to = place as usize * pixels;
                let image = &file_bytes[from..from + bytes];
                decode(image, self.mode, self.header.byte_order, &mut out[to..to + pixels]);
            }
        }
        Ok(())
    }

    /// `stack.mrcs, image 17`.
    fn place(&self, index: u32) -> String {
        format!("{}, image {}", self.path.display(), u64::from(index) + 1)
    }

    fn failed(&self, first: u32, cause: &std::io::Error) -> Error {
        if cause.kind() == ErrorKind::UnexpectedEof {
            let fix = "Leave stacks alone while they are being read; copy the file again.";
            return Error::bad_data(self.place(first), "the file became shorter after it was opened", fix);
        }
        Error { place: self.place(first), ..Error::reading(&self.path, cause) }
    }
}
