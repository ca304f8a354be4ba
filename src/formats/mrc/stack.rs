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
use crate::fourier::Real;

/// Neighbouring images are read together up to so many bytes (one image may have more).
pub const REQUEST_BYTES: usize = 4 << 20;
/// Unwanted images between wanted ones are read along up to so many bytes: cheaper than another request.
const GAP_BYTES: usize = 64 << 10;

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
        let (pixels, bytes) = (self.header.section_pixels(), self.header.section_bytes());
        assert_eq!(out.len(), indices.len() * pixels, "{} images of {pixels} pixels", indices.len());
        let mut order: Vec<(u32, u32)> = indices.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let [Some(first), Some(last)] = [order.first(), order.last()] else { return Ok(()) };
        let all = (last.0 - first.0) as usize + 1;
        let length = bytes * all.min((REQUEST_BYTES / bytes).max(1));
        self.visit(&order, &mut vec![0; length], |place, image| {
            self.header.decode(image, &mut out[place as usize * pixels..][..pixels]);
        })
    }

    /// Calls `take(place, bytes)` for every wanted (image, place), sorted by image; repeats allowed. Images that lie
    /// near each other are read together as far as `request` reaches, which holds one image at least.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub fn visit(&self, wanted: &[(u32, u32)], request: &mut [u8], mut take: impl FnMut(u32, &[u8])) -> Result<()> {
        let bytes = self.header.section_bytes();
        assert!(request.len() >= bytes, "a request of {} bytes for images of {bytes}", request.len());
        debug_assert!(wanted.is_sorted());
        if let Some(&(absent, _)) = wanted.iter().find(|(index, _)| *index as usize >= self.count) {
            return Err(Error::bad_data(
                self.place(absent),
                format!("there is no such image: the stack holds {}", self.count),
                "Check that the stack belongs to this STAR file; images count from 1.",
            ));
        }
        let (at_once, step) = ((request.len() / bytes) as u32, 1 + (GAP_BYTES / bytes) as u32);
        let mut rest = wanted;
        while let Some(&(first, _)) = rest.first() {
            // The run of neighbours (a repeat is one as well) that starts here.
            let is_run = |pair: &[(u32, u32)]| pair[1].0 - pair[0].0 <= step && pair[1].0 - first < at_once;
            let (run, after) = rest.split_at(1 + rest.windows(2).take_while(|pair| is_run(pair)).count());
            rest = after;
            let run_bytes = &mut request[..(run[run.len() - 1].0 - first + 1) as usize * bytes];
            let offset = self.header.data_offset() + u64::from(first) * bytes as u64;
            self.file.read_exact_at(run_bytes, offset).map_err(|cause| self.failed(first, &cause))?;
            for &(index, place) in run {
                take(place, &run_bytes[(index - first) as usize * bytes..][..bytes]);
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
