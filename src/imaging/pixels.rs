//! The canonical list of Fourier pixels of the E-step.

use crate::fourier;

/// Half-plane pixels (kx >= 0, without kx = 0 and ky < 0) of a window of even `size`, by shell.
///
/// The list holds every pixel of the window whose shell ROUND(|k|) is at most size/2; like a window's
/// rows it has ky = size/2 but not ky = -size/2. Order: shell; then pixels of the shell with
/// |k| <= shell before the others, row ky = -shell last, then ky, kx. The zero frequency, which no
/// probability uses, is the last entry. Hence, apart from the zero frequency,
/// - the list of a smaller window is a prefix of a larger window's list, and
/// - the pixels outside the circle |k| <= size/2, where references are zero, follow all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelList {
    pub kx: Vec<i16>,
    pub ky: Vec<i16>,
    pub shell: Vec<u16>,
    /// Leading pixels with |k| <= size/2.
    pub inside: usize,
    pub size: usize,
}

impl PixelList {
    pub fn new(size: usize) -> Self {
        assert!(size >= 2 && size.is_multiple_of(2) && size <= 32_766, "a window of even size, not {size}");
        let reach = (size / 2) as i32;
        let mut keys = Vec::with_capacity(size * size / 2);
        for ky in 1 - reach..=reach {
            for kx in i32::from(ky < 0)..=reach {
                let s = fourier::shell(kx, ky, 0) as i32;
                if (1..=reach).contains(&s) {
                    keys.push((s, kx * kx + ky * ky > s * s, ky == -s, ky, kx));
                }
            }
        }
        keys.sort_unstable();
        keys.push((0, false, false, 0, 0));
        Self {
            inside: keys.iter().filter(|(s, outside, ..)| !(*s == reach && *outside)).count() - 1,
            kx: keys.iter().map(|k| k.4 as i16).collect(),
            ky: keys.iter().map(|k| k.3 as i16).collect(),
            shell: keys.iter().map(|k| k.0 as u16).collect(),
            size,
        }
    }

    /// Number of pixels, the zero frequency included.
    pub fn len(&self) -> usize {
        self.kx.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kx.is_empty()
    }

    /// Position of the zero frequency: the last one.
    pub fn dc(&self) -> usize {
        self.len() - 1
    }

    /// How many leading pixels make up the list of a smaller (or equal) window, without its zero frequency.
    pub fn prefix_len(&self, size: usize) -> usize {
        let last = (size / 2) as u16;
        (0..self.dc())
            .take_while(|&i| self.shell[i] < last || (self.shell[i] == last && self.ky[i] != -(last as i16)))
            .count()
    }

    /// Position of pixel `i` in a half transform of edge `n` (at least `size`).
    #[inline]
    pub fn index_in_half(&self, i: usize, n: usize) -> usize {
        fourier::frequency_index(i32::from(self.ky[i]), n) * (n / 2 + 1) + self.kx[i] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_of_the_window_appears_once() {
        let list = PixelList::new(28);
        let mut seen: Vec<_> = list.kx.iter().zip(&list.ky).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), list.len());
        let counts = fourier::half_plane_counts(28);
        // The counts are those of a window of the same edge, so that they lack row -14 too.
        for (s, count) in counts.iter().enumerate() {
            assert_eq!(list.shell.iter().filter(|v| usize::from(**v) == s).count(), *count, "shell {s}");
        }
        assert_eq!((list.kx[list.dc()], list.ky[list.dc()], list.shell[list.dc()]), (0, 0, 0));
    }

    #[test]
    fn a_smaller_window_is_a_prefix() {
        let large = PixelList::new(36);
        for size in (4..=36).step_by(2) {
            let small = PixelList::new(size);
            let count = large.prefix_len(size);
            assert_eq!(count, small.dc());
            assert_eq!(large.kx[..count], small.kx[..count]);
            assert_eq!(large.ky[..count], small.ky[..count]);
        }
    }

    #[test]
    fn pixels_inside_the_circle_come_first() {
        let list = PixelList::new(30);
        for i in 0..list.dc() {
            let inside = i32::from(list.kx[i]).pow(2) + i32::from(list.ky[i]).pow(2) <= 15 * 15;
            assert_eq!(inside, i < list.inside, "pixel {i}");
        }
    }
}
