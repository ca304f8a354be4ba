//! Pixels in the file's type to real numbers.

use half::f16;

use crate::formats::mrc::ByteOrder;
use crate::formats::mrc::Header;
use crate::formats::mrc::Mode;
use crate::fourier::Real;

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    pub mode: Mode,
    pub byte_order: ByteOrder,
}

impl PixelFormat {
    /// Converts the bytes of pixels; as many as `out` takes. Every type is exact in f32.
    pub fn decode<T: Real>(self, bytes: &[u8], out: &mut [T]) {
        decode(bytes, self.mode, self.byte_order, out);
    }
}

impl Header {
    pub fn format(&self) -> PixelFormat {
        PixelFormat { mode: self.mode, byte_order: self.byte_order }
    }

    /// Converts the bytes of pixels in the file's type; as many as `out` takes.
    pub fn decode<T: Real>(&self, bytes: &[u8], out: &mut [T]) {
        decode(bytes, self.mode, self.byte_order, out);
    }
}

/// Converts `bytes` (`out.len()` pixels) into `out`. Every mode is exact in f32.
fn decode<T: Real>(bytes: &[u8], mode: Mode, order: ByteOrder, out: &mut [T]) {
    debug_assert_eq!(bytes.len(), out.len() * mode.bytes());
    match (mode, order) {
        (Mode::Int8, _) => each(bytes, out, |[a]: [u8; 1]| f64::from(a as i8)),
        (Mode::Int16, ByteOrder::Little) => each(bytes, out, |w| f64::from(i16::from_le_bytes(w))),
        (Mode::Int16, ByteOrder::Big) => each(bytes, out, |w| f64::from(i16::from_be_bytes(w))),
        (Mode::Uint16, ByteOrder::Little) => each(bytes, out, |w| f64::from(u16::from_le_bytes(w))),
        (Mode::Uint16, ByteOrder::Big) => each(bytes, out, |w| f64::from(u16::from_be_bytes(w))),
        (Mode::Float16, ByteOrder::Little) => each(bytes, out, |w| f64::from(f16::from_le_bytes(w).to_f32())),
        (Mode::Float16, ByteOrder::Big) => each(bytes, out, |w| f64::from(f16::from_be_bytes(w).to_f32())),
        (Mode::Float32, ByteOrder::Little) => each(bytes, out, |w| f64::from(f32::from_le_bytes(w))),
        (Mode::Float32, ByteOrder::Big) => each(bytes, out, |w| f64::from(f32::from_be_bytes(w))),
    }
}

#[inline(always)]
fn each<T: Real, const N: usize>(bytes: &[u8], out: &mut [T], value: impl Fn([u8; N]) -> f64) {
    let (words, _) = bytes.as_chunks::<N>();
    for (word, out) in words.iter().zip(out) {
        *out = T::of(value(*word));
    }
}
